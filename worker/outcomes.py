"""Decides on a failed attempt: the task is tried again, or has failed for good.

Decided where the attempt ends (in the task's process; in the main one for time limits and lost
processes), noted in the result table, and only then reported. Only a final failure is one to
Celery: before it the task is in state RETRY, and no errback, chord or `on_failure` hears of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.exceptions import Reject, Retry

from taskpacks.errors import BadInputError, TaskpacksError
from worker.memory import TaskMemoryError
from worker.task_table import TableUnavailableError

if TYPE_CHECKING:
    from taskpacks.types import Death
    from worker.escalation import Escalation
    from worker.policies import RetryPolicy
    from worker.task_table import Receive, TaskTable

logger = logging.getLogger(__name__)


class Verdict(Enum):
    """The fate of a task whose attempt has failed."""

    FINAL = "it has failed"
    ESCALATED = "it goes to a larger deployment"
    AGAIN = "it is tried again"
    CUT = "another worker has it: the attempt does not count"
    UNCOUNTED = "it is tried again: the result table could not be written"


@dataclass(frozen=True)
class Outcomes:
    """Decides on failed attempts, and notes them."""

    retry: RetryPolicy
    table: TaskTable | None
    escalation: Escalation

    def failed(self, receive: Receive, attempts: int, error: BaseException) -> Verdict:
        """Decides on a failed attempt.

        Args:
            receive: Which receive of the task.
            attempts: Failed attempts, this one included.
            error: How it failed.
        """
        final = never_again(error) or self.retry.exhausted(attempts)
        late = isinstance(error, UnreportedFailureError)
        # What is reported late was one that trying again might have helped, if it was a death.
        death = death_of(error) if late or not never_again(error) else None
        if self.table is not None:
            failure = str(error) if late else f"{type(error).__name__}: {error}"
            try:
                noted = self.table.fail(receive, attempts, failure if final else None, death)
            except TableUnavailableError as unavailable:
                logger.warning(
                    "an attempt of task %s is not counted: %s", receive.task_id, unavailable
                )
                return Verdict.UNCOUNTED
            if not noted:
                return Verdict.CUT
        if final and self.escalation.takes(death):
            return Verdict.ESCALATED
        return Verdict.FINAL if final else Verdict.AGAIN


def death_of(error: BaseException) -> Death | None:
    """Returns what a task died of, as `queue.escalate_on` names it; None for all other errors."""
    if isinstance(error, UnreportedFailureError):
        return error.death
    if isinstance(error, TimeLimitExceeded | SoftTimeLimitExceeded):
        return "time_limit"
    if isinstance(error, MemoryError | TaskMemoryError):
        return "memory"
    return None


def never_again(error: BaseException) -> bool:
    """Says whether trying again cannot help."""
    if isinstance(error, Reject):
        rejected: Any = error
        return not rejected.requeue
    return isinstance(error, BadInputError) or getattr(error, "taskpacks_final", False)


class AttemptFailedError(Retry):
    """To Celery: the task is tried again. Its message comes back; nothing is sent."""

    def __init__(
        self, message: str | None = None, exc: Any = None, when: Any = None, verdict: str = "AGAIN"
    ) -> None:
        """Takes Celery's arguments.

        Args:
            message: How the attempt failed, for the log.
            exc: The exception that ended it.
            when: Not known here.
            verdict: The name of a `Verdict`.
        """
        super().__init__(message, exc, when)
        self.verdict = verdict

    def __reduce__(self) -> tuple[Any, ...]:
        """See `pickle`: it is sent to the worker's main process."""
        return type(self), (self.message, self.exc, self.when, self.verdict)


class ResultNotStoredError(Reject):
    """The result table did not take a result: the attempt is cut, and does not count."""


class FencedOutError(Reject):
    """Another worker has the lock on the task: the attempt is cut, and does not count."""


class UnreportedFailureError(TaskpacksError):
    """The final failure of an attempt whose worker ended before it was reported."""

    taskpacks_final = True

    def __init__(self, text: str, death: Death | None = None) -> None:
        """Takes what was noted of it.

        Args:
            text: How the attempt failed.
            death: What it died of (`death_of`).
        """
        super().__init__(text)
        self.death: Death | None = death

    def __reduce__(self) -> tuple[Any, ...]:
        """See `pickle`: it is sent to the worker's main process."""
        return type(self), (str(self), self.death)
