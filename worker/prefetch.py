"""Receiving ahead: several messages in one call, where tasks are so short that calls cost more.

A message that waits here is held by this worker, and no other can have it. So no more work is
taken ahead than `AHEAD_SECONDS`, by what tasks lately took: heavy tasks come one by one. What
was taken ahead is given back as soon as the running task takes long after all, or the worker is
asked to leave.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from taskpacks import limits
from worker.leases import LeaseState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.leases import Lease

AHEAD_SECONDS: Final = 0.5
"""Work that may wait here; also how long it waits for a running task before it is given back."""
MEMORY: Final = 0.8
"""Weight of the past in what a task typically takes, for a task that was quicker."""
HEAVY_SECONDS: Final = 1.0


@dataclass
class PrefetchPolicy:
    """Decides how many messages one receive asks for.

    Attributes:
        typical_seconds: What a task takes. A slow one raises it at once, quick ones lower it
            slowly; None before the first.
    """

    typical_seconds: float | None = None

    def took(self, seconds: float) -> None:
        """Notes how long a task ran."""
        typical = seconds if self.typical_seconds is None else self.typical_seconds
        self.typical_seconds = max(seconds, MEMORY * typical + (1 - MEMORY) * seconds)

    @property
    def heavy(self) -> bool:
        """Says whether a task typically takes long enough to be locked before it starts."""
        return self.typical_seconds is not None and self.typical_seconds >= HEAVY_SECONDS

    @property
    def messages(self) -> int:
        """How many messages to receive, the one that starts at once included."""
        if self.typical_seconds is None:
            return 1
        if self.typical_seconds * limits.MESSAGES_PER_CALL_MAX <= AHEAD_SECONDS:
            return limits.MESSAGES_PER_CALL_MAX
        return max(1, int(AHEAD_SECONDS / self.typical_seconds))


@dataclass(frozen=True)
class Received:
    """A message as SQS gave it, and the lease on it."""

    lease: Lease
    message: dict[str, Any]


class Prefetched:
    """Messages that were received and not started yet. Safe in all threads."""

    def __init__(self) -> None:
        self._waiting: deque[Received] = deque()
        self._closed = False
        self._lock = threading.Lock()

    def add(self, received: Iterable[Received]) -> bool:
        """Puts messages at the end; says False, and takes none, once it is closed."""
        with self._lock:
            if not self._closed:
                self._waiting.extend(received)
            return not self._closed

    def take(self) -> Received | None:
        """The first message that is still ours."""
        with self._lock:
            while self._waiting:
                received = self._waiting.popleft()
                if received.lease.state is not LeaseState.LOST:
                    return received
            return None

    def take_all(self) -> list[Received]:
        """Every message, to be given back."""
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
            return taken

    def close(self) -> list[Received]:
        """Takes every message, and lets none be added any more."""
        with self._lock:
            self._closed = True
        return self.take_all()
