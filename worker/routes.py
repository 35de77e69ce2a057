"""Decides where each message goes that this worker's tasks send: one message, one place.

The rule is that of docs/worker.md: the first that applies of

1. the queue that was asked for is this deployment's or one of `sends_to`: that one;
2. the task's name matches this deployment's patterns, or is Celery's own: this deployment's queue;
3. it matches those of a deployment in `sends_to`: that one's queue;
4. the pack serves an application: the application's own broker, by its own routes;
5. none: refused, before the work is done where the message shows it.

What is sent belongs to the tenant of the message that is run (SQS's MessageGroupId).
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from celery import Celery
from celery._state import get_current_worker_task
from celery.app.defaults import DEFAULTS
from celery.exceptions import QueueNotFound
from kombu import Queue

from taskpacks.errors import RefusedSettingsError, TaskpacksError, nearest, quoted
from worker import followers, traces
from worker.checks import UnusableQueueError
from worker.envelope import ONCE_HEADER

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from taskpacks.manager import Pack
    from worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

TENANT: Final = "MessageGroupId"
"""A message's tenant: SQS's name for it, and kombu's for the property that it sends it by:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html"""
ADDRESS_TRIES: Final = 8
"""SSM answers 40 reads a second by default, and a large array of workers starts at once:
https://docs.aws.amazon.com/general/latest/gr/ssm.html"""
REFUSED_HEADER: Final = "taskpacks_refused"
"""The message's header that tells the task's process why the task is not to be run."""
DEPLOYMENT_OPTION: Final = "taskpacks_deployment"
"""An option of the worker's own sends: the deployment, whatever the rule says."""
_OF_CELERY: Final = "celery."

_reported: ContextVar[Any] = ContextVar("reported", default=None)


class NoPlaceError(TaskpacksError):
    """A task cannot be sent, because no rule says where to: trying again would not help."""

    taskpacks_final = True


@dataclass(frozen=True, kw_only=True)
class Routes:
    """Which tasks go to which task queue.

    Attributes:
        own: This deployment's name.
        patterns: Name patterns of tasks by deployment: its own first, then those of `sends_to`.
        urls: Where other deployments' task queues are, by their names.
        serves_application: A team's own is served, which may have a broker of its own.
    """

    own: str
    patterns: Mapping[str, tuple[str, ...]]
    urls: Mapping[str, str] = field(default_factory=dict[str, str])
    serves_application: bool = False

    def deployment(self, task_name: str, queue: str | None) -> str | None:
        """Returns the deployment that a task goes to; None when it goes to none.

        Args:
            task_name: The task's name.
            queue: The queue that was asked for.
        """
        if queue in self.patterns:
            return queue
        if task_name.startswith(_OF_CELERY):
            return self.own
        for name, patterns in self.patterns.items():
            if any(fnmatchcase(task_name, each) for each in patterns):
                return name
        return None

    def refusal(self, task_name: str, queue: str | None) -> str:
        """Says why a task has no place, and what to do."""
        asked = f" with queue {quoted(queue)}" if queue else ""
        known = queue or task_name.partition(".")[0]
        return (
            f"task {quoted(task_name)}{asked} cannot be sent from deployment '{self.own}': neither "
            "names it a deployment that this one may send to, nor do the patterns of one match."
            f"{nearest(known, self.patterns)} Add the deployment that runs it to "
            f"`sends_to` of '{self.own}'."
        )


def read(settings: WorkerSettings, pack: Pack) -> Routes:
    """Reads where this worker may send to.

    Args:
        settings: The worker's.
        pack: What it serves.

    Raises:
        RefusedSettingsError: The stack's parameter lacks an address.
        UnusableQueueError: The parameter cannot be read.
    """
    routes = dict(settings.routes) or {settings.deployment: pack.spec.patterns(pack.name)}
    wanted = [name for name in (*routes, settings.escalate_to) if name]
    wanted = [name for name in dict.fromkeys(wanted) if name != settings.deployment]
    urls: dict[str, str] = {}
    if wanted:
        urls = _addresses(settings)
    if missing := [name for name in wanted if name not in urls]:
        raise RefusedSettingsError(
            f"parameter {settings.addresses} has no address of '{missing[0]}', to which this "
            "deployment may send; run `pulumi up` again, which writes the parameter."
        )
    return Routes(
        own=settings.deployment,
        patterns=routes,
        urls={name: urls[name] for name in wanted},
        serves_application=bool(pack.spec.app),
    )


