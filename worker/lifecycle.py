"""A worker from its first check to its exit code.

Order: settings, pack, queue, the pack's own start; then messages; then the pack's own
stopping, scratch. What can be refused is refused before the first message is taken.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from celery import signals
from celery.app import trace
from celery.worker import state as celery_state

from taskpacks import manager
from taskpacks.contract import ExitCode, WorkerContext
from taskpacks.errors import RefusedSettingsError, TaskpacksError
from taskpacks.lifeline import die_with_parent
from worker import application
from worker.leaving import DrainPolicy
from worker.settings import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)


class UnusableQueueError(TaskpacksError):
    """The task queue cannot be served as it is."""


def run(environment: Mapping[str, str]) -> ExitCode:
    """Runs one worker until its task queue is drained or a signal asks it to leave.

    Args:
        environment: The process's environment, as the job definition sets it.

    Returns:
        How it ended.
    """
    try:
        settings = WorkerSettings.from_environment(environment)
        pack = manager.load(settings.pack)
        check_queue(settings)
    except UnusableQueueError as error:
        logger.error("leaving before the first message: %s", error)  # noqa: TRY400 -- a sentence, not a trace
        return ExitCode.QUEUE_UNUSABLE
    except TaskpacksError as error:
        logger.error("leaving before the first message: %s", error)  # noqa: TRY400 -- a sentence, not a trace
        return ExitCode.SETTINGS_REFUSED
    with tempfile.TemporaryDirectory(prefix="taskpacks-") as scratch:
        context = WorkerContext(
            deployment=settings.deployment,
            vcpus=settings.vcpus,
            memory_mib=settings.memory_mib,
            uri_schemes=settings.uri_schemes,
            scratch_root=Path(scratch),
            environment=dict(environment),
        )
        return _serve(settings, pack, context)


def _serve(settings: WorkerSettings, pack: manager.Pack, context: WorkerContext) -> ExitCode:
    reason: list[ExitCode] = []

    def leave_drained() -> None:
        logger.info("drained: nothing came for %g s, leaving", settings.idle_seconds)
        reason.append(ExitCode.DRAINED)
        celery_state.should_stop = ExitCode.DRAINED.value

    policy = DrainPolicy(idle_seconds=settings.idle_seconds, busy_at=time.monotonic())
    app = application.make(settings, policy, leave_drained)
    try:
        pack.hooks.taskpack_register_tasks(app=app, context=context)
        pack.hooks.taskpack_worker_started(context=context)
    except Exception:
        # Whatever a pack's hook raises, the worker must say so and take no message.
        logger.exception("pack '%s' cannot start, leaving before the first message", pack.name)
        return ExitCode.SETTINGS_REFUSED
    # Logging is set up where the process starts; a receiver keeps Celery from doing it again.
    signals.setup_logging.connect(_log_as_set_up, weak=False)
    # Celery's own message would hold the task's whole result.
    trace.LOG_SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime)ss"
    signals.worker_process_init.connect(_child_started, weak=False)
    worker: Any = app.Worker(without_gossip=True, without_mingle=True, without_heartbeat=True)
    # Celery announces itself with a banner on stdout; the log says it in one line.
    worker.emit_banner = lambda: None
    logger.info("serving task queue %s with pack %s", settings.deployment, pack.name)
    try:
        worker.start()
    finally:
        _stop_pack(pack, context)
    if worker.exitcode:
        return worker.exitcode
    if reason:
        return reason[0]
    logger.info("asked to leave before the task queue was drained, leaving")
    return ExitCode.STOPPED


def _log_as_set_up(**_: Any) -> None:
    """Leaves the root logger alone."""


def _child_started(**_: Any) -> None:
    die_with_parent()


def _stop_pack(pack: manager.Pack, context: WorkerContext) -> None:
    try:
        pack.hooks.taskpack_worker_stopping(context=context)
    except Exception:
        # The work is done and acknowledged: a hook that fails now must not call it failed.
        logger.exception("pack '%s': taskpack_worker_stopping failed", pack.name)


def check_queue(settings: WorkerSettings) -> None:
    """Refuses a task queue that does not answer or would lose failed tasks.

    Raises:
        UnusableQueueError: It cannot be read, or has no redrive policy.
        RefusedSettingsError: The region or URL is not one that boto3 can use.
    """
    try:
        client = boto3.client("sqs", region_name=settings.region)
        attributes = client.get_queue_attributes(
            QueueUrl=settings.queue_url, AttributeNames=["RedrivePolicy"]
        ).get("Attributes", {})
    except ValueError as error:  # botocore's own word for a malformed URL or region
        raise RefusedSettingsError(f"task queue {settings.queue_url}: {error}") from error
    except (ClientError, BotoCoreError) as error:
        raise UnusableQueueError(
            f"task queue {settings.queue_url} cannot be read: {error}. It must exist in region "
            f"{settings.region}, and the worker's role must allow sqs:GetQueueAttributes on it."
        ) from error
    if "RedrivePolicy" not in attributes:
        raise UnusableQueueError(
            f"task queue {settings.queue_url} has no redrive policy: a task that fails would be "
            "lost. Give the queue a dead-letter queue; the stack's own queues have one."
        )
