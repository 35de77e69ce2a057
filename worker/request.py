"""A task's request as this worker sees it: Celery's own, which settles its message once.

Every ending of a task comes through here, in the worker's main process: done, failed, timed
out, lost with its process, cancelled. It decides what happens to the message, counts the
attempt and reports.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

from billiard.einfo import (
    ExceptionWithTraceback,  # pyright: ignore[reportAttributeAccessIssue] -- its stub lacks it
)
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.exceptions import Ignore, Reject, Retry
from celery.worker.request import Request

from taskpacks.errors import BadInputError, shortened
from worker.policies import time_limits
from worker.services import services_of
from worker.shutdown import CLEANUP_SECONDS, end_task
from worker.telemetry import TaskReport

if TYPE_CHECKING:
    from worker.leases import Lease
    from worker.services import Services

logger = logging.getLogger(__name__)


class TaskRequest(Request):
    """Settles its message and reports how it went, once.

    Celery generates a subclass of this one for every task, with an `on_success` of its own;
    what is overridden here is what that one calls.
    """

    _outcome = "done"
    _already_cancelled = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.time_limits = _within(self.time_limits, self.task)
        # Its message was hidden until then: through Celery's timer, it could be lost in between.
        self._eta = None
        self._services.running.add(self._receipt_handle)
        self._taken = self.lease
        self._lost = threading.Lock()
        self._ending = threading.Lock()

    @property
    def _receipt_handle(self) -> str:
        message: Any = self.message
        return message.delivery_tag

    @property
    def _services(self) -> Services:
        return services_of(self.app)

    @property
    def lease(self) -> Lease | None:
        """The lease on its message, while it is held."""
        return self._services.leases.find(self._receipt_handle)

    def acknowledge(self) -> None:
        """Has the message deleted: the task is done, or has sent itself again."""
        lease = self.lease
        if lease is not None:
            self._services.leases.delete(lease)
        super().acknowledge()  # frees the slot, also when the message was lost just now
        self._end(lease)

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        """Called when the task raised, was lost with its process, or asked for a retry."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):  # not by its `exc`: a Retry has one too
            error = error.exc
        lease = self.lease
        self._outcome = _outcome_of(error)
        failed = self._outcome in ("failed", "lost", "timed_out", "rejected")
        if failed and not self._already_cancelled:
            self._count(lease, error)
        try:
            return super().on_failure(
                exc_info, send_failed_event=send_failed_event, return_ok=return_ok
            )
        except Exception:  # the result table is away, say: the message must not stay held for it
            logger.exception("how task %s[%s] ended could not be stored", self.name, self.id)
        finally:
            # Also when a task's own class of requests left it unsettled.
            if not (self.acknowledged or self._already_cancelled):
                self.reject(requeue=True)
            self._end(lease)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """Called when a time limit is exceeded; the hard one kills the task's process."""
        lease = self.lease
        if not soft:
            self._outcome = "timed_out"
            self._count(lease, TimeLimitExceeded(timeout))
        try:
            return super().on_timeout(soft, timeout)
        except Exception:  # as in on_failure
            logger.exception("the time-out of task %s[%s] could not be stored", self.name, self.id)
            if not soft:
                self.reject(requeue=True)
        finally:
            if not soft:
                self._end(lease)

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        """Called when a process has begun the task."""
        super().on_accepted(pid, time_accepted)
        # Lost before Celery called the task active, which is where the shutdown looks for it.
        if self.lease is None and not self._ending.locked():
            # In a thread, because this one reads what the process says at its end.
            threading.Thread(target=self.lost, name="lost", daemon=True).start()

    def lost(self) -> None:
        """Ends the task, whose message is not ours any more; it is never acknowledged.

        That the attempt was cut is reported: it is not the task's fault, and not counted.
        """
        if not self._lost.acquire(blocking=False):  # both threads that may find out found out
            return
        logger.error("task %s: its message is lost, cancelling it", self.id)
        self._outcome = "interrupted"
        self._end(self._taken)
        end_task(self, CLEANUP_SECONDS)
        message: Any = self.message
        message.channel.basic_reject(self._receipt_handle)

    def _count(self, lease: Lease | None, error: BaseException) -> None:
        """Counts a failed attempt, and decides when or whether the next one comes."""
        if lease is None or self._ending.locked():
            return
        services = self._services
        retry = services.retry
        rejected: Any = error if isinstance(error, Reject) else None
        final = (
            isinstance(error, BadInputError)
            or getattr(error, "taskpacks_final", False)
            or (rejected is not None and not rejected.requeue)
        )
        added = retry.max_attempts if final else 1
        attempts = services.attempts.add(self.id, lease, added)
        if final or retry.exhausted(attempts):
            lease.return_after_seconds = 0
            if rejected is not None:
                rejected.requeue = False  # Celery stores a FAILURE then, for whoever waits
            services.telemetry.dead_letter(
                task_id=self.id,
                task_name=self.name,
                message_id=lease.message_id,
                attempts=1 if final else attempts,
                error=f"{type(error).__name__}: {error}",
            )
        else:
            lease.return_after_seconds = retry.wait_seconds(attempts)
            logger.warning(
                "task %s[%s] failed (attempt %d of %d), next try in %g s: %s: %s",
                self.name,
                self.id,
                attempts,
                retry.max_attempts,
                lease.return_after_seconds,
                type(error).__name__,
                shortened(str(error)),
            )

    def _end(self, lease: Lease | None) -> None:
        """Notes that nothing more will happen; what settles the message is on its way."""
        self._services.running.discard(self._receipt_handle)
        self._services.ended.set()
        if lease is None or not self._ending.acquire(blocking=False):  # once, by one thread
            return
        if self._outcome in ("lost", "timed_out", "interrupted"):
            # Its process was killed: what it would have removed itself is removed here.
            for folder in self._services.scratch_root.iterdir():
                shutil.rmtree(folder, ignore_errors=True)
        started = self.time_start
        run_seconds = max(0.0, time.time() - started) if started else None
        if run_seconds is not None:
            self._services.prefetch.took(run_seconds)
        self._services.telemetry.task(
            TaskReport(
                task_id=self.id,
                task_name=self.name,
                outcome=self._outcome,
                receives=lease.receives,
                # Clocks may jump: a wait is never negative.
                wait_seconds=max(0.0, started - lease.sent_at)
                if lease.sent_at and started
                else None,
                run_seconds=run_seconds,
                usage=self._services.usage.take(self.id),
            )
        )


def _within(limits: Any, task: Any) -> tuple[float, float | None]:
    """A message's own hard and soft time limits, or its task's, within the pack's."""
    hard, soft = limits
    return time_limits(
        hard or task.time_limit, soft or task.soft_time_limit, most=task.time_limit_max
    )


def _outcome_of(error: BaseException) -> str:
    if isinstance(error, Retry):
        return "retried"
    if isinstance(error, Ignore):
        return "done"
    if isinstance(error, Reject):
        return "rejected"
    if isinstance(error, TimeLimitExceeded):
        return "timed_out"
    if isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
        return "lost"
    return "failed"
