"""Counts what became of the tasks of a long run: pure, from their journal and a record of calls."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Run:
    """One run of a task.

    Attributes:
        at: When, in monotonic seconds.
        task_id: Of which task.
        pids: Of the process that ran it, and of its worker's main process.
    """

    at: float
    task_id: str
    pids: frozenset[int]

    @classmethod
    def of(cls, event: str, at: float) -> Run:
        """The run that a line of the journal tells."""
        task_id, *pids = event.split("/")
        return cls(at=at, task_id=task_id, pids=frozenset(map(int, pids)))


@dataclass(frozen=True)
class Deletion:
    """A message that was deleted; `at` in monotonic seconds."""

    at: float
    task_id: str


@dataclass(frozen=True)
class Kill:
    """A SIGKILL to a process of tasks, or to a worker and with it its own; `at` as above."""

    at: float
    pid: int


@dataclass(frozen=True)
class Tally:
    """Counts.

    Attributes:
        ids: Of the tasks that were sent.
        runs: Each begin of a task.
        deletions: Of their messages, as the server executed them.
        kills: All of them.
        dead: Messages in the dead-letter queue.
    """

    ids: frozenset[str]
    runs: Sequence[Run]
    deletions: Sequence[Deletion]
    kills: Sequence[Kill]
    dead: int

    @cached_property
    def _deleted_at(self) -> dict[str, float]:
        first: dict[str, float] = {}
        for each in self.deletions:
            first[each.task_id] = min(each.at, first.get(each.task_id, each.at))
        return first

    @cached_property
    def repeats(self) -> list[str]:
        """The task of each run but its first."""
        times = Counter(run.task_id for run in self.runs)
        return [task_id for task_id, count in times.items() for _ in range(count - 1)]

    @cached_property
    def at_risk(self) -> list[int]:
        """For each kill, how many tasks were executing or waiting for their deletion there."""
        return [len(self._cut(kill)) for kill in self.kills]

    def _cut(self, kill: Kill) -> set[str]:
        return {
            run.task_id
            for run in self._runs_in[kill.pid]
            if run.at <= kill.at and self._deleted_at.get(run.task_id, kill.at) >= kill.at
        }

    @cached_property
    def _runs_in(self) -> dict[int, list[Run]]:
        found: defaultdict[int, list[Run]] = defaultdict(list)
        for run in self.runs:
            for pid in run.pids:
                found[pid].append(run)
        return found

    @property
    def checks(self) -> dict[str, tuple[int, int]]:
        """Counts of what is promised, each with what it must be."""
        ran = {run.task_id for run in self.runs}
        deleted = self._deleted_at.keys()
        cut = Counter(task_id for kill in self.kills for task_id in self._cut(kill))
        unexplained = Counter(self.repeats) - cut
        return {
            "tasks": (len(self.ids), len(self.ids)),
            "done and deleted": (len(self.ids & ran & deleted), len(self.ids)),
            "never done": (len(self.ids - ran), 0),
            "deleted without a run": (len(deleted - ran), 0),
            "in the dead-letter queue": (self.dead, 0),
            "repeats of what no kill has cut": (unexplained.total(), 0),
        }
