"""A task that died of memory or of its time limit goes to a deployment with more of it."""

import json

import boto3
import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery import Celery, chain, chord, signature
from celery.app.task import Context
from faults import BLACK_HOLE, DENIED, SEND

from taskpacks.contract import ExitCode
from taskpacks.errors import BadInputError
from worker.escalation import ATTEMPTS_BEFORE_HEADER, Escalation, attempts_before
from worker.memory import TaskMemoryError
from worker.outcomes import Outcomes, UnreportedFailureError, Verdict, death_of
from worker.policies import RetryPolicy
from worker.routes import Routes, Sender
from worker.task_table import Receive

LARGE = "large"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("error", "death"),
    [
        (TimeLimitExceeded(60), "time_limit"),
        (SoftTimeLimitExceeded(), "time_limit"),
        (MemoryError(), "memory"),
        (TaskMemoryError("killed for memory"), "memory"),
        (WorkerLostError("signal 11 (SIGSEGV)"), None),
        (ValueError("x"), None),
    ],
)
def test_a_task_is_sent_on_for_the_deaths_that_are_named(error, death):
    assert death_of(error) == death
    for on in ({"memory"}, {"time_limit"}, {"memory", "time_limit"}, set()):
        assert Escalation(to=LARGE, on=frozenset(on)).takes(death) is (death in on)
    assert not Escalation(to=None, on=frozenset({"memory", "time_limit"})).takes(death)


class SaidToBeFinalError(BadInputError, MemoryError):
    """A pack's own word that more memory would not help."""


@pytest.mark.parametrize(
    ("error", "attempts", "verdict"),
    [
        (MemoryError(), 1, Verdict.AGAIN),
        (MemoryError(), 2, Verdict.ESCALATED),
        (ValueError("x"), 2, Verdict.FINAL),
        (TimeLimitExceeded(60), 2, Verdict.FINAL),
        (SaidToBeFinalError("x"), 1, Verdict.FINAL),
        (UnreportedFailureError("MemoryError", "memory"), 2, Verdict.ESCALATED),
        (UnreportedFailureError("ValueError: x"), 2, Verdict.FINAL),
    ],
)
def test_a_task_is_sent_on_when_its_attempts_are_used_and_more_may_help(error, attempts, verdict):
    outcomes = Outcomes(
        retry=RetryPolicy(max_attempts=2, backoff_seconds=0, backoff_max_seconds=0),
        table=None,
        escalation=Escalation(to=LARGE, on=frozenset({"memory"})),
    )
    receive = Receive(task_id="a", message_id="b", generation=0, owner="c")
    assert outcomes.failed(receive, attempts, error) is verdict


@pytest.mark.parametrize(("said", "attempts"), [(3, 3), (None, 0), (-1, 0), ("3", 0), ([], 0)])
def test_what_a_sender_writes_of_attempts_may_be_anything(said, attempts):
    assert attempts_before(Context({ATTEMPTS_BEFORE_HEADER: said})) == attempts


@pytest.fixture
def deployment(site):
    """An application as a worker has it, and the address of the larger deployment."""
    url = site.sqs.create_queue(QueueName=f"{site.name}-large")["QueueUrl"]
    app = Celery("worker", set_as_current=False)
    app.conf.update(site.producer.conf.changes)
    own = {site.name: {"url": site.url}, LARGE: {"url": url}}
    app.conf.broker_transport_options = {
        **site.producer.conf.broker_transport_options,
        "predefined_queues": own,
    }

    @app.task(name="probe.add", shared=False)
    def add(left, right):
        return left + right

    add.time_limit_max = 60
    routes = Routes(own=site.name, patterns={site.name: ("probe.*",)}, urls={LARGE: url})
    Sender(app, routes).plug()
    return app, url


def messages(site, url):
    received = site.sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["MessageGroupId"]
    ).get("Messages", [])
    return [(json.loads(each["Body"]), each.get("Attributes", {})) for each in received]


