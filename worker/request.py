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
from typing import TYPE_CHECKING, Any, Final, cast

from billiard.einfo import (
    ExceptionInfo,
    ExceptionWithTraceback,  # pyright: ignore[reportAttributeAccessIssue] -- its stub lacks it
)
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals, states
from celery.exceptions import Ignore, Reject, Retry
from celery.worker.request import Request
from celery.worker.state import task_ready

from taskpacks.errors import shortened
from worker import followers
from worker.deadline import Ending
from worker.escalation import attempts_before
from worker.outcomes import AttemptFailedError, FencedOutError, ResultNotStoredError, Verdict
from worker.policies import time_limits
from worker.routes import on_behalf_of
from worker.services import services_of
from worker.shutdown import CLEANUP_SECONDS, end_task
from worker.task_output import ATTEMPT_HEADER
from worker.task_table import Reason
from worker.telemetry import TaskReport

if TYPE_CHECKING:
    from worker.leases import Lease
    from worker.locks import TaskLock
    from worker.services import Services
    from worker.task_table import Refusal

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
        self.slot = self._services.slots.take(self._receipt_handle)
        self._services.running.add(self._receipt_handle)
        self._oom_kills = self._services.memory.kills
        self._taken = self.lease
        self._lost = threading.Lock()
        self._ending = threading.Lock()
        if self._lock is not None:
            self._services.locks.runs(self._lock, self.slot.deadline)

    @property
    def _receipt_handle(self) -> str:
        message: Any = self.message
        return message.delivery_tag

    @property
    def _fields(self) -> dict[str, Any]:
        """The fields that a line about the task has, as those of its own process."""
        attempt = self.request_dict.get(ATTEMPT_HEADER)
        return {"task_id": self.id, "task_name": self.name, "attempt": attempt}

    @property
    def _services(self) -> Services:
        return services_of(self.app)

    @property
    def lease(self) -> Lease | None:
        """The lease on its message, while it is held."""
        return self._services.leases.find(self._receipt_handle)

    @property
    def _lock(self) -> TaskLock | None:
        return None if self._taken is None else self._taken.lock

    @property
    def _attempt(self) -> int:
        return 1 if self._lock is None else self._lock.attempt

    def acknowledge(self) -> None:
        """Has the message deleted: the task is done, or has sent itself again."""
        lease = self.lease
        if lease is not None:
            self._services.leases.delete(lease)
        if self._already_cancelled and not self.acknowledged and self.worker_pid is not None:
            end_task(self, 0)  # it lives on: later, the next task would be killed with it
        try:
            self._end(lease)  # what is the slot's, before another task has it
        finally:
            super().acknowledge()  # frees the slot, also when the message was lost just now

    def reject(self, requeue: bool = False) -> None:
        """Has the message given back, or left to its lease."""
        try:
            self._end(self.lease)  # as above
        finally:
            super().reject(requeue=requeue)

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        """Called when the task raised, was lost with its process, or asked for a retry."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):  # not by its `exc`: a Retry has one too
            error = error.exc
        lease = self.lease
        self._outcome = _outcome_of(error)
        if self._lock is not None and (self._outcome == "retried" or isinstance(error, Ignore)):
            self._lock.replaced = True
        try:
            over = lease is None or self._ending.locked() or self._already_cancelled
            if over and isinstance(error, AttemptFailedError):
                task_ready(self)  # Celery would delete the message, as of one that was sent again
            elif over or not self._settled(cast("Lease", lease), error, exc_info):
                return super().on_failure(
                    exc_info, send_failed_event=send_failed_event, return_ok=return_ok
                )
        except Exception:  # the result table is away, say: the message must not stay held for it
            logger.exception(
                "how task %s[%s] ended could not be stored", self.name, self.id, extra=self._fields
            )
        finally:
            # Also when a task's own class of requests left it unsettled.
            if not (self.acknowledged or self._already_cancelled):
                self.reject(requeue=True)
            self._end(lease)
            self._services.running.discard(self._receipt_handle)

    def _settled(self, lease: Lease, error: Any, exc_info: Any) -> bool:
        """Settles an attempt that did not end well; False leaves what is left to Celery."""
        if isinstance(error, ResultNotStoredError | FencedOutError):
            self._outcome = "interrupted"
            if isinstance(error, ResultNotStoredError):
                self._services.on_unusable(str(error.args[0]))
            return False
        if self._outcome in ("lost", "timed_out"):
            task_ready(self)
            self._killed(lease, error, exc_info)
            return True
        if self._outcome not in ("failed", "rejected"):
            return False
        reported = False
        if isinstance(error, AttemptFailedError):
            verdict, error = Verdict[error.verdict], error.exc
        elif self.slot.deadline.ending is Ending.FAILED:
            verdict, reported = Verdict.FINAL, True  # by the task's process, which has noted it
        else:
            verdict = self._failed(lease, error)
        if verdict is not Verdict.FINAL:
            task_ready(self)
            if verdict is Verdict.ESCALATED:
                self._escalate(lease, error, exc_info)
            else:
                self._come_back(lease, error, verdict)
            return True
        if not reported:
            task_ready(self)
            self._report(lease, error, exc_info)
            return True
        self._dead(lease, error)
        return False

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """Called when a time limit is exceeded; the hard one kills the task's process."""
        if soft:
            return super().on_timeout(soft, timeout)
        if not self._ending.locked():  # as a rule the pool has called `on_failure` before
            try:
                raise TimeLimitExceeded(timeout)  # noqa: TRY301 -- for its traceback
            except TimeLimitExceeded:
                self.on_failure(ExceptionInfo())
        return None

    def _announce_revoked(self, *args: Any) -> None:
        """Called when the task has expired: what follows it belongs to its tenant, too."""
        celery: Any = super()
        self._outcome = "cancelled"
        with on_behalf_of(self._what_follows):
            celery._announce_revoked(*args)  # noqa: SLF001 -- overridden

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
        logger.error("task %s: its message is lost, cancelling it", self.id, extra=self._fields)
        self._outcome = "interrupted"
        try:
            end_task(self, CLEANUP_SECONDS)
            self._end(self._taken)
        finally:
            message: Any = self.message
            message.channel.basic_reject(self._receipt_handle)

    def refused(self, refusal: Refusal) -> None:
        """Ends the running task, for a reason that the result table gave."""
        lease = self.lease
        if lease is None or not self._lost.acquire(blocking=False):
            return
        logger.warning("task %s is ended: %s", self.id, refusal.reason.value, extra=self._fields)
        self._outcome = "interrupted"
        end_task(self, CLEANUP_SECONDS)
        if refusal.reason is Reason.CANCELLED:
            self._outcome = "cancelled"
            context = self._what_follows
            with self._services.slots.acting_for(self.slot), on_behalf_of(context):
                self.task.backend.mark_as_revoked(self.id, "cancelled", request=context)
        if self._lock is not None and refusal.reason is Reason.DONE:
            self._lock.replaced = True  # another is, whose item is to stay
        if refusal.reason in (Reason.CANCELLED, Reason.DONE):
            self.acknowledge()
        else:
            lease.return_after_seconds = refusal.seconds
            self.reject(requeue=True)
        self._end(lease)

    @property
    def _what_follows(self) -> Any:
        """The task's chord, chain and errbacks, as Celery's backends take them."""
        ours: Any = self
        return followers.name(ours._context)  # noqa: SLF001 -- Celery's, which its stub lacks

    def _failed(self, lease: Lease, error: BaseException) -> Verdict:
        """Decides on, and notes, an attempt whose process could not do so itself."""
        lock = lease.lock
        if lock is None:
            return Verdict.UNCOUNTED
        self.slot.deadline.ending = Ending.FAILED
        return self._services.outcomes.failed(lock.receive, lock.attempt, error)

    def _killed(self, lease: Lease, error: Any, exc_info: Any) -> None:
        """Settles an attempt whose process was killed, and could report nothing."""
        ours: Any = self
        context = self._what_follows
        if ours._success_was_stored():  # noqa: SLF001 -- Celery's, which its stub lacks
            # Killed before it said so: what follows is done again, and not the task.
            if context.chord:
                with on_behalf_of(context):
                    self.task.backend.on_chord_part_return(context, states.SUCCESS, None)
            self._outcome = "done"
            self.acknowledge()
            return
        if self.slot.deadline.ending is Ending.OVERDUE:
            self._outcome = "interrupted"
            self.reject(requeue=True)
            return
        if self._outcome == "lost":
            error = self._services.memory.explained(error, since=self._oom_kills)
        verdict = self._failed(lease, error)
        if verdict is Verdict.ESCALATED:
            self._escalate(lease, error, exc_info)
        elif verdict is not Verdict.FINAL:
            self._come_back(lease, error, verdict)
        else:
            self._report(lease, error, exc_info)

    def _escalate(self, lease: Lease, error: Any, exc_info: Any) -> None:
        """Sends the task to a larger deployment; one that cannot be sent has failed."""
        context, backend = self._what_follows, self.task.backend
        try:
            if self.store_errors:
                # Before it is sent: what happens to it there is stored later.
                hand_over = getattr(backend, "hand_over", backend.mark_as_retry)
                hand_over(self.id, error, request=context)
            self._services.outcomes.escalation.escalate(self.task, context, self._attempt)
        except Exception:  # whatever it is, the caller must not wait for ever
            logger.exception("task %s[%s] cannot be sent on", self.name, self.id)
            self._report(lease, error, exc_info)
            return
        self._outcome = "escalated"
        self.acknowledge()

    def _report(self, lease: Lease, error: Any, exc_info: Any) -> None:
        """Reports a final failure that the task's process did not."""
        context = self._what_follows
        with on_behalf_of(context):
            self.task.backend.mark_as_failure(
                self.id, error, request=context, store_result=self.store_errors
            )
            self.task.on_failure(error, self.id, self.args, self.kwargs, exc_info)
            signals.task_failure.send(
                sender=self.task,
                task_id=self.id,
                exception=error,
                args=self.args,
                kwargs=self.kwargs,
                traceback=exc_info.traceback,
                einfo=exc_info,
            )
        self._dead(lease, error)
        self.reject(requeue=True)

    def _come_back(self, lease: Lease, error: Any, verdict: Verdict) -> None:
        """Has the task tried again; the message waits as long as its attempts say."""
        retry = self._services.retry
        if verdict is Verdict.CUT:
            self._outcome = "interrupted"
        lease.return_after_seconds = retry.wait_seconds(self._attempt)
        if self._outcome in ("lost", "timed_out") and self.store_errors:
            self.task.backend.mark_as_retry(self.id, error, request=self._what_follows)
        logger.warning(
            "task %s[%s]: attempt %d of %d has failed, %s in %g s: %s: %s",
            self.name,
            self.id,
            self._attempt,
            retry.max_attempts,
            verdict.value,
            lease.return_after_seconds,
            type(error).__name__,
            shortened(str(error)),
            extra=self._fields,
        )
        self.reject(requeue=True)

    def _dead(self, lease: Lease, error: BaseException) -> None:
        """The task has failed for good, which is reported: SQS moves its message."""
        services = self._services
        lock = lease.lock
        lease.return_after_seconds = 0
        services.telemetry.dead_letter(
            task_id=self.id,
            task_name=self.name,
            message_id=lease.message_id,
            attempts=attempts_before(self._what_follows) + self._attempt,
            error=f"{type(error).__name__}: {error}",
        )
        if services.locks.table is not None and lock is not None:
            services.locks.table.report(lock.receive)

    def _end(self, lease: Lease | None) -> None:
        """Notes that nothing more will happen; what settles the message is on its way."""
        if self._lock is not None:
            self._services.locks.end(self._lock)
        if lease is None or not self._ending.acquire(blocking=False):  # once, by one thread
            return
        if self._outcome in ("lost", "timed_out", "interrupted", "cancelled"):
            # Its process was killed: what it would have removed itself is removed here.
            for folder in self.slot.scratch_root.iterdir():
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
                usage=self.slot.usage.take(self.id),
            )
        )


def _within(limits: Any, task: Any) -> tuple[float, float | None]:
    """A message's own hard and soft time limits, or its task's, within the pack's."""
    hard, soft = limits
    return time_limits(
        hard or task.time_limit, soft or task.soft_time_limit, most=task.time_limit_max
    )


_OUTCOMES: Final = (
    (AttemptFailedError, "failed"),
    (Retry, "retried"),
    (Ignore, "done"),
    (Reject, "rejected"),
    (TimeLimitExceeded, "timed_out"),
    (WorkerLostError | SystemExit | KeyboardInterrupt, "lost"),
    (BaseException, "failed"),
)
"""How an attempt ended, by what it raised; the first that fits."""


def _outcome_of(error: BaseException) -> str:
    return next(outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))
