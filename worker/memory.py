"""Whether the kernel killed a process because the container's memory was used up.

The counters are those of control groups, version 2
(https://docs.kernel.org/admin-guide/cgroup-v2.html, `memory.events`) and version 1
(https://docs.kernel.org/admin-guide/cgroup-v1/memory.html, `memory.oom_control`).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from taskpacks.errors import TaskpacksError

CGROUP: Final = Path("/sys/fs/cgroup")
COUNTERS: Final = ("memory.events", "memory/memory.oom_control")


def oom_kills(cgroup: Path = CGROUP) -> int:
    """How many processes of the container were killed for memory; 0 where nothing counts them.

    Args:
        cgroup: Where the control groups are mounted.
    """
    for name in COUNTERS:
        try:
            lines = (cgroup / name).read_text().splitlines()
        except OSError:
            continue  # another version, or the machine's root group, which counts nothing
        counts = dict(line.split(maxsplit=1) for line in lines)
        return int(counts.get("oom_kill", 0))
    return 0


class TaskMemoryError(TaskpacksError):
    """A task asked for more memory than there is."""


class OomWatch:
    """Tells a kill for memory from others, by the counter since the task began; in all threads.

    The counter is the container's, and says not whom the kernel killed. So each kill explains one
    lost process; where a program of one task was killed while the process of another was lost for
    another reason, that loss is called a kill for memory.
    """

    def __init__(self, memory_mib: int, processes: int = 1, cgroup: Path = CGROUP) -> None:
        """Begins to count.

        Args:
            memory_mib: What the container has.
            processes: How many tasks share it.
            cgroup: Where the control groups are mounted.
        """
        self._memory_mib = memory_mib
        self._processes = processes
        self._cgroup = cgroup
        self._explained = self.kills
        self._lock = threading.Lock()

    @property
    def kills(self) -> int:
        """How many processes were killed so far, for `explained`."""
        return oom_kills(self._cgroup)

    def explained(self, error: BaseException, *, since: int) -> BaseException:
        """Returns why a process was lost: the error, or that its memory was used up.

        Args:
            error: How it was lost.
            since: The `kills` when its task began.
        """
        with self._lock:
            before = max(since, self._explained)
            if self.kills <= before:
                return error
            self._explained = before + 1
        shared = f", which {self._processes} tasks share" if self._processes > 1 else ""
        fewer = ", or fewer resources.processes" if self._processes > 1 else ""
        return TaskMemoryError(
            f"killed for memory: memory_mib is {self._memory_mib}{shared}; give the deployment "
            f"more: resources.memory_mib{fewer}"
        )
