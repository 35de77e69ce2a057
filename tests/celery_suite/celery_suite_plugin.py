"""A pytest plugin that lets Celery's own integration tests run against a worker process.

Their fixtures start a worker in a thread of the test's process; here it is a process, plain or
ours, started with the command and the environment that the runner gives. Their files stay as
they are.
"""

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from _pytest.subtests import SubtestReport
from celery import signals
from celery.app import control
from celery.contrib.testing import manager as celery_manager
from celery.contrib.testing import worker as celery_worker
from celery.contrib.testing.tasks import ping
from celery.exceptions import TimeoutError as CeleryTimeoutError
from kombu.transport import SQS

from taskpacks.parent_death import tied_to_this_process

RUN = "CELERY_SUITE_RUN"
"""The variable with what to start and where to write, as JSON; see `sites.Run`."""
START_SECONDS = 30
IDLE_SECONDS = 5
"""How long a worker may work on what a test left behind, before it is killed and started again."""
WHY_LETTERS = 300
WAIT_SECONDS = 15
POLL_SECONDS = 0.02


def purge(channel, queue):
    """Deletes what is visible: SQS's own PurgeQueue is allowed once in 60 s."""
    client = channel.sqs(queue=queue)
    url = channel._new_queue(queue)
    count = 0
    while found := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in found:
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        count += len(found)
    return count


def answer(inspect, command, **_):
    """A worker on SQS has no remote control; that one is there is asked through the queue."""
    if command != "ping":
        return None
    app = inspect.app
    app.tasks[ping.name].delay().get(timeout=IDLE_SECONDS)
    return {"worker": {"ok": "pong"}}


def shorten(module):
    """Lets a module's own waits, of up to 60 s, end sooner: what fails here waits for nothing."""
    before = getattr(module, "TIMEOUT", 0)
    if before <= WAIT_SECONDS:
        return
    module.TIMEOUT = WAIT_SECONDS
    for function in vars(module).values():
        defaults = getattr(function, "__defaults__", None)
        if defaults and function.__module__ == module.__name__:
            function.__defaults__ = tuple(
                WAIT_SECONDS if value is before else value for value in defaults
            )


class WorkerProcess:
    """A worker that is there for every test: what a test did to it must not cost the next one."""

    def __init__(self, run):
        self._run = run
        self._process = None

    def start(self):
        with Path(self._run["log"]).open("a") as log:
            self._process = subprocess.Popen(
                tied_to_this_process(*self._run["command"]),
                cwd=self._run["folder"],
                env=self._run["environment"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def end(self):
        """Kills it, and with it the process that runs its tasks."""
        self._process.kill()
        self._process.wait()

    def await_start(self, app):
        """Waits until it takes tasks."""
        self._ping(app, START_SECONDS)

    def await_idle(self, app):
        """Empties the task queue and waits until the worker has ended what it had received."""
        app.control.purge()
        try:
            self._ping(app, IDLE_SECONDS)
        except CeleryTimeoutError:
            self.end()
            app.control.purge()
            self.start()
            self.await_start(app)

    @staticmethod
    def _ping(app, seconds):
        # Tasks are run one by one and in order: once this one is, so are those before it.
        app.tasks[ping.name].delay().get(timeout=seconds, interval=POLL_SECONDS)


class Plugin:
    def __init__(self, run):
        self._worker = WorkerProcess(run)
        self._seconds = run["test_seconds"]
        self._shard = run["shard"]
        self._results = Path(run["results"]).open("a", buffering=1)  # noqa: SIM115 -- closed below
        self._outcome = {}
        self._app = None
        self._sent = False

    @contextmanager
    def start_worker(self, app, **_):
        self._app = app
        self._worker.start()
        try:
            self._worker.await_start(app)
            yield self._worker
        finally:
            self._worker.end()

    def wait_until_idle(self):
        if self._sent:
            self._worker.await_idle(self._app)
            self._sent = False

    def on_sent(self, **_):
        self._sent = True

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        shard, shards = self._shard
        items[:] = items[shard::shards]
        for item in items:  # before the tests' own 300 s
            item.add_marker(pytest.mark.timeout(self._seconds), append=False)
        for module in {item.module for item in items}:
            shorten(module)

    def pytest_runtest_logreport(self, report):
        """Writes a line for each test: passed only if its fixtures' ends passed too."""
        node = self._outcome.setdefault(
            report.nodeid, {"test": report.nodeid, "outcome": "passed", "seconds": 0.0, "why": ""}
        )
        if not isinstance(report, SubtestReport):  # whose time is the test's too
            node["seconds"] = round(node["seconds"] + report.duration, 2)
        if report.outcome != "passed" and node["outcome"] == "passed":
            node["outcome"] = "skipped" if report.skipped else "failed"
            node["why"] = _why(report)
        if report.when == "teardown":
            self._results.write(json.dumps(self._outcome.pop(report.nodeid)) + "\n")

    def pytest_unconfigure(self):
        self._results.close()


def _why(report):
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2][:WHY_LETTERS]
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    return f"{report.when}: {text[:WHY_LETTERS]}"


def pytest_configure(config):
    plugin = Plugin(json.loads(os.environ[RUN]))
    SQS.Channel._purge = purge
    control.Inspect._request = answer
    signals.after_task_publish.connect(plugin.on_sent)
    celery_worker.start_worker = plugin.start_worker
    celery_manager.Manager.wait_until_idle = plugin.wait_until_idle
    config.pluginmanager.register(plugin)
