"""The Celery application of a worker: one task queue, one process, late acknowledgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery, Task
from kombu import Queue

from taskpacks.errors import BadInputError
from worker import transport
from worker.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.leaving import DrainPolicy
    from worker.settings import WorkerSettings


class WorkerTask(Task[Any, Any]):
    """The base of every task: bad input is an expected ending, logged without a trace."""

    throws = (BadInputError,)
    Request = "worker.request:TaskRequest"


def make(
    settings: WorkerSettings, policy: DrainPolicy, on_drained: Callable[[], None]
) -> Celery[Any]:
    """Makes the application that a pack registers its tasks on.

    Args:
        settings: The worker's.
        policy: Told when messages come, asked when none do.
        on_drained: Called when the task queue is drained.
    """
    app: Celery[Any] = Celery(settings.pack, set_as_current=True, task_cls=WorkerTask)
    app.conf.update(_broker(settings, policy, on_drained))
    app.conf.update(_execution(settings))
    app.conf.taskpacks_telemetry = Telemetry(deployment=settings.deployment, pack=settings.pack)
    app.conf.update(
        result_backend=settings.result_backend or "disabled://",
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        enable_utc=True,
    )
    return app


def _broker(
    settings: WorkerSettings, policy: DrainPolicy, on_drained: Callable[[], None]
) -> dict[str, Any]:
    return {
        "broker_url": "sqs://",
        "broker_transport": transport.Transport,
        "broker_transport_options": {
            "region": settings.region,
            # Known queues: the worker never lists or creates any.
            "predefined_queues": {settings.deployment: {"url": settings.queue_url}},
            "fetch_message_attributes": ["ApproximateReceiveCount", "SentTimestamp"],
            "wait_time_seconds": transport.RECEIVE_WAIT_SECONDS,
            transport.POLICY_OPTION: policy,
            transport.ON_DRAINED_OPTION: on_drained,
            # boto3's own retries, time-outs below the patience of a shutdown.
            "client-config": {
                "connect_timeout": 5,
                "read_timeout": transport.RECEIVE_WAIT_SECONDS + 5,
                "retries": {"mode": "standard", "total_max_attempts": 3},
            },
        },
        "broker_connection_retry_on_startup": True,
        "task_queues": [Queue(settings.deployment)],
        "task_default_queue": settings.deployment,
        "task_create_missing_queues": False,
        # Broadcast and events need queues of their own, which a worker has not.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
    }


def _execution(settings: WorkerSettings) -> dict[str, Any]:
    return {
        # Time limits act only in prefork; one task at a time has the whole machine.
        "worker_pool": "prefork",
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        "task_time_limit": settings.task_time_limit_seconds,
        "task_track_started": True,
        # Deleted only when done: a failed or cut attempt stays in the queue, whose redrive
        # policy counts its receives.
        "task_acks_late": True,
        "task_acks_on_failure": False,
        "task_acks_on_timeout": False,
        "task_reject_on_worker_lost": True,
        "worker_redirect_stdouts": False,
    }
