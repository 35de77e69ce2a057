"""When and how a worker leaves, and how long a task may run: pure, time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
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
