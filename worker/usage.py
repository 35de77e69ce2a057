"""Measures what a task used: processor time, memory, scratch.

The task's process measures at the task's begin and end, and writes into memory that it shares
with the worker's main process, which reads when the task has ended: no message more. The main
process (`worker/slots.py`) also looks once a second at the process and at the programs that it
started; so something is known of a task whose process was killed, too.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from celery import signals

from taskpacks.contract import WorkerContext
from worker.shutdown import descendants

if TYPE_CHECKING:
    from collections.abc import Generator

    from worker.slots import Slots

SAMPLE_SECONDS: Final = 1.0
RECORDS: Final = 16
"""More than there are tasks that have ended and are not reported: at most ten are taken ahead."""
ENTRIES_MAX: Final = 10_000
"""Files of a folder that are counted: a task that writes more has used at least that."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class TaskUsage:
    """The resources that one attempt used; None where it was not measured.

    Attributes:
        cpu_seconds: Of its process and of the programs that it started.
        peak_memory_bytes: The most that its process had in memory at a time, the interpreter
            included, and the most of the programs that it started.
        scratch_bytes: The most that was seen in its scratch folder.
    """

    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    scratch_bytes: int | None = None


class _Record(ctypes.Structure):
    _fields_ = (
        ("key", ctypes.c_uint64),
        ("pid", ctypes.c_int64),
        ("has_ended", ctypes.c_int64),
        ("cpu_at_begin", ctypes.c_double),
        ("cpu_seconds", ctypes.c_double),
        ("peak_memory_bytes", ctypes.c_int64),
        ("scratch_bytes", ctypes.c_int64),
    )


class _Shared(ctypes.Structure):
    _fields_ = (("latest", ctypes.c_int64), ("records", _Record * RECORDS))


class UsageMeter:
    """Measures the tasks of one process. Make it before that process is forked.

    `take` and `sample` are called in the main process, the rest in the task's.
    """

    def __init__(self, scratch_root: Path) -> None:
        """Prepares it.

        Args:
            scratch_root: The folder that has the scratch folders of tasks.
        """
        self._shared: Any = _Shared.from_buffer(mmap.mmap(-1, ctypes.sizeof(_Shared)))
        self._scratch_root = scratch_root
        self._children_peak = 0
        self._seen: dict[int, TaskUsage] = {}
        self._seeing = threading.Lock()

    def begin(self, task_id: str) -> None:
        """A task begins."""
        number = (self._shared.latest + 1) % RECORDS
        record = self._shared.records[number]
        record.key = 0
        _forget_peak()
        self._children_peak = _children_peak()
        record.pid = os.getpid()
        record.has_ended = 0
        record.scratch_bytes = 0
        record.cpu_at_begin = _cpu_seconds()
        record.key = _key(task_id)
        self._shared.latest = number

    def end(self) -> None:
        """The task ends."""
        record = self._shared.records[self._shared.latest]
        record.cpu_seconds = _cpu_seconds() - record.cpu_at_begin
        children = _children_peak()
        # The kernel keeps the largest of all programs so far: an earlier task's, if it is the same.
        grown = children if children > self._children_peak else 0
        record.peak_memory_bytes = _peak_of(resource.RUSAGE_SELF) + grown
        record.has_ended = 1

    def scratch(self, folder: Path) -> None:
        """A scratch folder of the running task is about to be removed."""
        self._shared.records[self._shared.latest].scratch_bytes += folder_bytes(folder)

    def take(self, task_id: str) -> TaskUsage:
        """Returns what the task used, once it has ended, and forgets it."""
        key = _key(task_id)
        record = next((each for each in self._shared.records if each.key == key), None)
        if record is None:
            return TaskUsage()
        if not record.has_ended:  # its process was killed, or will be
            self.sample()
        with self._seeing:
            seen = self._seen.pop(key, TaskUsage())
            record.key = 0
        if not record.has_ended:
            return seen
        return TaskUsage(
            cpu_seconds=record.cpu_seconds,
            peak_memory_bytes=max(record.peak_memory_bytes, seen.peak_memory_bytes or 0) or None,
            scratch_bytes=max(record.scratch_bytes, seen.scratch_bytes or 0),
        )

    def enter(self) -> None:
        """Begins to measure, in the process of tasks."""
        signals.task_prerun.connect(self._on_begin, weak=False)
        signals.task_postrun.connect(self._on_end, weak=False)

    def _on_begin(self, task_id: str, task: Any, **_: Any) -> None:
        if not task.request.is_eager:  # else it is a part of the task that calls it
            self.begin(task_id)

    def _on_end(self, task: Any, **_: Any) -> None:
        if not task.request.is_eager:
            self.end()

    def sample(self) -> None:
        """Looks at the running task once."""
        record = self._shared.records[self._shared.latest]
        key, pid, cpu_at_begin = record.key, record.pid, record.cpu_at_begin
        if not key or record.has_ended:
            return
        processes = [pid, *descendants(pid)]
        memory = sum(map(_peak_memory, processes))
        cpu_seconds = sum(map(_cpu_seconds_of, processes)) - cpu_at_begin
        scratch = folder_bytes(self._scratch_root)
        with self._seeing:
            if record.key != key or record.has_ended:  # another one's figures are among these
                return
            before = self._seen.get(key, TaskUsage())
            self._seen[key] = TaskUsage(
                cpu_seconds=max(cpu_seconds, before.cpu_seconds or 0),
                peak_memory_bytes=max(memory, before.peak_memory_bytes or 0) or None,
                scratch_bytes=max(scratch, before.scratch_bytes or 0),
            )


