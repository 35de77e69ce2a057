"""When and how a worker leaves, how often and how long a task runs: pure, time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

SOFT_SHARE: Final = 0.9
"""A soft limit above the pack's comes at this share of it, so that time to clean up is left."""


@dataclass
class DrainPolicy:
    """Decides that a worker has nothing more to do.

    Asked only at the end of an empty receive, when the worker holds no message: there, and
    only there, "the queue was empty and I hold nothing" is one fact. Counting first and
    stopping later would strand a message that arrives in between.

    Attributes:
        idle_seconds: How long nothing may come before the worker leaves.
        busy_at: When a message was last received or held, in monotonic seconds.
    """

    idle_seconds: float
    busy_at: float

    def busy(self, now: float) -> None:
        """Notes that a message is or was just held."""
        self.busy_at = now

    def drained(self, now: float) -> bool:
        """Says whether the queue has been quiet for long enough to ask SQS for its counts."""
        return now - self.busy_at >= self.idle_seconds


class Phase(Enum):
    """How far a worker that was asked to leave has got."""

    FINISH = "the running task may finish"
    CANCEL = "the running task must stop and clean up"
    KILL = "what still runs is killed"


@dataclass(frozen=True)
class GracePolicy:
    """Divides the time between a signal and the platform's kill.

    Attributes:
        grace_seconds: How long the running task may go on.
        cleanup_seconds: How long it may take to clean up after it is cancelled.
    """

    grace_seconds: float
    cleanup_seconds: float

    def phase(self, asked_at: float, now: float) -> Phase:
        """Returns the phase that is due; both times in the same seconds."""
        waited = now - asked_at
        if waited < self.grace_seconds:
            return Phase.FINISH
        if waited < self.grace_seconds + self.cleanup_seconds:
            return Phase.CANCEL
        return Phase.KILL


@dataclass(frozen=True)
class RetryPolicy:
    """How often a task is tried, and how long a failed one waits.

    SQS counts receives, and a worker that is taken away mid-task costs one. An attempt is what
    ended by the task's own doing: an exception, a time limit, a lost process. Attempts are counted
    in the result table (`worker.task_table`); where there is none, receives stand in for them.

    Attributes:
        max_attempts: Attempts, the first included.
        backoff_seconds: The wait after the first failed attempt; it doubles each time.
        backoff_max_seconds: The longest wait.
    """

    max_attempts: int
    backoff_seconds: float
    backoff_max_seconds: float

    def exhausted(self, attempts: int) -> bool:
        """Says whether a task that has failed so often is not tried again."""
        return attempts >= self.max_attempts

    def wait_seconds(self, attempts: int) -> float:
        """How long a task that has failed so often (at least once) waits for its next try."""
        doublings = min(attempts - 1, 32)  # beyond that every cap is reached, and floats end
        return min(self.backoff_max_seconds, self.backoff_seconds * 2**doublings)


def time_limits(
    hard: float | None, soft: float | None, *, most: float
) -> tuple[float, float | None]:
    """Returns the hard and the soft limit, in seconds, that a task or message may have.

    Args:
        hard: As declared; None, or what is not above 0, is `most`.
        soft: As declared; None, or what is not above 0, is none.
        most: The pack's own limit.
    """
    limit = hard if hard and 0 < hard < most else most
    if not (soft and soft > 0):
        return limit, None
    if soft > limit:  # where both were declared so, the hard one comes first, as in Celery
        soft = SOFT_SHARE * most if limit == most else limit
    return limit, soft


@dataclass(frozen=True)
class Failing:
    """Since when every call of one action has failed, in monotonic seconds.

    Attributes:
        since: The first failure in a row.
        refused_since: The first refusal in a row; None after any other failure.
        said: The last error.
    """

    since: float
    refused_since: float | None
    said: str


@dataclass
class AccessPolicy:
    """Decides that SQS will not serve this worker, which would wait for it without end.

    Attributes:
        refused_seconds: How long refusals may last: permissions that are changed in two steps,
            credentials that come late.
        unanswered_seconds: How long other failures may last.
        proven: Actions that were allowed once. Another is given up at its first refusal.
    """

    refused_seconds: float = 30
    unanswered_seconds: float = 900
    proven: set[str] = field(default_factory=set[str])
    _failing: dict[str, Failing] = field(default_factory=dict[str, Failing], repr=False)

    def answered(self, action: str) -> None:
        """Notes that a call was executed."""
        self.proven.add(action)
        self._failing.pop(action, None)

    def failed(self, action: str, now: float, said: str, *, refused: bool) -> None:
        """Notes that a call failed, for a reason that does not pass by itself if it was refused."""
        before = self._failing.get(action)
        refused_since = before.refused_since if before else None
        self._failing[action] = Failing(
            since=before.since if before else now,
            refused_since=(now if refused_since is None else refused_since) if refused else None,
            said=said,
        )

    def hopeless(self, now: float) -> str | None:
        """Returns why the worker is to leave; None while it may stay."""
        for action, failing in tuple(self._failing.items()):
            if failing.refused_since is not None:
                seconds = now - failing.refused_since
                if action not in self.proven or seconds >= self.refused_seconds:
                    return (
                        f"{action} was refused for {seconds:.0f} s: {failing.said}. Allow it in "
                        "the worker's role, and see that its credentials are renewed."
                    )
            elif now - failing.since >= self.unanswered_seconds:
                return (
                    f"{action} has failed for {now - failing.since:.0f} s: {failing.said}. See "
                    "whether the worker's network reaches SQS."
                )
        return None
