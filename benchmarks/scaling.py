"""How the launcher's policy does beside others, under simulated loads.

    python -m benchmarks.scaling [--seeds N] [--loads NAME …]

Each policy starts workers in the same simulated cloud (`simulate/`), under the same loads, with
the same start latencies, drawn from the same seeds; figures are means over the seeds. The others
come from their own sources, with their own defaults and tuned (`benchmarks/policies.py`).

"better on both" is strict: less p95 wait and fewer billed seconds, each by more than 0.1 %, which
is less than the seeds' own scatter. `ideal` is what the clairvoyant bills (`simulate/bound.py`);
a slower policy may bill less.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from benchmarks.cases import CASES, CHOSEN, Case
from benchmarks.policies import OURS, POLICIES
from simulate.bound import clairvoyant
from simulate.scalers import percentile
from simulate.setting import Setting
from simulate.world import World
from stack.documents import launcher_settings
from taskpacks.types import PackSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from launcher.records import Limits
    from simulate.scalers import Scaler
    from simulate.setting import Figures

WORKERS: Final = 200
SEEDS: Final = 5
WIDTH: Final = 140
MATERIAL: Final = 0.999
"""Better by less than a thousandth is not better."""
BOUND: Final = "clairvoyant"
MATCHED: Final = "keda-matched"
"""Ours with another clock: shown, and judged apart."""

WAIT_GOAL: Final = 1.25
WAIT_GOAL_SECONDS: Final = 60
"""More than so many times the clairvoyant's, because nobody hears of a message at once."""
BILLED_GOAL: Final = 1.05
SURPLUS_GOAL: Final = 0.02


@dataclass(frozen=True)
class Score:
    """A policy under a load: means over the seeds."""

    drained_seconds: float
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    billed_seconds: float
    started: float
    surplus: float
    late: float
    api_calls: float
    never: float

    def beats(self, other: Score) -> bool:
        """Whether it is better on both wait and bill."""
        return (
            self.p95_seconds < other.p95_seconds * MATERIAL
            and self.billed_seconds < other.billed_seconds * MATERIAL
        )


def score(runs: Sequence[Figures], limits: Limits) -> Score:
    """The means."""

    def mean(of: Callable[[Figures], float]) -> float:
        return fmean(of(each) for each in runs)

    return Score(
        drained_seconds=mean(lambda f: f.drained_seconds),
        p50_seconds=mean(lambda f: percentile(f.waits, 0.5)),
        p95_seconds=mean(lambda f: percentile(f.waits, 0.95)),
        p99_seconds=mean(lambda f: percentile(f.waits, 0.99)),
        billed_seconds=mean(lambda f: f.billed_seconds),
        started=mean(lambda f: f.started),
        surplus=mean(lambda f: f.surplus),
        late=mean(lambda f: sum(wait > limits.start_within_seconds for wait in f.waits)),
        api_calls=mean(lambda f: f.api_calls),
        never=mean(lambda f: f.never),
    )


def limits_of(case: Case) -> Limits:
    """Returns the limits that all policies get."""
    return replace(
        launcher_settings.limits_of(PackSpec()),
        max_workers=WORKERS,
        max_vcpus=WORKERS,
        task_seconds=case.task_seconds,
        vcpu_hours_per_day=math.inf,
    )


def simulated(case: Case, make: Callable[[Limits], Scaler], seeds: int) -> Score:
    """One policy under one load."""
    limits = limits_of(case)
    runs: list[Figures] = []
    for seed in range(seeds):
        world = World(case.make(Random(seed)), Setting(capacity=WORKERS, seed=seed))  # noqa: S311 -- a simulation's
        make(limits).attach(world)
        runs.append(world.run())
    return score(runs, limits)


