"""An application that a team brought along runs under the same promises, unchanged."""

import os
import signal

import pytest
from celery import chain

from taskpacks.contract import ExitCode

PROJECT = '''
import os, time
from celery import Celery, Task

app = Celery("proj", broker="amqp://nobody@nowhere//", backend="redis://nowhere")
app.conf.update(
    task_acks_late=False,
    task_serializer="pickle",
    result_serializer="pickle",
    accept_content=["pickle"],
    worker_concurrency=4,
    worker_prefetch_multiplier=10,
    task_default_queue="elsewhere",
    task_time_limit=7200,
    worker_pool="threads",
    result_extended=True,
)


class Base(Task):
    """A base class of the team's own."""

    def told(self):
        return "by " + type(self).__mro__[-3].__name__


def note(journal, event):
    opened = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    line = '{"event": "%s", "name": "own", "pid": %d, "parent": %d, "at": %f}\\n'
    os.write(opened, (line % (event, os.getpid(), os.getppid(), time.time())).encode())
    os.close(opened)


@app.task(acks_late=False, acks_on_failure_or_timeout=True, serializer="yaml")
def slow(seconds, journal):
    note(journal, "begin")
    time.sleep(seconds)
    note(journal, "end")


@app.task
def add(left, right):
    return left + right


@app.task(bind=True, base=Base)
def bound(self, value):
    return [self.request.id, self.request.delivery_info["routing_key"], value, self.told()]


@app.task(autoretry_for=(ValueError,), retry_backoff=False, default_retry_delay=0, max_retries=1)
def stumble(journal):
    note(journal, "begin")
    if open(journal).read().count("begin") < 2:
        raise ValueError("once")
    return "done"


@app.task
def parent():
    return add.delay(20, 22).id


@app.task(bind=True, max_retries=1)
def again(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return self.request.retries
'''
PACK = """
from taskpacks import PackSpec, hookimpl


@hookimpl
def taskpack_spec():
    return PackSpec(app="proj.celery:app", tasks=("proj.*",))
"""


@pytest.fixture
def own(site):
    """The site, with a pack that names a project's application."""
    folder = site.folder / "site"
    info = folder / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taskpacks]\nown = own_pack\n")
    (folder / "own_pack.py").write_text(PACK)
    (folder / "proj").mkdir()
    (folder / "proj" / "__init__.py").touch()
    (folder / "proj" / "celery.py").write_text(PROJECT)
    site.environment["TASKPACKS_PACK"] = "own"
    return site


def configured(own, more, project=PROJECT):
    """Gives the project's application more of its own."""
    (own.folder / "site" / "proj" / "celery.py").write_text(project + more)


def outcomes(worker):
    return [report["Outcome"] for report in worker.reports if "Outcome" in report]


def test_its_tasks_run_and_each_override_is_logged(own, journal):
    added = own.send("proj.celery.add", left=1, right=2)
    bound = own.send("proj.celery.bound", value="x")
    stumbled = own.send("proj.celery.stumble", journal=str(journal))
    parent = own.send("proj.celery.parent")
    worker = own.start(TASKPACKS_IDLE_SECONDS="3")
    assert added.get(timeout=20) == 3
    assert bound.get(timeout=20) == [bound.id, own.name, "x", "by Base"]
    assert stumbled.get(timeout=20) == "done"
    assert own.producer.AsyncResult(parent.get(timeout=20)).get(timeout=20) == 42
    assert worker.wait() == ExitCode.DRAINED
    assert "serializer of task proj.celery.add" not in worker.log, "nobody declared one"
    for setting in (
        "task_acks_late",
        "task_serializer",
        "result_serializer",
        "accept_content",
        "worker_concurrency",
        "worker_prefetch_multiplier",
        "task_default_queue",
        "task_time_limit",
        "worker_pool",
        "broker_url",
        "result_backend",
        "result_extended",
    ):
        assert f"setting {setting} of the application is overridden" in worker.log, setting
    # A word of the task's own; its acks_late is the setting's, which is reported above.
    assert "serializer of task proj.celery.slow is overridden: 'yaml' -> 'json'" in worker.log
    assert "nobody@nowhere" not in worker.log
    assert own.depth() == (0, 0)


REQUESTS = """

from celery.worker.request import Request


class Unsettled(Request):
    def on_timeout(self, soft, timeout):
        print("own on_timeout", soft)
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
        print("own on_failure", self.name)  # and nothing else


class Expected(Exception):
    pass


@app.task(Request="proj.celery:Unsettled", time_limit=1)
def slow_with_a_request():
    time.sleep(60)


@app.task(Request=Unsettled, throws=(Expected,))
def stumble_with_a_request():
    raise Expected("as declared")


@app.task(throws=Expected)
def stumble_as_declared():
    raise Expected("as declared")
"""


