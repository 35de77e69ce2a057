"""The Celery application of a worker: one task queue, late acknowledgement.

It is made for a pack, or it is an application that a team brought along, whose settings are
overridden where they would break the worker's promises; each override is logged.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from celery import Celery
from celery.app.utils import Settings
from celery.utils.imports import symbol_by_name
from kombu import Queue, compression

from taskpacks.errors import RefusedSettingsError, listed, quoted
from worker import results, services, transport
from worker.envelope import DECOMPRESSORS
from worker.policies import time_limits
from worker.refusals import Refusals
from worker.routes import Sender

if TYPE_CHECKING:
    from worker.routes import Routes
    from worker.services import Services
    from worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

VARIABLES: Final = (
    "CELERY_BROKER_URL",
    "CELERY_BROKER_READ_URL",
    "CELERY_BROKER_WRITE_URL",
    "CELERY_RESULT_BACKEND",
)
"""Variables of the environment that Celery prefers to the setting of the same name."""


class WorkersSettings(Settings):
    """Celery's settings, where no variable of the environment beats a setting.

    The variables stay: a program that a task starts, or another application, may read them.
    """

    @property
    def broker_url(self) -> Any:
        """The worker's own, as the next three."""
        return self["broker_url"]

    @property
    def broker_read_url(self) -> Any:
        """See above."""
        return self["broker_read_url"]

    @property
    def broker_write_url(self) -> Any:
        """See above."""
        return self["broker_write_url"]

    @property
    def result_backend(self) -> Any:
        """See above."""
        return self["result_backend"]


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
    app.loader.init_worker()  # once: Django sets the log up each time it is asked for modules
    return app


def configure(app: Celery[Any], settings: WorkerSettings, shared: Services, routes: Routes) -> None:
    """Gives an application the settings that the worker's promises rest on.

    Raises:
        RefusedSettingsError: What its producers send could not be read.
    """
    sender = Sender(app, routes)  # while the application still has its own broker
    own: Any = app
    own.conf.get("broker_url")  # reads the configuration, which may wait to be read until now
    conf = own.conf
    _check_compression(conf["task_compression"])
    wanted = {
        **_broker(settings, app, shared, sender),
        **_execution(settings, conf),
        **_results(settings),
    }
    for name, value in wanted.items():
        # Under any of its names: new, old, or with the application's prefix.
        if conf.value_set_for(name) and conf[name] != value:
            logger.info("setting %s of the application is overridden", name)
        for alias in conf._to_keys(name):  # noqa: SLF001 -- a prefixed name would come first
            conf.changes.pop(alias, None)
    for name in VARIABLES:
        if os.environ.get(name):
            logger.warning("variable %s is not used: the worker has a setting of its own", name)
    conf.update(wanted)
    conf[services.SETTING] = shared
    object.__setattr__(conf, "__class__", WorkersSettings)  # its own makes a setting of it
    _forget_what_is_open(own)
    sender.plug()


def _check_compression(setting: Any) -> None:
    if not setting:
        return
    encoder: Any = compression.get_encoder
    try:
        _, kind = encoder(setting)
    except KeyError:
        kind = setting
    if kind not in DECOMPRESSORS:
        raise RefusedSettingsError(
            f"task_compression of the application is {quoted(setting)}, which a worker does not "
            f"read: it reads {listed(DECOMPRESSORS)}. Change the setting (gzip, bzip2, lzma or "
            "None), also where the application sends tasks."
        )


def _forget_what_is_open(app: Any) -> None:
    """Forgets what an application has opened with settings that were its own."""
    opened = app._backend  # noqa: SLF001 -- asking for `backend` would open one
    if opened is not None or app.backend_cls is not None:
        logger.warning(
            "the result backend that the application has made is not used: "
            "the worker has one of its own"
        )
    app.backend_cls = None
    app._backend_cache = None  # noqa: SLF001 -- Celery offers no other way, nor for the next two
    app._local = threading.local()  # noqa: SLF001
    app._pool = None  # noqa: SLF001
    for cached in ("amqp", "timezone"):  # queues, routes, protocol, compression are in `amqp`
        app.__dict__.pop(cached, None)


def _broker(
    settings: WorkerSettings, app: Celery[Any], shared: Services, sender: Sender
) -> dict[str, Any]:
    return {
        "broker_url": "sqs://",
        "broker_read_url": "sqs://",
        "broker_write_url": "sqs://",
        "broker_transport": transport.Transport,
        "broker_transport_options": {
            "region": settings.region,
            # Known queues: the worker never lists or creates any.
            "predefined_queues": {
                **sender.predefined_queues,
                settings.deployment: {"url": settings.queue_url},
            },
            "sqs_base64_encoding": False,
            "body_encoding": "utf-8",
            transport.SERVICES_OPTION: shared,
            transport.KNOWN_TASKS_OPTION: app.tasks,
            transport.REFUSALS_OPTION: Refusals(app, settings.deployment),
            transport.SENDER_OPTION: sender,
            # boto3's own retries; time-outs below the patience of a shutdown.
            "client-config": settings.client_settings,
        },
        # What an application says of its own broker: SQS's client would take user and
        # password for AWS credentials.
        **dict.fromkeys(("broker_host", "broker_port", "broker_vhost")),
        **dict.fromkeys(("broker_user", "broker_password", "broker_login_method")),
        "broker_use_ssl": False,
        "broker_failover_strategy": None,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "task_queues": [Queue(settings.deployment)],
        "task_default_queue": settings.deployment,
        # SQS has neither exchanges nor routing keys.
        "task_default_exchange": None,
        "task_default_exchange_type": "direct",
        "task_default_routing_key": None,
        "task_routes": None,
        "task_create_missing_queues": False,
        # What a task sends, its own retry included, must be a message that a worker takes.
        "task_protocol": 2,
        "task_compression": None,
        # Broadcast, events and messages to one worker need queues of their own, which a
        # worker has not.
        "worker_direct": False,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "task_send_sent_event": False,
    }


def _execution(settings: WorkerSettings, conf: Any) -> dict[str, Any]:
    hard, soft = time_limits(
        conf["task_time_limit"],
        conf["task_soft_time_limit"],
        most=settings.task_time_limit_seconds,
    )
    return {
        # Time limits act only in prefork.
        "worker_pool": "worker.pool:TaskPool",
        "worker_concurrency": settings.processes,
        "worker_autoscaler": None,
        "worker_prefetch_multiplier": 1,
        "worker_pool_start_method": "fork",
        # The worker's own consumer and timer; no file of revoked ids beside the scratch.
        "worker_consumer": "worker.transport:Consumer",
        "worker_timer": None,
        "worker_agent": None,
        "worker_state_db": None,
        "task_time_limit": hard,
        "task_soft_time_limit": soft,
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
        "result_backend": results.backend_url(settings.result_backend),
        "result_extended": settings.store_arguments,
        # One of each thread's own: `FencedBackend` keeps what it is doing in itself.
        "result_backend_thread_safe": False,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "enable_utc": True,
    }