def compared(case: Case, seeds: int) -> dict[str, Score]:
    """All policies under one load, the bound first."""
    bounds = [
        clairvoyant(case.make(Random(seed)), Setting(capacity=WORKERS, seed=seed))  # noqa: S311 -- a simulation's
        for seed in range(seeds)
    ]
    scores = {BOUND: score(bounds, limits_of(case))}
    for name, policy in POLICIES.items():
        scores[name] = simulated(case, policy.default, seeds)
        if policy.tuned:
            scores[f"{name}, tuned"] = simulated(case, policy.tuned, seeds)
    return scores


def table(case: Case, scores: Mapping[str, Score]) -> Table:
    """The figures of one load."""
    made = Table(title=case.title, title_justify="left")
    made.add_column("policy", no_wrap=True)
    for heading in (
        "drained s",
        "p50 wait",
        "p95",
        "p99",
        "billed h",
        "/ ideal",
        "started",
        "surplus",
        "late",
        "API calls",
    ):
        made.add_column(heading, justify="right", no_wrap=True)
    ideal = scores[BOUND].billed_seconds
    for name, each in scores.items():
        made.add_row(
            name,
            "never" if each.never else f"{each.drained_seconds:.0f}",
            *(
                f"{seconds:.0f}" if seconds < math.inf else "never"
                for seconds in (each.p50_seconds, each.p95_seconds, each.p99_seconds)
            ),
            f"{each.billed_seconds / 3600:.2f}",
            f"{each.billed_seconds / ideal:.2f}",
            f"{each.started:.1f}",
            f"{each.surplus:.1f}",
            f"{each.late:.0f}",
            f"{each.api_calls:.0f}" if each.api_calls else "-",
            style="bold" if name == OURS else None,
        )
    return made


@dataclass(frozen=True)
class Goal:
    """A goal under one load, with the figure and whether it is met."""

    text: str
    figure: str
    met: bool


def goals(scores: Mapping[str, Score]) -> list[Goal]:
    """Returns the goals under one load."""
    ours, bound = scores[OURS], scores[BOUND]
    wait = WAIT_GOAL * bound.p95_seconds + WAIT_GOAL_SECONDS
    billed = ours.billed_seconds / bound.billed_seconds
    share = ours.surplus / ours.started

    def better(names: Iterable[str]) -> list[str]:
        return [name for name in names if scores[name].beats(ours)]

    peers = [name for name in scores if name not in (BOUND, OURS)]
    defaults = better(name for name in peers if name in POLICIES and name != MATCHED)
    others = better(name for name in peers if name not in POLICIES or name == MATCHED)
    return [
        Goal(
            "p95 s / goal",
            f"{ours.p95_seconds:.0f} / {wait:.0f}",
            ours.p95_seconds <= wait,
        ),
        Goal("billed / ideal", f"{billed:.2f}", billed <= BILLED_GOAL),
        Goal("surplus", f"{share:.1%}", share <= SURPLUS_GOAL),
        Goal("better with defaults", ", ".join(defaults) or "none", not defaults),
        Goal("better when tuned", ", ".join(others) or "none", not others),
    ]


def verdicts(results: Mapping[str, Mapping[str, Score]]) -> Table:
    """Returns the goals of all loads, a row each; an exclamation mark says that one is missed."""
    made = Table(title="goals (! missed)", title_justify="left")
    made.add_column("load")
    rows = {load: goals(scores) for load, scores in results.items()}
    for goal in next(iter(rows.values())):
        made.add_column(goal.text)
    for load, found in rows.items():
        cells = [goal.figure if goal.met else f"{goal.figure} !" for goal in found]
        made.add_row(load, *cells, end_section=load == list(CHOSEN)[-1])
    return made


def main() -> None:
    """Runs the bench and prints it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="figures are means over so many")
    parser.add_argument("--loads", nargs="+", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    console = Console(width=WIDTH)
    began = time.monotonic()
    results: dict[str, dict[str, Score]] = {}
    for name in options.loads:
        results[name] = compared(CASES[name], options.seeds)
        console.print(table(CASES[name], results[name]))
    console.print(verdicts(results))
    console.print(
        f"{options.seeds} seeds, {WORKERS} workers allowed, {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
