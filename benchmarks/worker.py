"""How Taskpacks' worker does beside a plain Celery worker, on this machine.

    python -m benchmarks.worker [--turns N] [--long [--seed N]]

Both serve queues of one SQS server on loopback, taking turns; prints medians. Plain Celery is
first tried with several settings, and enters twice: with the fastest of all, and with the
fastest of those that promise what Taskpacks does, one message held and deleted after its task.
`--long` does something else: 10 000 tasks, three workers, faults and kills; see `long_run`.

kombu's asynchronous SQS path needs pycurl, which this project does not install:
`PYTHONPATH=FOLDER`, with pycurl in it, adds that path to what is tried.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import IDLE_SECONDS, Contender, Site, plain, taskpacks
from benchmarks.long_run import long_run
from benchmarks.measures import Stopped, Throughput, stopped, throughput
from benchmarks.sqs_server import running_server

if TYPE_CHECKING:
    from collections.abc import Iterable

TASKS: Final = 300
WINDOW_SECONDS: Final = 6
"""For one worker's throughput, when it is slow."""
TRIAL_TASKS: Final = 100
TRIAL_SECONDS: Final = 3
STOPPED_TASK_SECONDS: Final = 3
PATIENCE_SECONDS: Final = 6
"""How long a worker may stay after the task that was running at its SIGTERM."""

WIDTH: Final = 120
"""The width of the tables where there is no terminal."""

START_RATIO_GOAL: Final = 1.1
CALLS_GOAL: Final = 2.2
LEAVE_GOAL_SECONDS: Final = IDLE_SECONDS + 2
STOPPED_GOAL_SECONDS: Final = 1


def settings_to_try(*, blocking: bool) -> list[Contender]:
    """Plain Celery as it comes, and with what makes it faster.

    With an interval of 0 it spins while its task runs: no setting for long tasks.
    """
    path = "boto3" if blocking else "pycurl"
    quick = {"polling_interval": 0.1}
    quicker = {"polling_interval": 0.01, "wait_time_seconds": 1}
    eager = {"polling_interval": 0, "wait_time_seconds": 1}
    return [
        plain(f"{path}, as it comes", blocking=blocking),
        plain(f"{path}, interval 0.1, prefetch 10", blocking=blocking, options=quick, prefetch=10),
        plain(
            f"{path}, interval 0, wait 1, prefetch 10",
            blocking=blocking,
            options=eager,
            prefetch=10,
        ),
        plain(
            f"{path}, late, interval 0.1, prefetch 1",
            blocking=blocking,
            options=quick,
            late=True,
            prefetch=1,
        ),
        plain(
            f"{path}, late, interval 0.01, wait 1, prefetch 1",
            blocking=blocking,
            options=quicker,
            late=True,
            prefetch=1,
        ),
        plain(
            f"{path}, late, interval 0, wait 1, prefetch 1",
            blocking=blocking,
            options=eager,
            late=True,
            prefetch=1,
        ),
    ]


@dataclass
class Results:
    """The figures of one worker over all its turns."""

    contender: Contender
    served: list[Throughput] = field(default_factory=list)
    stopped: list[Stopped] = field(default_factory=list)

    def take_turn(self, site: Site) -> None:
        """Serves a queue, then another one until it is stopped."""
        self.served.append(throughput(site, self.contender, TASKS, WINDOW_SECONDS))
        self.stopped.append(stopped(site, self.contender, STOPPED_TASK_SECONDS, PATIENCE_SECONDS))

    @property
    def start_seconds(self) -> float:
        """From its process's start to its first task's."""
        return median(self.starts)

    @property
    def starts(self) -> list[float]:
        """Every start, in seconds."""
        return [each.start_seconds for each in (*self.served, *self.stopped)]

    @property
    def tasks_per_second(self) -> float:
        """Returns the median rate of no-op tasks."""
        return median(each.tasks_per_second for each in self.served)

    @property
    def calls_per_task(self) -> float:
        """Calls of SQS, heartbeats apart."""
        return median(each.calls_per_task for each in self.served)

    @property
    def memory_mib(self) -> float:
        """At rest."""
        return median(each.memory_mib for each in self.served)

    @property
    def leave_seconds(self) -> float | None:
        """None when it never leaves."""
        return _median_if_all(each.leave_seconds for each in self.served)

    @property
    def stopped_seconds(self) -> float | None:
        """None when it had to be killed."""
        return _median_if_all(each.leave_seconds for each in self.stopped)


def _median_if_all(seconds: Iterable[float | None]) -> float | None:
    known = list(seconds)
    all_known = [each for each in known if each is not None]
    return median(all_known) if len(all_known) == len(known) else None


def _row(
    what: str,
    figures: tuple[float | None, ...],
    goal: str,
    met: bool | None,
    *,
    instead: str = "",
    digits: int = 2,
) -> tuple[str, ...]:
    """One line of the table: ours first, then the others', and how ours compares to theirs."""
    ours = figures[0]
    shown = [instead if each is None else f"{each:.{digits}f}" for each in figures]
    ratios = [f"{ours / each:.2f}" if ours is not None and each else "-" for each in figures[1:]]
    verdict = "" if met is None else ("met" if met else "MISSED")
    return (what, *shown, " / ".join(ratios), goal, verdict)


