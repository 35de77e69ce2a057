"""A pack for tests, installed as a distribution's entry point: tasks that misbehave on request."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from taskpacks import BadInputError, PackSpec, hookimpl


@hookimpl
def taskpack_spec():
    return PackSpec()


@hookimpl
def taskpack_register_tasks(app, context):
    def note(journal, **facts):
        who = {"at": time.time(), "pid": os.getpid(), "parent": os.getppid()}
        line = json.dumps({**who, **facts}) + "\n"
        journal = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(journal, line.encode())  # in one piece, whoever else writes
        os.close(journal)

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

    @app.task(name="probe.exhaust")
    def exhaust(how):
        if how == "memory":
            raise MemoryError("no more")
        if how == "exit":
            sys.exit(3)
        if how == "kill":  # as the kernel does when memory is short
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "scratch":
            with context.scratch_folder(needs_bytes=2**60):
                return None
        raise ValueError(how)

    @app.task(name="probe.again", bind=True)
    def again(self, journal, times):
        note(journal, name=f"again {self.request.retries}", event="begin")
        if self.request.retries < times:
            raise self.retry(countdown=1, max_retries=times)
        return self.request.retries

    @app.task(name="probe.program")
    def program(journal):
        """Runs a program with a child of its own; both ignore SIGTERM, and so does the task."""
        ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        child = f"{ignoring} time.sleep(60)"
        parent = (
            f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {child!r}]); "
            f"print(child.pid, flush=True); {ignoring} time.sleep(60)"
        )
        with context.scratch_folder() as folder:
            (folder / "half done").write_text("x")
            process = subprocess.Popen(
                [sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True
            )
            pids = [process.pid, int(process.stdout.readline())]
            note(journal, name="program", event="begin", pids=pids, folder=str(folder))
            while True:
                try:
                    process.wait()
                except BaseException:  # a task that will not listen
                    note(journal, name="program", event="cut")


@hookimpl
def taskpack_worker_started(context):
    if context.environment.get("PROBE_REFUSES_TO_START"):
        raise RuntimeError("told not to start")


@hookimpl
def taskpack_worker_stopping(context):
    print(f"probe stopping, scratch root {context.scratch_root}", flush=True)