def request_of(body, **changes):
    args, kwargs, embedded = json.loads(body["body"])
    return Context(
        body["headers"],
        args=args,
        kwargs=kwargs,
        properties=body["properties"],
        delivery_info=body["properties"]["delivery_info"],
        **embedded,
        **changes,
    )


def test_it_keeps_its_id_arguments_group_tenant_and_all_that_follows(site, deployment):
    app, url = deployment
    work = [
        signature(
            "probe.add",
            args=(1, n),
            app=site.producer,
            MessageGroupId="customer-7",
            headers={"traceparent": TRACE},
            link=signature("probe.echo", app=site.producer),
            link_error=signature("probe.echo", app=site.producer),
        )
        for n in (1, 2)
    ]
    end = signature("probe.add", args=(5,), app=site.producer)
    sent = chain(chord(work, end), end).delay()
    before = messages(site, site.url)
    assert len(before) == 2
    for body, _ in before:
        request = request_of(body)
        Escalation(to=LARGE, on=frozenset()).escalate(app.tasks["probe.add"], request, attempts=3)
    after = {body["headers"]["id"]: (body, attributes) for body, attributes in messages(site, url)}
    assert len(after) == 2
    for body, _ in before:
        there, attributes = after[body["headers"]["id"]]
        assert attributes["MessageGroupId"] == "customer-7"
        assert there["headers"].pop(ATTEMPTS_BEFORE_HEADER) == 3
        assert there["headers"]["traceparent"] == TRACE
        for key in ("id", "task", "root_id", "parent_id", "group", "group_index", "timelimit"):
            assert there["headers"][key] == body["headers"][key], key
        one, other = json.loads(there["body"]), json.loads(body["body"])
        assert one == other
        assert one[2]["callbacks"]
        assert one[2]["errbacks"]
        assert sent.id in json.dumps(one[2])
    assert messages(site, site.url) == []


def test_attempts_add_up_and_the_limit_of_the_deployment_stays_behind(site, deployment):
    app, url = deployment
    add = app.tasks["probe.add"]
    for limit in ([60, None], [5, 4]):
        site.producer.send_task("probe.add", args=(1, 1))
        ((body, _),) = messages(site, site.url)
        body["headers"][ATTEMPTS_BEFORE_HEADER] = 2
        body["headers"]["timelimit"] = limit
        Escalation(to=LARGE, on=frozenset()).escalate(add, request_of(body), attempts=3)
    found = messages(site, url)
    assert [body["headers"][ATTEMPTS_BEFORE_HEADER] for body, _ in found] == [5, 5]
    assert [body["headers"]["timelimit"] for body, _ in found] == [[None, None], [5, 4]]


class Two:
    """The site's deployment, and a larger one of the same pack."""

    def __init__(self, site):
        self.site = site
        self.url = large_queue(site)
        self.parameter = f"/{site.name}/producer"
        document = {"broker_transport_options": {"predefined_queues": {LARGE: {"url": self.url}}}}
        boto3.client("ssm").put_parameter(
            Name=self.parameter, Value=json.dumps(document), Type="String"
        )

    def small(self, death, **changes):
        return self.site.start(
            **{
                "TASKPACKS_ADDRESSES": self.parameter,
                "TASKPACKS_ESCALATE_TO": LARGE,
                "TASKPACKS_ESCALATE_ON": death,
                "TASKPACKS_TASK_TIME_LIMIT_SECONDS": "2",
                "TASKPACKS_MAX_ATTEMPTS": "2",
                "TASKPACKS_RETRY_BACKOFF_SECONDS": "0",
                "TASKPACKS_IDLE_SECONDS": "3",
                **changes,
            }
        )

    def large(self, **changes):
        """Gives the tasks as much as they need."""
        return self.site.start(
            **{
                "TASKPACKS_DEPLOYMENT": LARGE,
                "TASKPACKS_QUEUE_URL": self.url,
                "TASKPACKS_MEMORY_MIB": "4096",
                "TASKPACKS_IDLE_SECONDS": "3",
                **changes,
            }
        )

    @property
    def depths(self):
        """Messages of the small one, of the large one, and dead letters."""
        return tuple(map(self.site.depth, (self.site.url, self.url, self.site.dead_url)))


