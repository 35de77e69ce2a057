"""The worker's log and an application's logging live together; lines of a task name it."""

import json
import logging
import signal
import subprocess
import sys

import pytest

from conftest import ROOT
from taskpacks.contract import ExitCode
from worker import logs

APPLICATION = """
import logging
import logging.config
from celery import Celery, signals
from celery.utils.log import get_task_logger

app = Celery("proj", broker="amqp://", backend="rpc://")
told = get_task_logger(__name__)
existing = logging.getLogger("proj.before")


@app.task
def speak(text):
    logging.getLogger("proj.speaker").info("speaks %s", text)
    existing.info("before speaks %s", text)
    told.info("told %s", text)
    return text


@app.task
def wait(seconds):
    import time
    time.sleep(seconds)
"""
CONSOLE = {
    "version": 1,
    "formatters": {"ours": {"format": "OURS %(levelname)s %(name)s %(message)s"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "ours",
            "stream": "ext://sys.stdout",
        }
    },
}
NAMED = {**CONSOLE, "loggers": {"proj": {"handlers": ["console"], "level": "INFO"}}}
OF_ROOT = {**CONSOLE, "root": {"handlers": ["console"], "level": "INFO"}}
SETTINGS = {"a named logger": NAMED, "the root": OF_ROOT, "nothing": {"version": 1}}

AT_IMPORT = "\nlogging.config.dictConfig({settings!r})\n"
# As django.setup() does, at the moment at which Celery's Django fixup calls it: Django's own
# settings, then the project's.
LIKE_DJANGO = """

@signals.import_modules.connect(sender=app, weak=False)
def setup(**_):
    print("set up like Django", flush=True)
    logging.config.dictConfig({{
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {{"console": {{"class": "logging.StreamHandler"}}}},
        "loggers": {{"django": {{"handlers": ["console"], "level": "INFO"}}}},
    }})
    logging.config.dictConfig({settings!r})
"""
ON_SETUP_LOGGING = """

@signals.setup_logging.connect(weak=False)
def setup(**_):
    logging.config.dictConfig({settings!r})
"""
TIMES = {
    "at import": AT_IMPORT,
    "like Django": LIKE_DJANGO,
    "on Celery's setup_logging": ON_SETUP_LOGGING,
}
OWN_LINES = {
    "worker.application": "setting broker_url of the application is overridden",
    "worker.run": "drained: nothing came for 2 s, leaving",
    "worker.request": "attempt 1 of 2 has failed",
}


def install(own, text, name="proj.celery:app"):
    """Installs a project and a pack that serves its application."""
    folder = own.folder / "site"
    info = folder / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taskpacks]\nown = own_pack\n")
    (folder / "own_pack.py").write_text(
        "from taskpacks import PackSpec, hookimpl\n\n\n"
        "@hookimpl\ndef taskpack_spec():\n"
        f"    return PackSpec(app={name!r}, tasks=('proj.*',))\n"
    )
    (folder / "proj").mkdir()
    (folder / "proj" / "__init__.py").touch()
    (folder / "proj" / "celery.py").write_text(text)
    own.environment["TASKPACKS_PACK"] = "own"


def lines(worker):
    """Returns the lines in JSON that are no reports."""
    read = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
    return [line for line in read if "logger" in line]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("at", TIMES)
