"""Encodes videos with ffmpeg, as an external process that never outlives its task.

This file holds hooks only; `tasks.py` is the task, `ffmpeg.py` the process and its
arguments, `probe.py` what is known of a video file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskpacks import Image, PackSpec, Queue, Resources, hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery import Celery, Signature

    from taskpacks import DemoContext, WorkerContext


@hookimpl
def taskpack_spec() -> PackSpec:
    """Eight CPUs, an hour for a video, and ffmpeg in the image. It encodes on the CPUs only."""
    return PackSpec(
        resources=Resources(
            platform="ec2",
            vcpus=8,
            memory_mib=14848,  # of the 16 GiB of an instance, what is left for jobs
            scratch_gib=50,
            max_vcpus=80,
        ),
        queue=Queue(task_time_limit_seconds=3600),
        image=Image(apt=("ffmpeg",)),
    )


@hookimpl
def taskpack_register_tasks(app: Celery, context: WorkerContext) -> None:
    """Registers `video_encoding.encode`."""
    from taskpacks.video_encoding import tasks  # noqa: PLC0415 - heavy: only the worker comes here

    tasks.register(app, context)


@hookimpl
def taskpack_worker_started(context: WorkerContext) -> None:
    """Looks for ffmpeg and logs what it can encode; without one the worker takes no message."""
    from taskpacks.video_encoding import ffmpeg  # noqa: PLC0415 - only the worker comes here

    del context
    ffmpeg.log_encoders()


@hookimpl
def taskpack_demo(context: DemoContext) -> Sequence[Signature]:
    """Four clips to H.264, one of them to VP9 and H.265 too."""
    from taskpacks.video_encoding import demo  # noqa: PLC0415 - only the demo needs it

    return demo.samples(context)


@hookimpl
def taskpack_demo_check(context: DemoContext, task: Signature, result: Any) -> str:
    """Looks into the finished file: codec, size, duration, and that it can be decoded."""
    from taskpacks.video_encoding import demo  # noqa: PLC0415 - only the demo needs it

    return demo.check(context, task, result)
