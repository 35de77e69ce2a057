"""Wraps a task's function in the process that runs it, between the function and the pool.

Stock Celery dies of a `MemoryError` in a task and stalls on a `sys.exit`. Both become ordinary
failures of the attempt here; a `SystemExit` that this worker caused itself goes through, so
that `finally` clauses run and the process ends.
"""

from __future__ import annotations

import inspect
import logging
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from billiard import common as billiard
from celery.app.task import Task
from celery.exceptions import Reject, TaskPredicate
from celery.utils.imports import symbol_by_name
from celery.worker.request import Request

from taskpacks.errors import (
    QUOTED_CHARACTERS_MAX,
    BadInputError,
    RefusedSettingsError,
    TaskpacksError,
    quoted,
    shortened,
)
from worker import followers, storable, traces
from worker.deadline import Ending
from worker.memory import TaskMemoryError
from worker.outcomes import AttemptFailedError, FencedOutError, UnreportedFailureError, Verdict
from worker.policies import time_limits
from worker.request import TaskRequest
from worker.routes import check_mark
from worker.services import services_of
from worker.task_table import Receive

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

logger = logging.getLogger(__name__)


class TaskExitedError(TaskpacksError):
    """A task called sys.exit, which would have ended its worker's process."""


class _Attempt:
    """One attempt at a task, in the process that runs it."""

    def __init__(self, task: Any, facts: Mapping[str, Any]) -> None:
        self._task = task
        self._attempt = facts["attempt"]
        self._failure = facts["failure"]
        self._death = facts["death"]
        self._receive = Receive(
            task_id=task.request.id,
            message_id=facts["message_id"],
            generation=facts["generation"],
            owner=facts["owner"],
        )

    def begin(self) -> None:
        """Raises the failure that an earlier worker decided on, and did not report."""
        if self._failure:
            raise UnreportedFailureError(self._failure, self._death)

    def failed(self, error: Exception) -> None:
        """Raises what Celery is to see, where that is not the error itself."""
        services = services_of(self._task.app)
        services.deadline.ending = Ending.FAILED
        verdict = services.outcomes.failed(self._receive, self._attempt, error)
        if verdict is Verdict.FINAL:
            return
        if verdict is Verdict.CUT:
            raise FencedOutError(
                f"task {self._receive.task_id}: another worker has its lock", requeue=True
            ) from error
        said = f"attempt {self._attempt} failed: {type(error).__name__}: {error}"
        if not isinstance(error, self._task.throws):
            logger.warning(
                "task %s[%s]: %s", self._task.name, self._receive.task_id, said, exc_info=error
            )
        raise AttemptFailedError(said, error, verdict=verdict.name) from error


class _Noting:
    runs = False
    """An attempt runs now: the tasks that its code calls are part of it."""


@contextmanager
def _noting(task: Any) -> Generator[None]:
    """Around a task's own code: an attempt that fails is noted before Celery reports it."""
    facts = task.request.get(followers.FACTS_HEADER)
    if facts is None or _Noting.runs:  # called by a task's code, or for an eager one
        yield
        return
    attempt = _Attempt(task, facts)
    _Noting.runs = True
    try:
        attempt.begin()
        with traces.attached(task.request):
            yield
    except TaskPredicate:
        raise
    except Exception as error:
        if _ending_on_request():  # its cleaning up failed: the attempt was cut, and does not count
            raise SystemExit from error
        attempt.failed(error)
        raise
    finally:
        _Noting.runs = False


class Guarded:
    """Mixed into every task's class, whatever it is."""

    time_limit_max: float
    """The pack's, in seconds, which no message's own limit exceeds."""

    @property
    def backend(self) -> Any:
        """The worker's result backend, whatever a task says of itself."""
        task: Any = self
        return task.app.backend

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the task; an attempt that fails is noted here, before Celery reports it."""
        with _noting(self):
            return self._run(*args, **kwargs)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """See `celery.Task.before_start`; an attempt that fails here is noted too."""
        before: Any = super()
        task: Any = self
        followers.name(task.request)
        with _noting(self):
            before.before_start(task_id, args, kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        run: Any = super()
        task: Any = self
        # A task's function may call others, and itself, and use what they return.
        outermost = not (task.request.called_directly or task.request._protected)  # noqa: SLF001 -- Celery's mark
        try:
            if outermost:
                check_mark(task.request)
            result = run.__call__(*args, **kwargs)
            if outermost:
                storable.check(result, task)
        except MemoryError as error:
            raise TaskMemoryError(
                f"the task ran out of memory ({_text(error) or 'no details'}); give the deployment "
                "more: resources.memory_mib"
            ) from None
        except (SystemExit, KeyboardInterrupt) as error:
            if _ending_on_request():
                raise
            raise TaskExitedError(
                f"the task ended its process with {type(error).__name__}({_text(error)}); a task "
                "must return or raise an exception"
            ) from None
        except Exception as error:
            if outermost:
                storable.check_error(error, task)
            raise
        else:
            return result

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """Retries the task; a retry that cannot be sent is a failed attempt.

        Celery's own rejects the message for good then, though SQS may just have been away.
        """
        task: Any = super()
        try:
            return task.retry(*args, **kwargs)
        except Reject as error:
            rejected: Any = error
            raise Reject(rejected.reason, requeue=True) from error


PROMISED: Final[Mapping[str, Any]] = MappingProxyType(
    {
        # Deleted only when done: a failed or cut attempt stays in the queue.
        "acks_late": True,
        "acks_on_failure_or_timeout": False,
        "acks_on_failure": False,
        "acks_on_timeout": False,
        "reject_on_worker_lost": True,
        "retry_on_worker_lost": False,
        "track_started": True,
        # What a task sends, its own retry included, must be a message that a worker takes.
        "serializer": "json",
        "compression": None,
    }
)
"""Attributes that the worker's promises rest on, whatever a task says of itself."""