def test_a_logging_configuration_of_the_application_silences_no_line_of_the_workers(
    site, at, settings
):
    later = TIMES[at].format(settings=SETTINGS[settings])
    failing = "\n\n@app.task\ndef fail():\n    raise ValueError('once')\n"
    install(site, APPLICATION + failing + later)
    spoken = site.send("proj.celery.speak", text="up")
    site.send("proj.celery.fail")
    worker = site.start(
        TASKPACKS_IDLE_SECONDS="2", TASKPACKS_MAX_ATTEMPTS="2", TASKPACKS_RETRY_BACKOFF_SECONDS="0"
    )
    assert spoken.get(timeout=20) == "up"
    assert worker.wait() == ExitCode.DRAINED
    found = lines(worker)
    for logger, text in OWN_LINES.items():
        # Once, and in the worker's form, wherever the application sends its own lines.
        (line,) = [line for line in found if line["logger"] == logger and text in line["message"]]
        assert line["level"] in ("INFO", "WARNING")
    # Celery's, too, in the form of the root: the worker's or the application's.
    assert worker.log.count(f"Task proj.celery.speak[{spoken.id}] succeeded") == 1
    assert worker.log.count(f"Task proj.celery.speak[{spoken.id}] received") == 1
    if settings != "nothing":
        assert worker.log.count("OURS INFO proj.speaker speaks up") == 1
    if at == "like Django":  # a second time would disable loggers that tasks.py has made
        assert worker.log.count("set up like Django") == 1
    if at == "at import":  # the later ones disable this logger, as the application asks for
        assert ("before speaks up" in worker.log) is (settings == "a named logger")


RECEIVERS = """

def told_by(name):
    def tell(signal=None, sender=None, **facts):
        print("signal", name, sender, sorted(facts), flush=True)
    return tell


for name in ("after_setup_logger", "after_setup_task_logger", "worker_shutting_down"):
    getattr(signals, name).connect(told_by(name), weak=False)


@signals.after_setup_logger.connect(weak=False)
def change_root(logger, **_):
    for handler in logger.handlers:
        handler.setFormatter(logging.Formatter("CHANGED %(message)s"))


@signals.after_setup_task_logger.connect(weak=False)
def add(logger, **_):
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("ADDED %(message)s"))
    logger.addHandler(handler)
"""


def test_celerys_signals_about_logging_and_shutdown_are_sent(site, wait_until):
    install(site, APPLICATION + RECEIVERS)
    spoken = site.send("proj.celery.speak", text="up")
    worker = site.start(TASKPACKS_IDLE_SECONDS="30")
    assert spoken.get(timeout=20) == "up"
    worker.signal(signal.SIGTERM)
    assert worker.wait() == ExitCode.STOPPED
    log = worker.log
    facts = "['colorize', 'format', 'logfile', 'logger', 'loglevel']"
    assert log.count(f"signal after_setup_logger None {facts}") == 1
    assert log.count(f"signal after_setup_task_logger None {facts}") == 1
    assert log.count("signal worker_shutting_down celery@") == 1
    assert "['exitcode', 'how', 'sig']" in log
    # What the receivers did holds for the application's lines and Celery's, not for the worker's.
    assert "CHANGED speaks up" in log
    assert "ADDED told up" in log
    assert [line["logger"] for line in lines(worker) if "SIGTERM: taking no" in line["message"]]


def test_an_application_that_sets_up_the_log_itself_gets_no_further_signals(site):
    install(site, APPLICATION + ON_SETUP_LOGGING.format(settings=OF_ROOT) + RECEIVERS)
    spoken = site.send("proj.celery.speak", text="up")
    worker = site.start()
    assert spoken.get(timeout=20) == "up"
    assert worker.wait() == ExitCode.DRAINED
    assert "signal after_setup" not in worker.log


TALKATIVE = f"""
import faulthandler, logging, os, subprocess, sys, threading, time
from celery import Celery

app = Celery("proj")
log = logging.getLogger("proj")


@app.task(bind=True)
def talk(self, fail=False):
    log.info("through logging")
    log.info("with its own id", extra={{"task_id": "mine"}})
    thread = threading.Thread(target=lambda: log.info("from a thread"))
    thread.start()
    thread.join()
    print("by print")
    print("to stderr", file=sys.stderr)
    print('{{"metric": 1, "task_name": "its own"}}')
    subprocess.run([{sys.executable!r}, "-c", "print('by a program')"], check=True)
    quiet.apply()
    print("after a task within")
    print("without an end", end="", flush=True)
    if fail and self.request.delivery_info:
        raise ValueError("to be tried again")


@app.task
def quiet():
    log.info("quietly")


@app.task
def crash():
    print("before the crash")
    os.kill(os.getpid(), 11)
"""
SPOKEN = (
    "through logging",
    "from a thread",
    "by print",
    "to stderr",
    "by a program",
    "after a task within",
    "without an end",
)


