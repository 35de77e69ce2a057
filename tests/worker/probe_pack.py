"""A pack for tests, installed as a distribution's entry point: tasks that misbehave on request."""

import json
import time
from pathlib import Path

from taskpacks import BadInputError, PackSpec, hookimpl


@hookimpl
def taskpack_spec():
    return PackSpec()


@hookimpl
def taskpack_register_tasks(app, context):
    def note(journal, **facts):
        with Path(journal).open("a") as file:
            file.write(json.dumps({"at": time.time(), **facts}) + "\n")

    @app.task(name="probe.add")
    def add(left, right):
        return left + right

    @app.task(name="probe.sleep")
    def sleep(seconds, journal, name):
        note(journal, name=name, event="begin")
        time.sleep(seconds)
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


@hookimpl
def taskpack_worker_started(context):
    if context.environment.get("PROBE_REFUSES_TO_START"):
        raise RuntimeError("told not to start")


@hookimpl
def taskpack_worker_stopping(context):
    print(f"probe stopping, scratch root {context.scratch_root}", flush=True)
