"""How often a task is tried, apart from how often its message was received.

SQS counts receives, and a worker that is taken away mid-task costs one. An attempt is what
ended by the task's own doing: an exception, a time limit, a lost process. Attempts are counted
in the result table (`worker.task_table`); where there is none, receives stand in for them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """How often a task is tried, and how long a failed one waits.

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