@pytest.mark.parametrize("through", ["a file", "a pipe"])
def test_each_line_of_a_task_names_the_task_and_its_attempt(site, through):
    install(site, TALKATIVE)
    talk = site.send("proj.celery.talk")
    other = site.send("proj.celery.quiet")
    failing = site.send("proj.celery.talk", fail=True)
    changes = {"TASKPACKS_MAX_ATTEMPTS": "2", "TASKPACKS_RETRY_BACKOFF_SECONDS": "0"}
    if through == "a file":
        worker = site.start(TASKPACKS_IDLE_SECONDS="2", **changes)
        assert worker.wait() == ExitCode.DRAINED
        log = worker.log
    else:
        ended = subprocess.run(
            [sys.executable, "-m", "worker"],
            cwd=ROOT,
            env={**site.environment, "TASKPACKS_IDLE_SECONDS": "2", **changes},
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert not ended.stderr
        log = ended.stdout.decode()
    assert talk.successful()
    read = [json.loads(line) for line in log.splitlines()]

    def named(text):
        """Task, name and attempt of each line with a text."""
        return sorted(
            (line.get("task_id"), line.get("task_name"), line.get("attempt"))
            for line in read
            if text in line.get("message", "")
        )

    attempts = sorted(
        [
            (talk.id, "proj.celery.talk", 1),
            (failing.id, "proj.celery.talk", 1),
            (failing.id, "proj.celery.talk", 2),
        ]
    )
    for text in SPOKEN:
        assert named(text) == attempts, text
    assert (other.id, "proj.celery.quiet", 1) in named("quietly")
    # What a line says itself stays; a program's JSON stays JSON.
    assert {line["task_id"] for line in read if "with its own id" in line.get("message", "")} == {
        "mine"
    }
    metrics = [line for line in read if "metric" in line]
    assert sorted((line["task_id"], line["attempt"]) for line in metrics) == sorted(
        (task_id, attempt) for task_id, _, attempt in attempts
    )
    assert {line["task_name"] for line in metrics} == {"its own"}
    # Celery's own about the task, in its process.
    assert named(f"Task proj.celery.talk[{talk.id}] succeeded") == [
        (talk.id, "proj.celery.talk", 1)
    ]
    assert (failing.id, "proj.celery.talk", 2) in named("raised unexpected")
    # The worker's own about the task; other lines are no task's.
    assert named("attempt 1 of 2 has failed") == [(failing.id, "proj.celery.talk", 1)]
    assert named("drained: nothing came") == [(None, None, None)]


def test_what_a_task_said_before_its_process_was_killed_is_in_the_log(site):
    install(site, TALKATIVE)
    crash = site.send("proj.celery.crash")
    worker = site.start(TASKPACKS_IDLE_SECONDS="2", TASKPACKS_MAX_ATTEMPTS="1")
    assert worker.wait() == ExitCode.DRAINED
    (line,) = [line for line in lines(worker) if line["message"] == "before the crash"]
    assert (line["task_id"], line["task_name"]) == (crash.id, "proj.celery.crash")


def test_in_a_terminal_a_line_begins_with_its_task():
    formatter = logs.PlainFormatter("%(levelname)s %(name)s: %(task)s%(message)s")
    record = logging.LogRecord("pack", logging.INFO, "", 0, "half %s", ("done",), None)
    assert formatter.format(record) == "INFO pack: half done"
    vars(record).update(task_id="7", task_name="pack.task", attempt=2)
    assert formatter.format(record) == "INFO pack: pack.task[7] attempt 2: half done"