def _addresses(settings: WorkerSettings) -> dict[str, str]:
    """The addresses of the stack's task queues, from its producer document."""
    if not settings.addresses:
        raise RefusedSettingsError(
            "TASKPACKS_ADDRESSES is not set, and this deployment sends to others: the job "
            "definition sets it; start the worker through AWS Batch."
        )
    config = Config(
        **{
            **settings.client_settings,
            "retries": {"mode": "standard", "total_max_attempts": ADDRESS_TRIES},
        }
    )
    client: Any = boto3.client("ssm", region_name=settings.region, config=config)
    try:
        document = json.loads(client.get_parameter(Name=settings.addresses)["Parameter"]["Value"])
        queues = document["broker_transport_options"]["predefined_queues"]
        return {name: queue["url"] for name, queue in queues.items()}
    except (ClientError, BotoCoreError, ValueError, KeyError, TypeError) as error:
        raise UnusableQueueError(
            f"parameter {settings.addresses}, which has the addresses of the deployments that "
            f"this one sends to, cannot be read: {type(error).__name__}: {error}. It must be the "
            "stack's producer document, and the worker's role must allow ssm:GetParameter on it."
        ) from error


@contextmanager
def on_behalf_of(request: Any) -> Generator[None]:
    """Sends what is sent inside for a task; for the worker's main process.

    Args:
        request: The task's (`celery.app.task.Context`).
    """
    token = _reported.set(request)
    try:
        yield
    finally:
        _reported.reset(token)


def tenant() -> str | None:
    """The tenant of the message whose task runs or is reported here; None where it names none."""
    return (getattr(_sending(), "properties", None) or {}).get(TENANT)


def _sending() -> Any:
    """The request of the task that runs or is reported here; None where there is none."""
    task: Any = get_current_worker_task()
    return task.request if task else _reported.get()


def _may_be_sent_twice() -> bool:
    """Says whether what is sent now was perhaps sent before, by an earlier run of its task."""
    task: Any = get_current_worker_task()
    if task is None:  # its process may have reported before it was killed
        return _reported.get() is not None
    facts = task.request.get(followers.FACTS_HEADER)
    return bool(facts) and facts["receives"] > 1


def check_mark(request: Any) -> None:
    """Fails a task before its work, in its process, so that all that waits for it fails too.

    Raises:
        NoPlaceError: Its message is marked.
    """
    if refused := request.get(REFUSED_HEADER):
        raise NoPlaceError(refused)


