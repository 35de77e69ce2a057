"""The hooks of a task pack, to be implemented in `taskpacks/NAME/__init__.py`.

The least that a pack needs::

    from taskpacks import PackSpec, Resources, hookimpl

    @hookimpl
    def taskpack_spec():
        return PackSpec(resources=Resources(vcpus=2, memory_mib=4096))

    @hookimpl
    def taskpack_register_tasks(app):
        from taskpacks.NAME import tasks  # heavy imports: only the worker comes here
        tasks.register(app)

The first two are required; the second is not where the spec names an `app`, which has its
tasks. A hook may leave out arguments that it does not use. Every hook
is called for one pack at a time, so results of different packs never mix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pulumi
    from celery import Celery, Signature

    from taskpacks.contract import DemoContext, InfrastructureContext, WorkerContext
    from taskpacks.types import PackSpec

PROJECT = "taskpacks"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def taskpack_spec() -> PackSpec | None:
    """Declares what the pack's tasks need.

    Called by everything that handles the pack (program, worker, commands), once, when the
    pack is loaded. Must be quick and light: milliseconds, no I/O, no heavy imports.
    An exception refuses the pack with that exception as the cause.

    Example::

        @hookimpl
        def taskpack_spec():
            return PackSpec(resources=Resources(vcpus=4, memory_mib=8192))
    """


@hookspec
def taskpack_register_tasks(app: Celery, context: WorkerContext) -> None:
    """Registers the pack's Celery tasks, named "NAME.something", on the worker's app.

    Called by the worker, once, before the first message is taken. Heavy imports belong
    inside it. An exception ends the worker with exit code SETTINGS_REFUSED; no message is
    touched.

    Example::

        @hookimpl
        def taskpack_register_tasks(app, context):
            from taskpacks.pi import tasks
            tasks.register(app, context)
    """


@hookspec(firstresult=True)
def taskpack_infrastructure(
    context: InfrastructureContext,
) -> Mapping[str, pulumi.Input[str]] | None:
    """Optional: makes cloud resources of the pack's own (a bucket, a table).

    Called by the Pulumi program, once per deployment, after the worker's role is made and
    before its job definition. Returns environment variables for the worker; a name that
    the spec's `environment` sets too is refused. Import pulumi inside the hook. An
    exception stops the program.

    Buckets and tables that leave the stack are kept, or deleted with what is in them, as the
    stack's setting `taskpacks:data` says; nothing need be done for it here. A resource that
    sets `retain_on_delete` decides for itself.

    Example::

        @hookimpl
        def taskpack_infrastructure(context):
            from taskpacks.pi import infrastructure
            return infrastructure.results_bucket(context)
    """


@hookspec
def taskpack_worker_started(context: WorkerContext) -> None:
    """Optional: prepares the worker: warm a cache, look for a tool.

    Called by the worker, once, in its main process, after the tasks are registered and
    before the first message is taken. An exception ends the worker with exit code
    SETTINGS_REFUSED; no message is touched.

    Example::

        @hookimpl
        def taskpack_worker_started(context):
            find_ffmpeg()
    """


@hookspec
def taskpack_worker_stopping(context: WorkerContext) -> None:
    """Optional: tidies up what `taskpack_worker_started` or the tasks left behind.

    Called by the worker, once, after its last task has ended, unless it was killed. The
    scratch folder is removed afterwards by the worker itself. An exception is logged and
    does not change how the worker ends.

    Example::

        @hookimpl
        def taskpack_worker_stopping(context):
            close_cache()
    """


@hookspec(firstresult=True)
def taskpack_demo(context: DemoContext) -> Sequence[Signature] | None:
    """Optional: sample tasks that prove that the pack works.

    Called by `taskpacks demo` once per deployment. The hook may put sample data under
    `context.output` first. The caller sends the signatures to the deployment's queue. One
    may be a chain, whose further tasks may be those of a deployment in `context.sends_to`.
    An exception ends the demo.

    Example::

        @hookimpl
        def taskpack_demo(context):
            from celery import signature
            return [signature("pi.calculate", kwargs={"digits": 1000})]
    """


@hookspec(firstresult=True)
def taskpack_demo_check(context: DemoContext, task: Signature, result: Any) -> str | None:
    """Optional: says whether a sample task's result is right, independently of its code.

    Called by `taskpacks demo` for every signature of `taskpack_demo` that succeeded. The
    result of a chain is that of its last task.
    Returns one sentence about what was found to be right; raises AssertionError with a
    sentence about what is wrong, which fails the demo.

    Example::

        @hookimpl
        def taskpack_demo_check(context, task, result):
            if not result["pi"].startswith("3.14159"):
                raise AssertionError(f"that is not pi: {result['pi'][:10]}")
            return "starts with 3.14159"
    """
