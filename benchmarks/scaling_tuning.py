"""Which settings suit each of the other policies best: what `tuned` means in benchmarks.scaling.

    python -m benchmarks.scaling_tuning [--seeds N]

Of a grid of each policy's own settings, with the limit of workers raised to what all are allowed,
the one with the least geometric mean of p95 wait times billed seconds over the loads
on which constants are chosen (benchmarks/cases.py). A load that
is never drained counts as a wait of a day.
"""

from __future__ import annotations

import argparse
import math
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from benchmarks.cases import CHOSEN
from benchmarks.peers import (
    BacklogPerTask,
    BuildkiteScaler,
    KedaScaledJob,
    PostLoop,
    SampleAlarms,
)
from benchmarks.scaling import WIDTH, WORKERS, simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from launcher.policy import Limits
    from simulate.scalers import Scaler

SEEDS: Final = 3
NEVER_SECONDS: Final = 86_400
SHOWN: Final = 3

Entry = tuple[str, str, "Callable[[Limits], Scaler]"]


def grid() -> Iterator[Entry]:
    """Every policy with every setting that is tried."""
    for low, high, workers in product((1, 5), (10, 50), (10, 50, 100, 200)):
        yield (
            "sample-alarms",
            f"low={low}, high={high}, high_workers={workers}",
            lambda _, low=low, high=high, workers=workers: SampleAlarms(
                low=low, high=high, high_workers=workers
            ),
        )
    for many, workers, seconds in product((5, 10, 50), (5, 10, 20, 50), (30, 60)):
        yield (
            "post-loop",
            f"few=1, many={many}, many_workers={workers}, round_seconds={seconds}",
            lambda _, many=many, workers=workers, seconds=seconds: PostLoop(
                few=1, many=many, many_workers=workers, round_seconds=seconds
            ),
        )
    for length in (1, 2, 3, 4, 5, 8):
        yield (
            "keda-default",
            f"queue_length={length}",
            lambda _, length=length: KedaScaledJob(
                "default", queue_length=length, max_replicas=WORKERS
            ),
        )
        for in_flight in (True, False):
            yield (
                "keda-accurate",
                f"queue_length={length}, count_in_flight={in_flight}",
                lambda _, length=length, in_flight=in_flight: KedaScaledJob(
                    "accurate",
                    queue_length=length,
                    max_replicas=WORKERS,
                    count_in_flight=in_flight,
                ),
            )
    for seconds in (60, 120, 300, 600):
        yield (
            "backlog-per-task",
            f"acceptable_seconds={seconds}",
            lambda limits, seconds=seconds: BacklogPerTask(
                acceptable_seconds=seconds,
                task_seconds=limits.task_seconds,
                max_tasks=WORKERS,
                protect_busy=True,
            ),
        )
    for seconds in (10, 30, 60, 120, 300):
        yield (
            "buildkite",
            f"idle_seconds={seconds}",
            lambda _, seconds=seconds: BuildkiteScaler(max_size=WORKERS, idle_seconds=seconds),
        )


def merit(make: Callable[[Limits], Scaler], seeds: int) -> float:
    """The geometric mean, in worker-seconds times seconds; less is better."""
    logarithms: list[float] = []
    for case in CHOSEN.values():
        score = simulated(case, make, seeds)
        wait = min(NEVER_SECONDS, max(1.0, score.p95_seconds))
        logarithms.append(math.log(wait * max(1.0, score.billed_seconds)))
    return math.exp(fmean(logarithms))


def main() -> None:
    """Tries the grid and prints the best of each policy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="figures are means over so many")
    options = parser.parse_args()
    tried: dict[str, list[tuple[float, str]]] = {}
    for policy, setting, make in grid():
        tried.setdefault(policy, []).append((merit(make, options.seeds), setting))
    table = Table(title="the best of each grid")
    for heading in ("policy", "setting", "p95 wait x billed, geometric mean"):
        table.add_column(heading)
    for policy, found in tried.items():
        for figure, setting in sorted(found)[:SHOWN]:
            table.add_row(policy, setting, f"{figure:.3g}")
    Console(width=WIDTH).print(table)


if __name__ == "__main__":
    main()
