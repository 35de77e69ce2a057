"""The Celery application of a worker: one task queue, one process, late acknowledgement.

It is made for a pack, or it is an application that a team brought along, whose settings are
overridden where they would break the worker's promises; each override is logged.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.utils.imports import symbol_by_name
from kombu import Queue

from taskpacks.errors import RefusedSettingsError
from worker import services, transport

if TYPE_CHECKING:
    from worker.services import Services
    from worker.settings import WorkerSettings

logger = logging.getLogger(__name__)


def make(pack: str) -> Celery[Any]:
    """Makes an application for a pack to register its tasks on."""
    return Celery(pack, set_as_current=True)


def load(reference: str) -> Celery[Any]:
    """Loads an application that a team brought along.

    Args:
        reference: As Celery's own `-A`: "module:attribute".

    Raises:
        RefusedSettingsError: It cannot be imported or is no Celery application.
    """
    try:
        app = symbol_by_name(reference)
    except Exception as error:  # whatever the team's module raises, its name must stand beside it
        raise RefusedSettingsError(
            f"app is {reference!r}, which cannot be imported: {type(error).__name__}: {error}. "
            "It is 'module:attribute', and the module must be in the image."
        ) from error
    if not isinstance(app, Celery):
        raise RefusedSettingsError(
            f"app is {reference!r}, which is a {type(app).__name__}: it must name a Celery "
            "application, as in 'proj.celery:app'."
        )
    app.set_current()
    app.finalize()
    app.loader.import_default_modules()
    return app


def configure(app: Celery[Any], settings: WorkerSettings, shared: Services) -> None:
    """Gives an application the settings that the worker's promises rest on."""
    wanted = {**_broker(settings, app, shared), **_execution(settings), **_results(settings)}
    given = app.conf.table(with_defaults=False)
    for name, value in wanted.items():
        if name in given and given[name] != value:
            logger.info("setting %s of the application is overridden", name)
    app.conf.update(wanted)
    app.conf[services.SETTING] = shared


def _broker(settings: WorkerSettings, app: Celery[Any], shared: Services) -> dict[str, Any]:
    return {
        "broker_url": "sqs://",
        "broker_read_url": "sqs://",
        "broker_write_url": "sqs://",
        "broker_transport": transport.Transport,
        "broker_transport_options": {
            "region": settings.region,
            # Known queues: the worker never lists or creates any.
            "predefined_queues": {settings.deployment: {"url": settings.queue_url}},
            "sqs_base64_encoding": False,
            "body_encoding": "utf-8",
            transport.SERVICES_OPTION: shared,
            transport.KNOWN_TASKS_OPTION: app.tasks,
            # boto3's own retries; time-outs below the patience of a shutdown.
            "client-config": settings.client_settings,
        },
        "broker_connection_retry_on_startup": True,
        "task_queues": [Queue(settings.deployment)],
        "task_default_queue": settings.deployment,
        "task_routes": None,
        "task_create_missing_queues": False,
        # Broadcast and events need queues of their own, which a worker has not.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
    }


def _execution(settings: WorkerSettings) -> dict[str, Any]:
    return {
        # Time limits act only in prefork; one task at a time has the whole machine.
        "worker_pool": "worker.pool:TaskPool",
        "worker_concurrency": 1,
        "worker_autoscaler": None,
        "worker_prefetch_multiplier": 1,
        "task_time_limit": settings.task_time_limit_seconds,
        "task_track_started": True,
        # Deleted only when done: a failed or cut attempt stays in the queue, whose redrive
        # policy counts its receives.
        "task_acks_late": True,
        "task_acks_on_failure_or_timeout": False,
        "task_acks_on_failure": False,
        "task_acks_on_timeout": False,
        "task_reject_on_worker_lost": True,
        "worker_redirect_stdouts": False,
        "worker_hijack_root_logger": False,
        # A bare sleep in a signal handler: this worker has a grace of its own.
        "worker_soft_shutdown_timeout": 0,
    }


def _results(settings: WorkerSettings) -> dict[str, Any]:
    return {
        "result_backend": settings.result_backend or "disabled://",
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "enable_utc": True,
    }
