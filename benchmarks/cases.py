"""The loads of the bench: a half on which constants are chosen, and a half on which none is.

Ours and the peers' alike: `benchmarks.scaling_tuning` tries settings on the first half only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulate import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from simulate.loads import Load

HOURS: Final = 24
PER_HOUR: Final = (*[12] * 8, 300, *[600] * 3, 300, *[600] * 4, 300, *[12] * 6)
"""The messages of a weekday, from midnight on."""
BIMODAL: Final = {2.0: 90.0, 1200.0: 10.0}
"""Seconds -> of a hundred tasks; the mean is 121.8 s."""
THREE_KINDS: Final = {1.0: 60.0, 60.0: 35.0, 3600.0: 5.0}
"""The mean is 201.6 s."""


@dataclass(frozen=True)
class Case:
    """A load by name, and what its tasks take on average: all policies' prior."""

    title: str
    task_seconds: float
    make: Callable[[Random], Load]


CHOSEN: Final[Mapping[str, Case]] = {
    "1": Case("1 message, 60 s", 60, lambda _: loads.at_once(1, loads.durations(60))),
    "4": Case("4 messages, 60 s", 60, lambda _: loads.at_once(4, loads.durations(60))),
    "1000": Case("1 000 at once, 60 s", 60, lambda _: loads.at_once(1000, loads.durations(60))),
    "100000": Case("100 000 at once, 5 s", 5, lambda _: loads.at_once(100_000, loads.durations(5))),
    "light": Case(
        "Poisson, 12 an hour, 60 s, a day",
        60,
        lambda rng: loads.poisson(12, 24, loads.durations(60, 0.5, rng), rng=rng),
    ),
    "heavy": Case(
        "Poisson, one a second, 60 s, 4 hours",
        60,
        lambda rng: loads.poisson(3600, 4, loads.durations(60, 0.5, rng), rng=rng),
    ),
    "tide": Case(
        "daily tide up to 600 an hour, 120 s",
        120,
        lambda rng: loads.tide(600, 24, loads.durations(120, 0.5, rng), rng=rng),
    ),
    "bursts": Case(
        "300 each 3 hours on 6 an hour, 60 s, 12 hours",
        60,
        lambda rng: loads.bursts(
            6, 300, every_hours=3, hours=12, draw=loads.durations(60, 0.5, rng), rng=rng
        ),
    ),
    "tail": Case(
        "Poisson, 300 an hour, heavy-tailed, mean 120 s, 8 hours",
        120,
        lambda rng: loads.poisson(300, 8, loads.durations(120, 1.5, rng), rng=rng),
    ),
    "long": Case(
        "Poisson, 10 an hour, 30 min, 24 hours",
        1800,
        lambda rng: loads.poisson(10, 24, loads.durations(1800, 0.5, rng), rng=rng),
    ),
}


def _weekday(rng: Random) -> Load:
    """The rate changes by the hour: nights, a rise, a dip at noon, an end at six."""

    def rate(seconds: float) -> float:
        return PER_HOUR[int(seconds // 3600)]

    draw = loads.durations(60, 0.5, rng)
    return loads.varying(rate, max(PER_HOUR), hours=HOURS, draw=draw, rng=rng, name="weekday")


def _each_three_hours(_: Random) -> Load:
    arrivals = [3.0 * 3600 * n for n in range(HOURS // 3) for _ in range(3)]
    return loads.Load("3 each 3 hours", arrivals, [3600.0] * len(arrivals))


REPORTED: Final[Mapping[str, Case]] = {
    "weekday": Case("a weekday, up to 600 an hour, 60 s", 60, _weekday),
    "bimodal": Case(
        "Poisson, 60 an hour, nine of 2 s and one of 20 min, 24 hours",
        121.8,
        lambda rng: loads.poisson(60, HOURS, loads.mixed(BIMODAL, rng), rng=rng),
    ),
    "bimodal-500": Case(
        "500 at once, nine of 2 s and one of 20 min",
        121.8,
        lambda rng: loads.at_once(500, loads.mixed(BIMODAL, rng)),
    ),
    "trickle": Case(
        "one each 4 min, 60 s, 24 hours",
        60,
        lambda _: loads.spread_evenly(240, HOURS, loads.durations(60)),
    ),
    "flash": Case("5 000 at once, 20 s", 20, lambda _: loads.at_once(5000, loads.durations(20))),
    "tree": Case(
        "one, and each sends two for nine generations, 60 s",
        60,
        lambda rng: loads.tree(2, 9, loads.durations(60, 0.5, rng)),
    ),
    "kinds": Case(
        "Poisson, 60 an hour, of 1 s, 60 s and an hour, 24 hours",
        201.6,
        lambda rng: loads.poisson(60, HOURS, loads.mixed(THREE_KINDS, rng), rng=rng),
    ),
    "thought-short": Case(
        "40 at once, 20 min, thought to take 60 s",
        60,
        lambda _: loads.at_once(40, loads.durations(1200)),
    ),
    "thought-long": Case(
        "300 at once, 3 s, thought to take 60 s",
        60,
        lambda _: loads.at_once(300, loads.durations(3)),
    ),
    "hours": Case("3 each 3 hours, an hour, 24 hours", 3600, _each_three_hours),
}

CASES: Final[Mapping[str, Case]] = {**CHOSEN, **REPORTED}
