"""Names the task in each line that it, or a program that it starts, prints.

Each process that runs tasks has a pipe for standard output and standard error, which its programs
inherit. The worker reads it, so that nothing is lost when that process is killed, and writes each
line to the log. Where a task begins, its process writes a mark into its pipe: a line is named by
the mark before it, however late it is read.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import threading
from typing import TYPE_CHECKING, Any, Final

from celery import signals

from worker import logs, output

if TYPE_CHECKING:
    from collections.abc import Mapping

ATTEMPT_HEADER: Final = "taskpacks_attempt"
"""The message's header that tells the task's process which attempt it is, from 1."""
MARK: Final = f"\x1e{secrets.token_hex(8)}".encode()
"""Begins a mark; no program prints it by chance."""
READ_BYTES: Final = 65536
LINE_BYTES_MAX: Final = 65536
"""A longer line is cut in pieces."""
DRAIN_SECONDS: Final = 1.0
"""At the worker's end, for what is left to be read."""


class TaskOutput:
    """Reads the pipe in a thread, from `start` to `stop`."""

    def __init__(self) -> None:
        self._reads, self._writes = os.pipe()
        self._fields: Mapping[str, Any] = {}
        self._thread = threading.Thread(target=self._read, name="output", daemon=True)

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    def enter(self) -> None:
        """Has the process that runs tasks write into the pipe, from before the first one."""
        logs.write_to(output.divert(self._writes))
        os.close(self._reads)
        signals.task_prerun.connect(self._begin, weak=False)
        signals.task_postrun.connect(self._end, weak=False)

    def stop(self) -> None:
        """Waits until what is in the pipe has been read."""
        # A mark, and not the pipe's end, because a program that lives on may hold that open.
        reads = self._thread.is_alive()
        if reads and select.select((), (self._writes,), (), DRAIN_SECONDS)[1]:
            self._mark(None)
            self._thread.join(DRAIN_SECONDS)

    def leave(self) -> None:
        """Closes the pipe, in a process that has another one."""
        os.close(self._reads)
        os.close(self._writes)

    def _begin(self, task: Any, task_id: str, **_: Any) -> None:
        if not task.request.is_eager:  # a task that a task calls is a part of it
            attempt = task.request.get(ATTEMPT_HEADER, 1)
            fields = {"task_id": task_id, "task_name": task.name, "attempt": attempt}
            logs.name_lines(fields)
            self._mark(fields)

    def _end(self, task: Any, **_: Any) -> None:
        # No mark: it would cost each task a switch to the thread that reads.
        if not task.request.is_eager:
            logs.name_lines({})

    def _mark(self, fields: Mapping[str, Any] | None) -> None:
        os.write(self._writes, MARK + json.dumps(fields).encode() + b"\n")

    def _read(self) -> None:
        rest = b""
        while True:
            *lines, rest = (rest + os.read(self._reads, READ_BYTES)).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                lines.append(rest)
                rest = b""
            for line in lines:
                text, mark, fields = line.partition(MARK)
                if text or not mark:
                    logs.write(text.decode(errors="backslashreplace"), self._fields)
                if mark:
                    found = _fields(fields)
                    if found is None:
                        return
                    self._fields = found


def _fields(mark: bytes) -> dict[str, Any] | None:
    """The fields that a mark gives the following lines; None for the end."""
    return json.loads(mark)
