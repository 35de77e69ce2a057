"""Tasks that send tasks: to other deployments, and to a served application's own broker."""

import json

import boto3
import pytest
from celery import chain, chord, group, signature

from taskpacks.contract import ExitCode

NOTES = '''
"""A second pack, for tasks that come from another."""

import json

from taskpacks import PackSpec, hookimpl


@hookimpl
def taskpack_spec():
    return PackSpec()


@hookimpl
def taskpack_register_tasks(app):
    @app.task(name="notes.double")
    def double(value):
        return 2 * value

    @app.task(name="notes.total")
    def total(values):
        return sum(values)

    @app.task(name="notes.write")
    def write(value, journal):
        with open(journal, "a") as file:
            file.write(json.dumps({"event": "written", "name": str(value)}) + "\\n")
        return value

    @app.task(name="notes.send_back")
    def send_back(left, right):
        return app.send_task("probe.add", kwargs={"left": left, "right": right}).id
'''


class Pair:
    """Two deployments of one stack: `site`, which serves the probe pack, and one of NOTES."""

    def __init__(self, site):
        self.site = site
        self.other = f"{site.name}-notes"
        folder = site.folder / "site"
        info = folder / "notes-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: notes\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[taskpacks]\nnotes = notes_pack\n")
        (folder / "notes_pack.py").write_text(NOTES)
        policy = site.attributes(site.url, "RedrivePolicy")["RedrivePolicy"]
        self.url = site.sqs.create_queue(
            QueueName=self.other,
            Attributes={"VisibilityTimeout": "30", "RedrivePolicy": policy},
        )["QueueUrl"]
        self.parameter = f"/taskpacks/{site.name}/producer"
        urls = {site.name: {"url": site.url}, self.other: {"url": self.url}}
        document = {"broker_transport_options": {"predefined_queues": urls}}
        boto3.client("ssm").put_parameter(
            Name=self.parameter, Value=json.dumps(document), Type="String"
        )
        options = site.producer.conf.broker_transport_options
        options["predefined_queues"] = urls
        site.producer.conf.task_routes = {
            "probe.*": {"queue": site.name},
            "notes.*": {"queue": self.other},
        }

    def environment(self, name, pack, url, *others):
        patterns = {self.site.name: ["probe.*"], self.other: ["notes.*"]}
        chosen = {each: patterns[each] for each in (name, *others)}
        return {
            "TASKPACKS_DEPLOYMENT": name,
            "TASKPACKS_PACK": pack,
            "TASKPACKS_QUEUE_URL": url,
            "TASKPACKS_ROUTES": json.dumps(chosen),
            "TASKPACKS_ADDRESSES": self.parameter if others else None,
        }

    def start_probe(self, *others, **changes):
        own = self.environment(self.site.name, "probe", self.site.url, *others)
        return self.site.start(**own, **changes)

    def start_notes(self, *others, **changes):
        own = self.environment(self.other, "notes", self.url, *others)
        return self.site.start(**own, **changes)

    def depths(self):
        return [self.site.depth(url) for url in (self.site.url, self.url, self.site.dead_url)]

    def add(self, left, right, **options):
        return signature(
            "probe.add",
            kwargs={"left": left, "right": right},
            app=self.site.producer,
            **options,
        )

    def task(self, name, *args, **options):
        return signature(name, args=args, app=self.site.producer, **options)


@pytest.fixture
def pair(site):
    return Pair(site)


def drained(*workers):
    return [worker.wait() for worker in workers] == [ExitCode.DRAINED] * len(workers)


