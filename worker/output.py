"""The worker's standard output and error: line by line, and never held up by whoever reads them.

A container's log can be slow, full or gone. A line that is not taken in time is dropped and
counted, because neither a task nor the heartbeat may wait for a log. What a task printed before
it crashed is out by then, and faulthandler adds where it crashed. Whole lines, and not each
piece of one: the task and the worker share the log, and a metrics line in two pieces is lost.

The process that runs tasks diverts its output into a pipe (`worker/task_output.py`).
"""

from __future__ import annotations

import faulthandler
import io
import os
import select
import stat
import sys
import time
from contextlib import suppress
from typing import Final

PATIENCE_SECONDS: Final = 0.5
"""How long a line waits for a place. After one that found none, the others do not wait."""
_NOTE: Final = (
    '\n{{"level": "WARNING", "logger": "worker.output", "message": "{} lines were dropped before '
    'this one: nobody read the log"}}\n'
)


class Unblocked(io.RawIOBase):
    """Writes to a file descriptor, and drops what is not taken in time. No write raises."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.descriptor = _own_description(number)
        self._most_bytes = select.PIPE_BUF if self.descriptor == number else sys.maxsize
        self._stalled = False
        self._dropped = 0

    def writable(self) -> bool:
        """See `io.IOBase.writable`."""
        return True

    def fileno(self) -> int:
        """Returns the descriptor for programs that a task starts, which may wait."""
        return self._number

    def isatty(self) -> bool:
        """See `io.IOBase.isatty`."""
        return os.isatty(self._number)

    def write(self, data: object, /) -> int:
        """Writes a line; says that all of it was written also when it was dropped."""
        line = bytes(data)  # pyright: ignore[reportArgumentType] -- a buffer, whose type is 3.12's
        if self._dropped and self._taken(_NOTE.format(self._dropped).encode()):
            self._dropped = 0
        if self._dropped or not self._taken(line):
            self._dropped += 1
        return len(line)

    def _taken(self, line: bytes) -> bool:
        rest = memoryview(line)
        give_up_at = time.monotonic() + (0 if self._stalled else PATIENCE_SECONDS)
        ready = select.poll()
        ready.register(self.descriptor, select.POLLOUT)
        self._stalled = True
        while rest:
            if not ready.poll(1000 * max(0.0, give_up_at - time.monotonic())):
                return False
            try:
                rest = rest[os.write(self.descriptor, rest[: self._most_bytes]) :]
            except BlockingIOError:
                continue  # another process took the place
            except OSError:
                return False  # nobody is there any more, or the disk is full
        self._stalled = False
        return True


def _own_description(number: int) -> int:
    """Opens a pipe again, so that it does not block here, and blocks as before for all others.

    Where that is refused, writes as small as a pipe takes at once block only when two processes
    fill its last page at the same time.
    """
    with suppress(OSError):
        if stat.S_ISFIFO(os.fstat(number).st_mode):
            return os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK)
    return number


def _stream(raw: Unblocked) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        raw,  # pyright: ignore[reportArgumentType] -- as `python -u` does
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


_standard: list[Unblocked] = []
"""This process's standard output and error, once they are set up."""


def set_up() -> None:
    """Replaces this process's standard output and error, for what it forks too."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file that is opened would get the log's lines
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    _standard.extend((Unblocked(1), Unblocked(2)))
    out, error = _standard
    sys.stdout = sys.__stdout__ = _stream(out)
    sys.stderr = sys.__stderr__ = _stream(error)
    faulthandler.enable(error.descriptor)


def divert(pipe: int) -> io.TextIOWrapper:
    """Has standard output and error go into a pipe: this process's and of programs it starts.

    Args:
        pipe: Where it is written. Under `/proc`, it is opened again, so as not to block.

    Returns:
        A stream to where standard output went before.
    """
    before = _stream(Unblocked(os.dup(1)))
    unblocked = _own_description(pipe)
    for raw in _standard:
        # The descriptors stay the same: a handler of an application's may hold the stream.
        os.dup2(unblocked, raw.descriptor, inheritable=False)
        os.dup2(pipe, raw.fileno())
    return before
