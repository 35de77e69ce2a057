"""Sorts CSV files larger than memory, and changes nothing but the order of their records.

This file holds hooks only. `tasks.py` is the task; `masking.py` makes records lines, `keys.py`
says what to sort by, `engine.py` sorts.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from taskpacks import PackSpec, Queue, Resources, hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery import Celery, Signature

    from taskpacks import DemoContext, WorkerContext

logger = logging.getLogger(__name__)


@hookimpl
def taskpack_spec() -> PackSpec:
    """Scratch space for about three times the largest file; memory only makes it faster."""
    return PackSpec(
        resources=Resources(
            platform="ec2",
            architecture="arm64",  # Graviton
            vcpus=4,
            memory_mib=14848,  # of the 16 GiB of an instance, what is left for jobs
            scratch_gib=100,
            max_vcpus=40,
        ),
        # The largest file that the scratch holds, on the slow side.
        queue=Queue(task_time_limit_seconds=4 * 60 * 60),
    )


@hookimpl
def taskpack_register_tasks(app: Celery, context: WorkerContext) -> None:
    """Registers `csv_sort.sort`."""
    from taskpacks.csv_sort import tasks  # noqa: PLC0415 - heavy: only the worker comes here

    tasks.register(app, context)


@hookimpl
def taskpack_worker_stopping(context: WorkerContext) -> None:
    """Logs the most memory that a task's process took: what `memory_mib` should be set by."""
    import resource  # noqa: PLC0415 - absent on Windows, where a declaration is still read

    kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if kib:
        logger.info("sorting took at most %d of %d MiB", kib // 1024, context.memory_budget_mib)


@hookimpl
def taskpack_demo(context: DemoContext) -> Sequence[Signature]:
    """A year of flights by delay, and two small files with every kind of quoting."""
    from taskpacks.csv_sort import demo  # noqa: PLC0415 - only the demo needs it

    return demo.samples(context)


@hookimpl
def taskpack_demo_check(context: DemoContext, task: Signature, result: Any) -> str:
    """Sorts again with Python's own `csv` and `sorted`, and compares."""
    from taskpacks.csv_sort import demo  # noqa: PLC0415 - only the demo needs it

    return demo.check(context, task, result)