def test_chains_callbacks_groups_and_chords_pass_results_across_two_deployments(
    pair, journal, wait_until
):
    idle = {"TASKPACKS_IDLE_SECONDS": "8"}  # neither leaves before the other has sent
    workers = pair.start_probe(pair.other, **idle), pair.start_notes(pair.site.name, **idle)
    there_and_back = chain(pair.add(1, 2), pair.task("notes.double"), pair.task("notes.double"))
    called_back = pair.add(20, 2, link=pair.task("notes.write", str(journal)))
    in_both = chord(
        group(pair.add(1, 1), pair.task("notes.double", 10), pair.add(2, 2)),
        pair.task("notes.total"),
    )
    groups = chain(pair.add(3, 4), group(pair.task("notes.double"), pair.task("notes.double")))
    sent = there_and_back.delay(), called_back.delay(), in_both.delay(), groups.delay()
    back = pair.task("notes.send_back", 30, 3).delay()
    assert sent[0].get(timeout=60) == 12
    assert sent[1].get(timeout=60) == 22
    assert wait_until(lambda: journal.lines("written"))[0]["name"] == "22"
    assert sent[2].get(timeout=60) == 26
    assert sent[3].get(timeout=60) == [14, 14]
    assert pair.site.producer.AsyncResult(back.get(timeout=60)).get(timeout=60) == 33
    assert drained(*workers)
    assert pair.depths() == [(0, 0)] * 3


def test_a_queue_that_is_asked_for_is_a_deployment_and_goes_before_the_name(pair):
    # The name alone would go to the probe's own queue, where there is no such task.
    asked = pair.task("notes.double", queue=pair.other)
    result = chain(pair.add(1, 1), asked).delay()
    assert drained(pair.start_probe(pair.other))
    worker = pair.start_notes()
    assert result.get(timeout=60) == 4
    assert drained(worker)


@pytest.mark.parametrize("follower", ["chain", "link", "link_error", "chord", "group in a chain"])
def test_a_task_whose_follower_has_no_place_fails_before_its_work_and_so_does_what_waits_for_it(
    pair, journal, follower
):
    lost = pair.task("emails.notify", queue="emails")
    work = pair.site.producer.signature(
        "probe.sleep", kwargs={"seconds": 0, "journal": str(journal), "name": "work"}
    )
    if follower == "chain":
        result = chain(work, pair.task("notes.double"), lost).delay()
    elif follower == "chord":
        result = chord([work], lost).delay()
    elif follower == "group in a chain":
        result = chain(work, group(lost, pair.task("notes.double"))).delay().parent
    else:
        result = work.set(**{follower: [lost]}).delay()
    worker = pair.start_probe(pair.other)
    with pytest.raises(Exception, match=r"'emails\.notify' with queue 'emails' cannot be sent"):
        result.get(timeout=60)
    assert worker.wait() == ExitCode.DRAINED
    assert journal.lines() == []
    assert [each["Outcome"] for each in worker.reports if "Outcome" in each] == ["failed"]
    assert "Add the deployment that runs it to `sends_to`" in worker.log
    assert pair.depths() == [(0, 0), (0, 0), (1, 0)]


def test_a_task_that_sends_where_it_may_not_fails_once_with_the_sentence(pair):
    result = pair.task("notes.send_back", 1, 2).delay()
    worker = pair.start_notes()
    with pytest.raises(Exception, match=r"'probe\.add' cannot be sent from deployment"):
        result.get(timeout=60)
    assert worker.wait() == ExitCode.DRAINED
    assert [each["Outcome"] for each in worker.reports if "Outcome" in each] == ["failed"]
    assert pair.depths() == [(0, 0), (0, 0), (1, 0)]


SHOP = '''
"""A team's application, whose own broker is a folder; its other tasks run elsewhere."""

import os
from pathlib import Path

from celery import Celery

folder = Path(__file__).parent / "broker"
folder.mkdir(exist_ok=True)
app = Celery("shop", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(folder),
    },
    task_serializer="pickle",
    accept_content=["pickle"],
    task_routes={"shop.audit.*": {"queue": "audit"}},
    task_default_queue="ordinary",
)


@app.task(name="shop.video.encode")
def encode(value):
    (folder.parent / "encoded").touch()
    return value


@app.task(name="shop.video.tell")
def tell(value):
    return [each.id for each in (notify.delay(value), audit.delay(value), again.delay(value))]


@app.task(name="shop.mail.notify", queue="emails")
def notify(value):
    raise AssertionError("it runs elsewhere")


@app.task(name="shop.audit.note")
def audit(value):
    raise AssertionError("it runs elsewhere")


@app.task(name="shop.video.again", queue="heavy")  # a queue of the time before
def again(value):
    return value
'''
SHOP_PACK = """
from taskpacks import PackSpec, hookimpl


@hookimpl
def taskpack_spec():
    return PackSpec(app="shop:app", tasks=("shop.video.*",))
"""