def large_queue(site):
    return site.sqs.create_queue(
        QueueName=f"{site.name}-large",
        Attributes={
            "VisibilityTimeout": "30",
            "RedrivePolicy": site.attributes(site.url, "RedrivePolicy")["RedrivePolicy"],
        },
    )["QueueUrl"]


@pytest.fixture
def two(site):
    return Two(site)


@pytest.fixture
def greedy(site, journal):
    """Makes a task that dies in the small deployment, by what it dies of."""

    def make(death):
        name, arguments = {
            "memory": ("memory_below", {"mib": 2048, "journal": str(journal)}),
            "time_limit": ("sleep", {"seconds": 4, "journal": str(journal), "name": "long"}),
        }[death]
        return signature(f"probe.{name}", kwargs=arguments, app=site.producer)

    return make


@pytest.mark.parametrize("death", ["memory", "time_limit"])
def test_a_real_worker_sends_on_what_died_and_the_other_ends_it(site, two, greedy, death):
    result = chain(greedy(death), signature("probe.echo", app=site.producer)).apply_async(
        MessageGroupId="customer-7"
    )
    task_id = result.parent.id
    small = two.small(death)
    assert small.wait() == ExitCode.DRAINED
    assert [each["Outcome"] for each in small.reports if "Outcome" in each][-1] == "escalated"
    assert [each for each in small.reports if "DeadLetter" in each] == []
    assert site.producer.AsyncResult(task_id).state == "RETRY"
    assert two.depths == ((0, 0), (1, 0), (0, 0))
    large = two.large()
    assert site.producer.AsyncResult(task_id).get(timeout=40) == result.get(timeout=40)
    assert large.wait() == ExitCode.DRAINED
    # Not held up by the locks that the small one had: their numbers are of another item.
    assert [each["Outcome"] for each in large.reports if "Outcome" in each] == ["done"] * 2
    assert two.depths == ((0, 0), (0, 0), (0, 0))


def test_a_task_that_cannot_be_sent_on_has_failed(site, two, greedy, proxy, journal):
    errback = signature(
        "probe.note", kwargs={"journal": str(journal), "name": "errback"}, app=site.producer
    )
    result = greedy("memory").apply_async(link_error=errback)
    proxy.script(SEND, DENIED)  # the errback can be sent
    assert two.small("memory", **site.through(proxy)).wait() == ExitCode.DRAINED
    assert result.state == "FAILURE"
    assert [line["name"] for line in journal.lines("begin")] == ["memory_below"] * 2 + ["errback"]
    assert two.depths == ((0, 0), (0, 0), (1, 0))


@pytest.mark.parametrize("death", ["memory", "time_limit"])
def test_a_task_whose_worker_died_before_it_sent_it_on_is_sent_on_by_the_next(
    two, greedy, proxy, wait_until, death
):
    two.site.configure_queue(lease_seconds=10, max_receives=10)
    result = greedy(death).delay()
    proxy.script(SEND, BLACK_HOLE)
    first = two.small(death, **two.site.through(proxy))
    wait_until(lambda: proxy.count(SEND) == 1)
    first.kill()
    assert two.small(death, TASKPACKS_IDLE_SECONDS="12").wait() == ExitCode.DRAINED
    assert result.state == "RETRY"
    assert two.depths == ((0, 0), (1, 0), (0, 0))
    large = two.large(
        TASKPACKS_MAX_ATTEMPTS="1",
        TASKPACKS_MEMORY_MIB="1024",
        TASKPACKS_TASK_TIME_LIMIT_SECONDS="1",
    )
    assert large.wait() == ExitCode.DRAINED
    (letter,) = [report for report in large.reports if "DeadLetter" in report]
    assert letter["Attempts"] == 3
