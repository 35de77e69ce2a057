"""The tasks that are measured, as a pack; `plain_app` has the same ones."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from taskpacks import PackSpec, WorkerContext, hookimpl

if TYPE_CHECKING:
    from celery import Celery, Task

JOURNAL = "BENCHMARK_JOURNAL"
"""Environment name of the file that tasks write to."""
SETTINGS = "BENCHMARK_PLAIN"
"""Environment name of `plain_app`'s settings, in JSON: queue, url, region, blocking, options
of the transport, celery's own."""


@hookimpl
def taskpack_spec() -> PackSpec:
    """See `taskpacks.hookspecs`."""
    return PackSpec()


@hookimpl
def taskpack_register_tasks(app: Celery[Any], context: WorkerContext) -> None:
    """See `taskpacks.hookspecs`."""
    del context
    register(app)


def register(app: Celery[Any]) -> None:
    """Makes the tasks."""

    @app.task(name="probe.nothing", ignore_result=True)
    def nothing() -> None:
        """Ends at once."""

    @app.task(name="probe.mark", ignore_result=True)
    def mark(event: str) -> None:
        note(event)

    @app.task(name="probe.count", bind=True, ignore_result=True)
    def count(self: Task[..., None]) -> None:
        note(f"{self.request.id}/{os.getpid()}/{os.getppid()}")

    @app.task(name="probe.sleep", ignore_result=True)
    def sleep(seconds: float) -> None:
        note("begin")
        time.sleep(seconds)
        note("end")

    @app.task(name="probe.nap")
    def nap(seconds: float) -> None:
        time.sleep(seconds)

    del nothing, mark, count, sleep, nap  # the application has them


def note(event: str) -> None:
    """Adds a line, in one piece whoever else writes: the event, and when it was."""
    opened = os.open(os.environ[JOURNAL], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(opened, f"{event} {time.monotonic()}\n".encode())
    finally:
        os.close(opened)
