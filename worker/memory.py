"""Whether the kernel killed a process because the container's memory was used up.

The counters are those of control groups, version 2
(https://docs.kernel.org/admin-guide/cgroup-v2.html, `memory.events`) and version 1
(https://docs.kernel.org/admin-guide/cgroup-v1/memory.html, `memory.oom_control`).
"""

from __future__ import annotations

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
    """Tells a kill for memory from others, by the counter since it was asked last."""

    def __init__(self, memory_mib: int, cgroup: Path = CGROUP) -> None:
        """Begins to count.

        Args:
            memory_mib: What the container has.
            cgroup: Where the control groups are mounted.
        """
        self._memory_mib = memory_mib
        self._cgroup = cgroup
        self._seen = oom_kills(cgroup)

    def explained(self, error: BaseException) -> BaseException:
        """Returns why a process was lost: the error, or that its memory was used up."""
        before, self._seen = self._seen, oom_kills(self._cgroup)
        if self._seen == before:
            return error
        return TaskMemoryError(
            f"killed for memory: memory_mib is {self._memory_mib}; give the deployment more: "
            "resources.memory_mib"
        )
