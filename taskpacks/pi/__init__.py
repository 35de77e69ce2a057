"""Pi to any number of digits: the smallest complete pack, and the one to copy from.

This file holds hooks only; the work is in `tasks.py`, the bucket in `infrastructure.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskpacks import PackSpec, Resources, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pulumi
    from celery import Celery, Signature

    from taskpacks import DemoContext, InfrastructureContext, WorkerContext


@hookimpl
def taskpack_spec() -> PackSpec:
    """Four CPUs, and memory for the largest number of digits that the task takes."""
    return PackSpec(resources=Resources(vcpus=4, memory_mib=8192, max_vcpus=40))


@hookimpl
def taskpack_register_tasks(app: Celery, context: WorkerContext) -> None:
    """Registers `pi.calculate`."""
    from taskpacks.pi import tasks  # noqa: PLC0415 - heavy: only the worker comes here

    tasks.register(app, context)


@hookimpl
def taskpack_infrastructure(context: InfrastructureContext) -> Mapping[str, pulumi.Input[str]]:
    """Makes a bucket for results that are too long to be returned."""
    from taskpacks.pi import infrastructure  # noqa: PLC0415 - only the program has pulumi

    return infrastructure.results_bucket(context)


@hookimpl
def taskpack_demo(context: DemoContext) -> Sequence[Signature]:
    """A million digits once, and thirty small numbers of digits."""
    from taskpacks.pi import demo  # noqa: PLC0415 - only the demo needs it

    return demo.samples(context)


@hookimpl
def taskpack_demo_check(context: DemoContext, task: Signature, result: Any) -> str:
    """Compares with published digits and with another formula."""
    from taskpacks.pi import demo  # noqa: PLC0415 - only the demo needs it

    return demo.check(context, task, result)