def test_a_tasks_own_class_of_requests_and_the_errors_that_it_declares_are_honoured(own):
    configured(own, REQUESTS)
    own.send("proj.celery.slow_with_a_request")
    own.send("proj.celery.stumble_with_a_request")
    own.send("proj.celery.stumble_as_declared")
    worker = own.start(
        TASKPACKS_IDLE_SECONDS="2", TASKPACKS_MAX_ATTEMPTS="2", TASKPACKS_RETRY_BACKOFF_SECONDS="0"
    )
    assert worker.wait() == ExitCode.DRAINED
    assert sorted(outcomes(worker)) == ["failed"] * 4 + ["timed_out"] * 2
    assert worker.log.count("own on_timeout False") == 2
    assert worker.log.count("own on_failure proj.celery.stumble_with_a_request") == 2
    assert own.depth(own.dead_url) == (3, 0)
    assert '"trace"' not in worker.log, "a declared error is no surprise"


def test_a_class_of_requests_that_is_none_is_refused(own):
    configured(own, "\n@app.task(Request=dict)\ndef odd():\n    pass\n")
    worker = own.start()
    assert worker.wait() == ExitCode.SETTINGS_REFUSED
    assert "Request of task 'proj.celery.odd' is <class 'dict'>" in worker.log


def test_a_task_that_wanted_early_acknowledgement_runs_again_after_its_process_was_killed(
    own, journal, wait_until
):
    own.send("proj.celery.slow", seconds=1, journal=str(journal))
    worker = own.start(TASKPACKS_IDLE_SECONDS="1", TASKPACKS_RETRY_BACKOFF_SECONDS="0")
    (line,) = wait_until(lambda: journal.lines("begin"))
    os.kill(line["pid"], signal.SIGKILL)
    wait_until(lambda: journal.lines("end"))
    assert worker.wait() == ExitCode.DRAINED
    assert [line["event"] for line in journal.lines()] == ["begin", "begin", "end"]
    assert outcomes(worker) == ["lost", "done"]
    assert (own.depth(), own.depth(own.dead_url)) == ((0, 0), (0, 0))


def test_an_application_that_is_not_there_is_refused_before_the_first_message(own):
    (own.folder / "site" / "proj" / "celery.py").write_text("app = 5\n")
    own.send("proj.celery.add", left=1, right=2)
    worker = own.start()
    assert worker.wait() == ExitCode.SETTINGS_REFUSED
    assert "it must name a Celery application" in worker.log
    assert own.depth() == (1, 0)


OVERRIDDEN = "setting {} of the application is overridden"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("task_compression", "gzip"),
        ("task_compression", "bzip2"),
        ("task_protocol", 1),
        ("worker_direct", True),
        ("broker_user", "someone"),  # with broker_password
        ("broker_host", "rabbit.example"),
        ("broker_vhost", "of-ours"),
        ("task_default_exchange_type", "topic"),
        ("task_default_routing_key", "elsewhere.key"),
        ("task_send_sent_event", True),
        ("task_soft_time_limit", 7200),
        ("worker_state_db", "/nowhere/state"),
    ],
)
def test_a_task_sent_and_served_with_a_setting_of_the_application_succeeds(own, setting, value):
    given = {setting: value}
    if setting == "broker_user":
        given["broker_password"] = "hush-hush"
    configured(own, f"app.conf.update({given!r})\n")
    own.producer.conf.update(given)
    added = own.send("proj.celery.add", left=1, right=2)
    again = own.send("proj.celery.again")
    chained = chain(
        own.producer.signature("proj.celery.add", (1, 2)),
        own.producer.signature("proj.celery.add", (3,)),
    ).apply_async()
    worker = own.start(TASKPACKS_IDLE_SECONDS="2")
    assert added.get(timeout=20) == 3
    assert chained.get(timeout=20) == 6
    assert again.get(timeout=20) == 1, "what the worker itself sends is a message for a worker"
    assert worker.wait() == ExitCode.DRAINED
    for name in given:
        assert worker.log.count(OVERRIDDEN.format(name)) == 1
    assert ".dq" not in worker.log
    assert "hush-hush" not in worker.log
    assert "someone" not in worker.log
    assert (own.depth(), own.depth(own.dead_url)) == ((0, 0), (0, 0))


def test_a_compression_that_no_worker_reads_is_refused_at_start(own):
    configured(own, "app.conf.task_compression = 'zstd'\n")
    own.send("proj.celery.add", left=1, right=2)
    worker = own.start()
    assert worker.wait() == ExitCode.SETTINGS_REFUSED
    assert "task_compression of the application is 'zstd', which a worker does not" in worker.log
    assert own.depth() == (1, 0)


def test_an_application_with_a_broker_whose_client_is_not_installed_is_served(own):
    configured(own, "app.conf.broker_url = 'redis://:hush-hush@nowhere:6379/0'\n")
    added = own.send("proj.celery.add", left=1, right=2)
    worker = own.start()
    assert added.get(timeout=20) == 3
    assert worker.wait() == ExitCode.DRAINED
    assert OVERRIDDEN.format("broker_url") in worker.log
    assert "hush-hush" not in worker.log


