"""The cloud's clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

MINUTE_SECONDS: Final = 60


class Clock:
    """Starts at the real time and runs `pace` times as fast.

    What the cloud itself times goes by it: metrics, alarm periods, schedules, the pauses of
    state machines. Messages, tasks and jobs live in real time, and what is published of them goes
    by the cloud's clock: an age or a run of one real second is `pace` cloud seconds.
    """

    def __init__(self, pace: float) -> None:
        """Starts the clock.

        Args:
            pace: Cloud seconds in a real second; 1 is real time.

        Raises:
            ValueError: The pace is not positive.
        """
        if pace <= 0:
            raise ValueError(f"pace is {pace}: cloud seconds per real second; must be above 0")
        self.pace = pace
        self._began_seconds = time.time()
        self._began_monotonic = time.monotonic()

    def now_seconds(self) -> float:
        """The cloud's time, in seconds since 1970."""
        return self._began_seconds + (time.monotonic() - self._began_monotonic) * self.pace

    def now(self) -> datetime:
        """The cloud's time, in UTC."""
        return datetime.fromtimestamp(self.now_seconds(), UTC)

    def cloud_seconds(self, real_seconds: float) -> float:
        """The cloud's time at a moment of the real one, both in seconds since 1970."""
        return self._began_seconds + (real_seconds - self._began_seconds) * self.pace

    def real_seconds_until(self, cloud_seconds: float) -> float:
        """How long to wait in real time for a moment of the cloud's time; 0 when it is past."""
        return max(0.0, (cloud_seconds - self.now_seconds()) / self.pace)


def last_minute(cloud_seconds: float) -> int:
    """The latest full minute that is not after the given time."""
    return int(cloud_seconds // MINUTE_SECONDS) * MINUTE_SECONDS


def minutes_between(after: int, until: int, *, at_most: int) -> list[int]:
    """The full minutes after one and up to another, the latest `at_most` of them.

    A machine that was too busy for some minutes makes up for them, so that a metric has no
    holes that the real service would not have.
    """
    return list(range(after + MINUTE_SECONDS, until + 1, MINUTE_SECONDS))[-at_most:]