def comparison(ours: Results, alike: Results, fastest: Results, turns: int) -> Table:
    """The table of medians."""
    table = Table(title=f"Taskpacks beside plain Celery: medians of {turns} turns")
    for heading in ("what", "taskpacks", "plain, alike", "plain, fastest", "ratios", "goal", ""):
        table.add_column(heading)
    all_of_them = (ours, alike, fastest)
    leave, stop = ours.leave_seconds, ours.stopped_seconds
    # Their settings make no difference before the first task: one median of both.
    plain_start = median((*alike.starts, *fastest.starts))
    rows = (
        _row(
            "process start to first task, s",
            tuple(each.start_seconds for each in all_of_them),
            f"ratio <= {START_RATIO_GOAL}",
            ours.start_seconds <= START_RATIO_GOAL * plain_start,
        ),
        _row(
            "no-op tasks/s",
            (ours.tasks_per_second, alike.tasks_per_second, None),
            ">= plain alike",
            ours.tasks_per_second >= alike.tasks_per_second,
            digits=1,
        ),
        _row(
            "no-op tasks/s",
            (ours.tasks_per_second, None, fastest.tasks_per_second),
            ">= plain fastest",
            ours.tasks_per_second >= fastest.tasks_per_second,
            digits=1,
        ),
        _row(
            "SQS calls per task, no heartbeats",
            tuple(each.calls_per_task for each in all_of_them),
            f"<= {CALLS_GOAL}",
            ours.calls_per_task <= CALLS_GOAL,
        ),
        _row(
            f"last task's end to exit, s (idle: {IDLE_SECONDS})",
            (leave, None, None),
            f"<= {LEAVE_GOAL_SECONDS}",
            leave is not None and leave <= LEAVE_GOAL_SECONDS,
            instead="never leaves",
        ),
        _row(
            "SIGTERM: task's end to exit, s",
            tuple(each.stopped_seconds for each in all_of_them),
            f"<= {STOPPED_GOAL_SECONDS}",
            stop is not None and stop <= STOPPED_GOAL_SECONDS,
            instead=f"> {PATIENCE_SECONDS}, killed",
        ),
        _row(
            "memory at rest, MiB (PSS)",
            tuple(each.memory_mib for each in all_of_them),
            "",
            None,
            digits=1,
        ),
    )
    for row in rows:
        table.add_row(*row)
    return table


def compare(site: Site, folder: Path, turns: int, console: Console) -> None:
    """Tries plain Celery's settings, then lets the best of them and Taskpacks take turns."""
    candidates = settings_to_try(blocking=True)
    if find_spec("pycurl"):
        candidates += settings_to_try(blocking=False)
    else:
        console.print(
            "pycurl is not installed: kombu's asynchronous SQS path, plain Celery's default, "
            "cannot start. Plain Celery takes the blocking path, on boto3, instead."
        )
    trials = Table(title=f"plain Celery's settings: one trial of {TRIAL_TASKS} no-op tasks")
    for heading in ("setting", "tasks/s", "SQS calls per task"):
        trials.add_column(heading)
    rates: dict[str, float] = {}
    for candidate in candidates:
        trial = throughput(site, candidate, TRIAL_TASKS, TRIAL_SECONDS)
        rates[candidate.name] = trial.tasks_per_second
        trials.add_row(
            candidate.name, f"{trial.tasks_per_second:.1f}", f"{trial.calls_per_task:.2f}"
        )
    console.print(trials)
    fastest = max(candidates, key=lambda each: rates[each.name])
    alike = max((each for each in candidates if each.is_late), key=lambda each: rates[each.name])
    ours, *theirs = results = [Results(each) for each in (taskpacks(folder), alike, fastest)]
    for _ in range(turns):
        for each in results:
            each.take_turn(site)
    console.print(f"plain, alike: {alike.name}\nplain, fastest: {fastest.name}")
    console.print(comparison(ours, theirs[0], theirs[1], turns))


def main() -> None:
    """Reads the arguments and prints what they ask for."""
    parser = argparse.ArgumentParser(description="Taskpacks' worker beside plain Celery's.")
    parser.add_argument("--turns", type=int, default=3, help="of each worker; 3 by default")
    parser.add_argument("--long", action="store_true", help="10 000 tasks, faults and kills")
    parser.add_argument("--seed", type=int, default=1, help="of the faults and kills")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with tempfile.TemporaryDirectory() as scratch, running_server() as server:
        folder = Path(scratch)
        site = Site(server, folder)
        os.environ.update(site.aws)
        if arguments.long:
            long_run(site, taskpacks(folder / "site"), console, arguments.seed)
        else:
            compare(site, folder / "site", max(1, arguments.turns), console)


if __name__ == "__main__":
    main()