CELERY_VARIABLES = {
    "CELERY_BROKER_URL": "amqp://guest:hush-hush@nowhere//",
    "CELERY_BROKER_READ_URL": "amqp://guest:hush-hush@nowhere//",
    "CELERY_BROKER_WRITE_URL": "amqp://guest:hush-hush@nowhere//",
    "CELERY_RESULT_BACKEND": "file:///nowhere",
}


def test_variables_of_celerys_do_not_beat_the_workers_settings(own):
    added = own.send("proj.celery.add", left=1, right=2)
    parent = own.send("proj.celery.parent")
    worker = own.start(TASKPACKS_IDLE_SECONDS="2", **CELERY_VARIABLES)
    assert added.get(timeout=20) == 3
    assert own.producer.AsyncResult(parent.get(timeout=20)).get(timeout=20) == 42
    assert worker.wait() == ExitCode.DRAINED
    for name in CELERY_VARIABLES:
        assert worker.log.count(f"variable {name} is not used") == 1
    assert "hush-hush" not in worker.log


@pytest.mark.parametrize(
    "code",
    [
        "app.conf.result_backend = 'file:///tmp'\napp.backend\n",  # safe in threads
        "app.conf.result_backend = 'rpc://'\napp.backend\n",  # one for each thread
        "app.backend_cls = 'file:///nowhere'\n",
        # Connections, producers, routes; and a backend.
        "app.conf.update(broker_url='memory://', result_backend='rpc://')\nadd.delay(1, 1)\n",
    ],
)
def test_what_the_application_opened_when_it_was_imported_is_not_used(own, code):
    configured(own, code)
    added = own.send("proj.celery.add", left=1, right=2)
    parent = own.send("proj.celery.parent")
    worker = own.start(TASKPACKS_IDLE_SECONDS="2")
    assert added.get(timeout=20) == 3
    assert own.producer.AsyncResult(parent.get(timeout=20)).get(timeout=20) == 42
    assert worker.wait() == ExitCode.DRAINED
    assert worker.log.count("the result backend that the application has made is not used") == 1


def test_a_tasks_own_backend_is_not_used(own):
    configured(
        own,
        "from celery.backends.filesystem import FilesystemBackend\n"
        "there = FilesystemBackend(app=app, url='file:///tmp')\n"
        "@app.task(backend=there)\ndef stored():\n    return 5\n",
    )
    stored = own.send("proj.celery.stored")
    worker = own.start()
    assert stored.get(timeout=20) == 5
    assert worker.wait() == ExitCode.DRAINED
    assert "backend of task proj.celery.stored is not used" in worker.log


PREFIXED = {
    "broker_url": "amqp://nobody@nowhere//",
    "result_backend": "rpc://",
    "task_acks_late": False,
    "task_serializer": "pickle",
    "accept_content": ["pickle"],
    "task_time_limit": 7200,
    "worker_concurrency": 4,
}
OLD_NAMES = {
    "BROKER_URL": "broker_url",
    "CELERY_RESULT_BACKEND": "result_backend",
    "CELERY_ACKS_LATE": "task_acks_late",
    "CELERY_TASK_SERIALIZER": "task_serializer",
    "CELERY_ACCEPT_CONTENT": "accept_content",
    "CELERYD_TASK_TIME_LIMIT": "task_time_limit",
    "CELERYD_CONCURRENCY": "worker_concurrency",
}
PLAIN_PROJECT = """
from celery import Celery

app = Celery("proj", namespace={namespace!r})


class Config:
{settings}


app.config_from_object(Config, namespace={namespace!r})
{late}


@app.task
def add(left, right):
    return left + right
"""


@pytest.mark.parametrize("kind", ["prefixed", "prefixed and late", "old names", "old and late"])
def test_each_override_is_logged_whatever_name_the_setting_was_given_under(own, kind):
    if "prefixed" in kind:
        given = {f"CELERY_{name.upper()}": value for name, value in PREFIXED.items()}
    else:
        given = {old: PREFIXED[name] for old, name in OLD_NAMES.items()}
    late = f"app.conf.task_acks_late\napp.conf.update({given!r})" if "late" in kind else ""
    project = PLAIN_PROJECT.format(
        namespace="CELERY" if "prefixed" in kind else None,
        settings="\n".join(f"    {name} = {value!r}" for name, value in given.items()),
        late=late,
    )
    configured(own, "", project)
    added = own.send("proj.celery.add", left=1, right=2)
    worker = own.start()
    assert added.get(timeout=20) == 3
    assert worker.wait() == ExitCode.DRAINED
    for name in PREFIXED:
        assert worker.log.count(OVERRIDDEN.format(name)) == 1, name
    assert "nobody@nowhere" not in worker.log
