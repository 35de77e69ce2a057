"""A pack for tests, installed as a distribution's entry point: tasks that misbehave on request."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from celery.exceptions import Reject

from taskpacks import BadInputError, PackSpec, hookimpl


@hookimpl
def taskpack_spec():
    return PackSpec()


@hookimpl
def taskpack_register_tasks(app, context):
    @app.task(name="probe.add")
    def add(left, right):
        return left + right

    @app.task(name="probe.sleep")
    def sleep(seconds, journal, name):
        note(journal, name=name, event="begin")
        try:
            time.sleep(seconds)
        except BaseException as error:
            note(journal, name=name, event="cut", by=type(error).__name__)
            raise
        note(journal, name=name, event="end")
        return name

    @app.task(name="probe.refuse")
    def refuse(value):
        raise BadInputError(f"value is {value!r}: it is refused; send another.")

    @app.task(name="probe.fail")
    def fail():
        raise RuntimeError("broken on purpose")

    @app.task(name="probe.scratch")
    def scratch():
        with context.scratch_folder() as folder:
            (folder / "file").write_text("x")
            return [str(folder), context.thread_budget]

    register_for_larger_workers(app, context)
    register_hazards(app, context)
    register_large_ones(app, context)
    register_followed_ones(app)
    register_for_storms(app)
    register_retries(app)


def register_for_larger_workers(app, context):
    @app.task(name="probe.memory_below")
    def memory_below(mib, journal):
        note(journal, name="memory_below", event="begin", mib=context.memory_mib)
        if context.memory_mib < mib:
            raise MemoryError("no more")
        return mib

    @app.task(name="probe.echo")
    def echo(value):
        return value


def register_hazards(app, context):
    @app.task(name="probe.memory")
    def memory():
        raise MemoryError("no more")

    @app.task(name="probe.exit")
    def leave():
        sys.exit(3)

    @app.task(name="probe.kill")
    def kill():
        """Ends as by the kernel when memory is short."""
        print("last words before SIGKILL")
        os.kill(os.getpid(), signal.SIGKILL)

    @app.task(name="probe.crash")
    def crash():
        print("last words before SIGSEGV")
        ctypes.string_at(0)

    @app.task(name="probe.reject")
    def reject(requeue=False, journal=None):
        if journal:
            note(journal, name="reject", event="begin")
        raise Reject("not this one", requeue=requeue)

    @app.task(name="probe.untidy")
    def untidy(journal):
        """Fails while it cleans up; its second run is done at once."""
        again = Path(journal).exists()
        note(journal, name="untidy", event="begin")
        if again:
            return "done"
        try:
            time.sleep(50)
        finally:
            raise OSError("cannot clean up")

    @app.task(name="probe.fill")
    def fill():
        with context.scratch_folder(needs_bytes=2**60):
            raise AssertionError("nobody has so much")

    register_long_ones(app, context)


def register_large_ones(app, context):
    @app.task(name="probe.raise_text")
    def raise_text(characters):
        raise ValueError("x" * characters)

    @app.task(name="probe.raise_from_text")
    def raise_from_text(characters):
        raise ValueError("short") from ValueError("x" * characters)

    @app.task(name="probe.give")
    def give(journal, what):
        note(journal, name=what, event="begin")
        return {
            "a page": "x" * 400_000,
            "too much": "x" * 410_000,
            "a folder": context.scratch_root,
            "itself": (loop := [], loop.append(loop))[0],
            "a moment": datetime(2026, 1, 1, tzinfo=UTC),
        }[what]

    @app.task(name="probe.progress", bind=True)
    def progress(self, characters):
        self.update_state(state="PROGRESS", meta="x" * characters)

    @app.task(name="probe.give_to_itself", bind=True)
    def give_to_itself(self, outer=True):
        return str(self(outer=False)) if outer else object()

    @app.task(name="probe.talk")
    def talk(lines):
        for number in range(lines):
            print("line", number, "x" * 100)
        return lines


def register_followed_ones(app):
    """Tasks that say in a journal how far they get."""

    @app.task(name="probe.ticking")
    def ticking(seconds, journal, name):
        """Says every tenth of a second that it lives."""
        for _ in range(int(10 * seconds)):  # counted, so that a process that was stopped goes on
            note(journal, name=name, event="tick")
            time.sleep(0.1)
        note(journal, name=name, event="end")
        return name

    class Telling(app.Task):
        def on_failure(self, exc, _task_id, _args, kwargs, _einfo):
            note(kwargs["journal"], name="on_failure", event=str(exc))

        def on_retry(self, exc, _task_id, _args, kwargs, _einfo):
            note(kwargs["journal"], name="on_retry", event=str(exc))

    @app.task(name="probe.flaky", base=Telling)
    def flaky(journal, name, failures):
        """Fails so often, then returns its name."""
        tries = sum(line["name"] == name for line in lines(journal)) + 1
        note(journal, name=name, event="begin")
        if tries <= failures:
            raise RuntimeError(f"{name} {tries}")
        return name

    @app.task(name="probe.die_once")
    def die_once(journal):
        """Ends its process in its first attempt."""
        first = not any(line["name"] == "die_once" for line in lines(journal))
        note(journal, name="die_once", event="try")
        if first:
            os.kill(os.getpid(), signal.SIGKILL)
        return "lived"

    @app.task(name="probe.note")
    def note_down(values, journal, name):
        note(journal, name=name, event="begin", values=values)
        return values


def register_for_storms(app):
    @app.task(name="probe.work", bind=True)
    def work(self, seconds, journal, name, *, failures=0, retries=0):
        """Says every tenth of a second that it lives; fails and asks for retries so often first."""
        note(journal, name=name, event="begin")
        try:
            for _ in range(int(10 * seconds)):
                time.sleep(0.1)
                note(journal, name=name, event="tick")
        except BaseException as error:
            note(journal, name=name, event="cut", by=type(error).__name__)
            raise
        fails = [
            line for line in lines(journal) if line["name"] == name and line["event"] == "fail"
        ]
        if len(fails) < failures:
            note(journal, name=name, event="fail")
            raise RuntimeError(name)
        if self.request.retries < retries:
            note(journal, name=name, event="retry")
            raise self.retry(countdown=0)
        note(journal, name=name, event="end")
        return name

    @app.task(name="probe.gather")
    def gather(values, journal, name):
        """The body of a chord."""
        note(journal, name=name, event="begin")
        note(journal, name=name, event="end", values=sorted(values))
        return name


def register_retries(app):
    @app.task(name="probe.late_again", bind=True)
    def late_again(self, journal):
        """Retries itself at once, after a run that is long enough to be locked."""
        note(journal, name="late_again", event="begin")
        if not self.request.retries:
            time.sleep(2)
            raise self.retry(countdown=0)
        return self.request.retries


def register_long_ones(app, context):
    @app.task(name="probe.again", bind=True)
    def again(self, journal, times):
        note(journal, name="again", event="begin", retries=self.request.retries)
        if self.request.retries < times:
            raise self.retry(countdown=1, max_retries=times)
        return self.request.retries

    @app.task(name="probe.patient", bind=True, time_limit=7300, soft_time_limit=7200)
    def patient(self, journal, times):
        """Retries itself, and sends a task as well, with limits above the pack's."""
        note(journal, name="patient", event="begin", retries=self.request.retries)
        if self.request.retries < times:
            raise self.retry(countdown=0, max_retries=times)
        return self.delay(journal, 0).id if times else None

    @app.task(name="probe.unsendable", bind=True)
    def unsendable(self, journal):
        """Asks for a retry that cannot be sent."""
        note(journal, name="unsendable", event="begin")
        raise self.retry(countdown=0, args=[object()])

    @app.task(name="probe.program")
    def program(journal):
        """Runs a program with a child of its own: they and the task itself ignore SIGTERM."""
        with context.scratch_folder() as folder:
            (folder / "half done").write_text("x")
            process = subprocess.Popen(
                [sys.executable, "-c", STUBBORN_PROGRAM],
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            pids = [process.pid, int(process.stdout.readline())]
            note(journal, name="program", event="begin", pids=pids, folder=str(folder))
            while process.poll() is None:
                try:
                    process.wait()
                except BaseException as error:  # noqa: BLE001 -- a task that will not listen
                    note(journal, name="program", event="cut", by=type(error).__name__)


STUBBORN_CHILD = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(__import__("os").getpid(), flush=True)
time.sleep(60)
"""
STUBBORN_PROGRAM = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", {STUBBORN_CHILD!r}])
time.sleep(60)
"""


def lines(journal):
    path = Path(journal)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def note(journal, **facts):
    """Adds a line, in one piece whoever else writes."""
    line = json.dumps({"at": time.time(), "pid": os.getpid(), "parent": os.getppid(), **facts})
    opened = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(opened, f"{line}\n".encode())
    os.close(opened)


@hookimpl
def taskpack_worker_started(context):
    if context.environment.get("PROBE_REFUSES_TO_START"):
        raise RuntimeError("told not to start")


@hookimpl
def taskpack_worker_stopping(context):
    print(f"probe stopping, scratch root {context.scratch_root}", flush=True)