def guard(app: Any, time_limit_seconds: float) -> None:
    """Guards every task of an application, without a change to its code.

    Args:
        app: A Celery application with its tasks.
        time_limit_seconds: The longest that any task may run.
    """
    for name, task in app.tasks.items():
        if isinstance(task, Guarded):
            continue
        kind = type(task)
        # What the class says itself, not what it took over from the application's settings.
        for attribute, value in PROMISED.items():
            said = vars(kind).get(attribute)
            if said is not None and said != value and _is_declared(app, task, attribute):
                logger.info("%s of task %s is overridden: %r -> %r", attribute, name, said, value)
        hard, soft = time_limits(task.time_limit, task.soft_time_limit, most=time_limit_seconds)
        for attribute, value in (("time_limit", hard), ("soft_time_limit", soft)):
            said = getattr(task, attribute)
            if said not in (None, value, app.conf[f"task_{attribute}"]):
                logger.info("%s of task %s is overridden: %r -> %r", attribute, name, said, value)
        declared = inspect.getattr_static(kind, "backend") is not vars(Task)["backend"]
        if declared or task._backend is not None:  # noqa: SLF001 -- where Celery keeps it
            logger.warning("backend of task %s is not used: the worker has one of its own", name)
        members = {
            **PROMISED,
            "time_limit": hard,
            "soft_time_limit": soft,
            "time_limit_max": time_limit_seconds,
            # Errors that are a task's ordinary word are logged without a trace.
            "throws": (BadInputError, storable.UnstorableResultError, task.throws),
            "Request": _request_class(name, task.Request),
            "__module__": kind.__module__,
        }
        task.__class__ = type(kind.__name__, (Guarded, kind), members)
        # "_exec_options": what a task that was sent before remembers of its attributes.
        for attribute in (members.keys() | {"_exec_options"}) & vars(task).keys():
            delattr(task, attribute)


class Settling:
    """Before a task's own class of requests: settles a failed attempt that it left unsettled."""

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        """See `TaskRequest.on_failure`."""
        request: Any = self
        own: Any = super()
        arguments = {"send_failed_event": send_failed_event, "return_ok": return_ok}
        try:
            return own.on_failure(exc_info, **arguments)
        finally:
            if not (request.acknowledged or request._already_cancelled):  # noqa: SLF001 -- Celery's mark
                TaskRequest.on_failure(request, exc_info, **arguments)


def _request_class(name: str, reference: Any) -> type:
    """The class of a task's requests: this worker's, or the task's own on top of it.

    Raises:
        RefusedSettingsError: The task's own is no class of requests.
    """
    own = symbol_by_name(reference)
    if own is Request:
        return TaskRequest
    if not (isinstance(own, type) and issubclass(own, Request)):
        raise RefusedSettingsError(
            f"Request of task '{name}' is {quoted(reference)}: it must be, or name, a class "
            "derived from celery.worker.request.Request."
        )
    bases: tuple[Any, ...] = (Settling, own, TaskRequest)
    return type(own.__name__, bases, {})


def _is_declared(app: Any, task: Any, attribute: str) -> bool:
    """A task's own word, and not the application's setting copied onto it when it was bound."""
    setting = app.conf.get(f"task_{attribute}")
    if setting is None and attribute in ("acks_on_failure", "acks_on_timeout"):
        setting = task.acks_on_failure_or_timeout  # Celery fills them in from it
    return setting != getattr(task, attribute)


def _text(error: BaseException) -> str:
    return shortened(str(error), QUOTED_CHARACTERS_MAX)


def _ending_on_request() -> bool:
    """Says whether this process was asked to end, so that what unwinds is not the task's doing."""
    ours: Any = billiard
    return ours.terminate_handler_fired()