@dataclass(frozen=True, kw_only=True)
class MeasuredContext(WorkerContext):
    """A pack's context whose scratch folders are the process's own, and measured at their end."""

    slots: Slots

    @property
    def scratch_parent(self) -> Path:
        """See `WorkerContext`."""
        slot = self.slots.own
        return self.scratch_root if slot is None else slot.scratch_root

    @contextmanager
    def scratch_folder(self, needs_bytes: int = 0) -> Generator[Path]:
        """See `WorkerContext`."""
        with super().scratch_folder(needs_bytes) as folder:
            try:
                yield folder
            finally:
                if slot := self.slots.own:
                    slot.usage.scratch(folder)


def folder_bytes(folder: Path) -> int:
    """Returns the bytes on the disk of the files below a folder, at most `ENTRIES_MAX` of them."""
    total = entries = 0
    pending = [str(folder)]
    while pending and entries < ENTRIES_MAX:
        try:
            with os.scandir(pending.pop()) as found:
                for entry in found:
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # it was removed meanwhile, or may not be read
    return total


def _key(task_id: str) -> int:
    return int.from_bytes(blake2b(task_id.encode(), digest_size=8).digest(), "little") or 1


def _cpu_seconds() -> float:
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def _cpu_seconds_of(pid: int) -> float:
    """The same of another process; 0 when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # After the name, which may contain anything: utime, stime, cutime and cstime are 14 to 17.
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _children_peak() -> int:
    return _peak_of(resource.RUSAGE_CHILDREN)


def _peak_of(whose: int) -> int:
    """The most bytes in memory, as `_peak_memory` says, for a fraction of what it costs."""
    return resource.getrusage(whose).ru_maxrss * 1024


def _forget_peak() -> None:
    """Has the kernel count this process's peak of memory from now on, where it may.

    https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html
    """
    try:
        descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)
        try:
            os.write(descriptor, b"5")
        finally:
            os.close(descriptor)
    except OSError:
        return  # the peak is that of all tasks of this process so far


def _peak_memory(pid: int) -> int:
    """The most bytes that a process had in memory; 0 when that is not known."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = status.partition("VmHWM:")[2].split(maxsplit=1)
    return int(found[0]) * 1024 if found else 0