class Sender:
    """Sends an application's tasks, each to its one place."""

    def __init__(self, app: Celery[Any], routes: Routes) -> None:
        """Prepares it, before the application's settings are overridden; see `plug`.

        Args:
            app: The worker's application.
            routes: Where it may send to.
        """
        self._app: Any = app
        self._routes = routes
        self._send: Any = app.send_task
        self._elsewhere = OwnBroker.of(app) if routes.serves_application else None

    def plug(self) -> None:
        """Has everything that the application sends come through here."""
        self._app.send_task = self.send_task

    @property
    def predefined_queues(self) -> dict[str, dict[str, str]]:
        """Kombu's setting: the task queues of other deployments."""
        return {name: {"url": url} for name, url in self._routes.urls.items()}

    def send_task(
        self, name: str, args: Any = None, kwargs: Any = None, *more: Any, **options: Any
    ) -> Any:
        """Celery's `send_task`, to the task's one place.

        Raises:
            NoPlaceError: There is none.
        """
        task = options.get("task_type") or self._app.tasks.get(name)
        routed = options.get("route_name") or name
        queue = _name_of(options.get("queue") or getattr(task, "queue", None))
        given = options.pop(DEPLOYMENT_OPTION, None)
        deployment = given or self._routes.deployment(routed, queue)
        headers = options.get("headers") or {}
        if traces.PARENT not in headers:  # a retry has those of its message
            options["headers"] = {**headers, **traces.carried(_sending())}
        if deployment != self._routes.own:
            options = _with_own_words(task, options)
        if deployment is None:
            if refused := self.refusal(routed, queue):
                raise NoPlaceError(refused)
            if queue and options.get("queue") is None:
                options["queue"] = queue
            elsewhere: Any = self._elsewhere
            return elsewhere.send(task, name, args, kwargs, *more, **options)
        for option in ("exchange", "routing_key", "exchange_type"):  # of another broker
            options.pop(option, None)
        if TENANT not in options and (sender := tenant()):
            options[TENANT] = sender
        if options.get("task_id") and _may_be_sent_twice():
            options["headers"] = {**(options.get("headers") or {}), ONCE_HEADER: True}
        # kombu would ask for the depth of a queue that it declares.
        return self._send(
            name,
            args,
            kwargs,
            *more,
            **{**options, "queue": Queue(deployment), "declare": ()},
        )

    def refusal(self, task_name: str, queue: str | None) -> str | None:
        """Why a task cannot be sent anywhere; None when it can."""
        if self._routes.deployment(task_name, queue) is not None:
            return None
        if self._elsewhere is None:
            return self._routes.refusal(task_name, queue)
        if fault := self._elsewhere.fault(queue):
            return (
                f"task {quoted(task_name)} is none of this deployment's or of those in `sends_to`, "
                f"and the application's own broker cannot take it: {fault}"
            )
        return None

    def mark(self, headers: dict[str, Any], embedded: Mapping[str, Any]) -> None:
        """Marks a message as refused when a task that is to follow cannot be sent.

        Args:
            headers: The message's, which get the mark; what they say of it themselves is removed.
            embedded: What Celery embeds in a message: callbacks, errbacks, chain, chord.
        """
        headers.pop(REFUSED_HEADER, None)
        if refused := self._refused_follower(embedded):
            headers[REFUSED_HEADER] = refused

    def _refused_follower(self, embedded: Mapping[str, Any]) -> str | None:
        for each in followers.tasks_in(embedded):
            options = each.get("options")
            given = options.get("queue") if isinstance(options, dict) else None
            task = self._app.tasks.get(each["task"])
            queue = _name_of(given or getattr(task, "queue", None))
            if refused := self.refusal(each["task"], queue):
                return f"what is to follow it has no place: {refused}"
        return None


class OwnBroker:
    """A served application as it was brought along: its broker, routes and serializers."""

    def __init__(self, app: Any) -> None:
        self._app = app

    @classmethod
    def of(cls, app: Any) -> OwnBroker | None:
        """Copies an application's settings; None when it names no broker."""
        if not app.conf.broker_write_url:
            return None
        given = {name: getattr(app.conf, name) for name in DEFAULTS}
        copy: Any = Celery(
            app.main,
            amqp=app.amqp_cls,
            backend="disabled://",  # nor need its library be there
            set_as_current=False,
        )
        copy.conf.update({name: value for name, value in given.items() if value != DEFAULTS[name]})
        return cls(copy)

    def send(self, task: Any, name: str, args: Any, kwargs: Any, *more: Any, **options: Any) -> Any:
        """Sends a task as the application would without this worker."""
        for given in ("producer", "publisher", "connection", "router", "task_type"):
            options.pop(given, None)
        return self._app.send_task(name, args, kwargs, *more, task_type=task, **options)

    def fault(self, queue: str | None) -> str | None:
        """Why the broker cannot be used, or not for a queue; no connection is made."""
        if self._unusable:
            return self._unusable
        try:
            if queue:
                self._app.amqp.queues[queue]
        except (KeyError, QueueNotFound):
            return f"its task_queues has no queue {quoted(queue)}, and it is not to create any"
        return None

    @cached_property
    def _unusable(self) -> str | None:
        try:
            _ = self._app.connection_for_write().transport
        except Exception as error:  # noqa: BLE001 -- without its library each kind fails its own way
            return f"{type(error).__name__}: {error}"
        return None


def _name_of(queue: Any) -> str | None:
    name = getattr(queue, "name", queue)
    return name if isinstance(name, str) and name else None


def _with_own_words(task: Any, options: dict[str, Any]) -> dict[str, Any]:
    """A task's options without those that this worker has put into its class (`guards`)."""
    bases = type(task).__bases__
    changed = dict(options)
    for name in ("serializer", "compression", "time_limit", "soft_time_limit"):
        if task is not None and name in changed and changed[name] == getattr(task, name, None):
            changed[name] = getattr(bases[-1], name, None)
    return changed
