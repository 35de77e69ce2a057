"""An application that a team brought along runs under the same promises, unchanged."""

import os
import signal

import pytest

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
    ):
        assert f"setting {setting} of the application is overridden" in worker.log, setting
    # A word of the task's own; its acks_late is the setting's, which is reported above.
    assert "serializer of task proj.celery.slow is overridden: 'yaml' -> 'json'" in worker.log
    assert "nobody@nowhere" not in worker.log
    assert own.depth() == (0, 0)


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
