"""Until when the task's process may run, in memory that it shares with the worker's main process.

The main process writes, whenever it has extended a lease; the task's process reads. So a main
process that is stopped, or cut off, cannot let a task run on that another worker may have by
then: its own process ends it, with all that it started, also when both were stopped together.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import threading
import time
from enum import IntEnum
from typing import Any, Final

from worker.lease import boot_seconds
from worker.shutdown import descendants

LOOK_SECONDS: Final = 0.1
MARGIN_SECONDS: Final = 0.5
"""The process ends so long before the lease does: longer than a look takes."""
_NEVER: Final = float("inf")


class Ending(IntEnum):
    """How the running attempt is about to end, as far as its process says so before."""

    NONE = 0
    FAILED = 1
    """Its failure is being noted: the lock is given up on purpose."""
    OVERDUE = 2
    """Its process ends itself: the lease is over."""


class _Shared(ctypes.Structure):
    _fields_ = (
        ("ends_at", ctypes.c_double),
        ("fence", ctypes.c_int64),
        ("ending", ctypes.c_int64),
    )


class Deadline:
    """The end of the running task's lease, and the fence number of its lock.

    Make it before the process of tasks is forked. Each value is one aligned word: a reader sees
    the old one or the new one.
    """

    def __init__(self) -> None:
        self._begun = False
        self._shared: Any = _Shared.from_buffer(mmap.mmap(-1, ctypes.sizeof(_Shared)))
        self.clear()

    @property
    def fence(self) -> int:
        """Orders the attempts of a task: a result never replaces a later attempt's."""
        return self._shared.fence

    @fence.setter
    def fence(self, value: int) -> None:
        self._shared.fence = value

    @property
    def ends_at(self) -> float:
        """When the running task's lease ends, in seconds of `boot_seconds`."""
        return self._shared.ends_at

    @ends_at.setter
    def ends_at(self, value: float) -> None:
        self._shared.ends_at = value

    @property
    def ending(self) -> Ending:
        """How the running attempt is about to end."""
        return Ending(self._shared.ending)

    @ending.setter
    def ending(self, value: Ending) -> None:
        self._shared.ending = value

    def clear(self) -> None:
        """No task runs."""
        self.ending = Ending.NONE
        self.ends_at = _NEVER
        self.fence = 0

    @property
    def passed(self) -> bool:
        """Says whether a task that runs now has to end."""
        return boot_seconds() >= self.ends_at - MARGIN_SECONDS

    def begun(self) -> None:
        """Notes, in the process of tasks, that one has begun, which is ended when its time is over.

        A process without one is left alone: else each would end itself, and the main process would
        never hear from the task that waits for one.
        """
        self._begun = True
        if self.passed:
            self._end()

    def watch(self) -> None:
        """Begins to look, in the process of tasks: it leads a process group from now on."""
        os.setpgid(0, 0)
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()

    def _watch(self) -> None:
        while not (self._begun and self.passed):
            time.sleep(LOOK_SECONDS)
        self._end()

    def _end(self) -> None:
        self.ending = Ending.OVERDUE
        for pid in descendants(os.getpid()):  # a program may have left the process group
            _kill(pid)
        os.killpg(0, signal.SIGKILL)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended meanwhile, which is what was wanted