class Shop:
    """A served application with a broker of its own."""

    def __init__(self, site):
        self.site = site
        folder = site.folder / "site"
        info = folder / "shop-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[taskpacks]\nserved = shop_pack\n")
        (folder / "shop_pack.py").write_text(SHOP_PACK)
        (folder / "shop.py").write_text(SHOP)
        self.module = folder / "shop.py"
        self.broker = folder / "broker"
        site.environment["TASKPACKS_PACK"] = "served"

    def task(self, name, *args, **options):
        return signature(name, args=args, app=self.site.producer, **options)

    @property
    def sent(self):
        """Task, queue, serializer and time limits of each message on the application's broker."""
        found = [json.loads(file.read_text()) for file in self.broker.glob("*.msg")]
        return sorted(
            (
                each["headers"]["task"],
                each["properties"]["delivery_info"]["routing_key"],
                each["content-type"].rpartition("-")[2],
                each["headers"]["timelimit"],
            )
            for each in found
        )


@pytest.fixture
def shop(site):
    return Shop(site)


def test_a_served_application_keeps_its_own_broker_for_what_is_not_the_packs(shop):
    ended = [
        chain(
            shop.task("shop.video.encode", 1), shop.task("shop.mail.notify", queue="emails")
        ).delay(),
        shop.task("shop.video.encode", 2, link=shop.task("shop.mail.notify")).delay(),
        shop.task("shop.video.tell", 3).delay(),
    ]
    worker = shop.site.start(TASKPACKS_IDLE_SECONDS="3")
    assert ended[1].get(timeout=60) == 2
    assert (shop.module.parent / "encoded").exists()
    notified, audited, again = ended[2].get(timeout=60)
    assert shop.site.producer.AsyncResult(again).get(timeout=60) == 3
    assert worker.wait() == ExitCode.DRAINED
    assert notified != audited
    elsewhere = ("serialize", [None, None])
    assert shop.sent == [
        ("shop.audit.note", "audit", *elsewhere),
        *[("shop.mail.notify", "emails", *elsewhere)] * 3,
    ]
    outcomes = [each["Outcome"] for each in worker.reports if "Outcome" in each]
    assert outcomes == ["done"] * 4
    assert (shop.site.depth(), shop.site.depth(shop.site.dead_url)) == ((0, 0), (0, 0))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "cannot be sent from deployment"),
        ('broker="redis://nowhere"', "own broker cannot take it"),
        ('broker="zookeeper://nowhere"', "own broker cannot take it"),
        (
            'broker="filesystem://", changes={"task_create_missing_queues": False}',
            "has no queue 'emails', and it is not to create any",
        ),
    ],
)
def test_without_a_broker_that_takes_it_a_follower_is_refused_before_the_work(shop, given, why):
    text = shop.module.read_text().replace('"shop", broker="filesystem://"', f'"shop", {given}')
    assert f'"shop", {given}' in text
    shop.module.write_text(text)
    follower = shop.task("shop.mail.notify", queue="emails")
    chain(shop.task("shop.video.encode", 1), follower).delay()
    worker = shop.site.start()
    assert worker.wait() == ExitCode.DRAINED
    assert why in worker.log
    assert not (shop.module.parent / "encoded").exists()
    assert [each["Outcome"] for each in worker.reports if "Outcome" in each] == ["failed"]
    assert (shop.site.depth(), shop.site.depth(shop.site.dead_url)) == ((0, 0), (1, 0))
