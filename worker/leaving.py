"""When a worker leaves: a pure policy, asked where the task queue was seen empty."""

from __future__ import annotations

from dataclasses import dataclass


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
