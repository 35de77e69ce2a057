"""Loads: when messages come, and how long the task of each takes. Deterministic by seed."""

from __future__ import annotations

import csv
import math
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from taskpacks.errors import TaskpacksError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from random import Random

TRACE_COLUMNS: Final = ("time", "task_seconds")
DAY_SECONDS: Final = 86_400


class TraceError(TaskpacksError):
    """A recorded trace that cannot be read as one."""


@dataclass(frozen=True)
class Load:
    """Messages, in the order in which they come.

    Attributes:
        name: For tables and plots.
        arrivals: When each comes, in seconds, ascending; infinity for those that tasks send.
        task_seconds: What the task of each takes.
        sends: The messages that a message's task sends when it is done.
    """

    name: str
    arrivals: list[float]
    task_seconds: list[float]
    sends: Mapping[int, range] = field(default_factory=dict[int, range])

    def __post_init__(self) -> None:
        """Holds the two lists together: the event loop relies on it."""
        if len(self.arrivals) != len(self.task_seconds):
            raise ValueError(
                f"{self.name}: {len(self.arrivals)} arrivals and {len(self.task_seconds)} "
                "durations; each message needs both"
            )
        if any(later < earlier for earlier, later in pairwise(self.arrivals)):
            raise ValueError(f"{self.name}: arrivals are not ascending; sort them")

    @property
    def comes_by_itself(self) -> int:
        """How many messages come whatever tasks do: the first ones."""
        return bisect_left(self.arrivals, math.inf)

    @property
    def work_seconds(self) -> float:
        """Returns the time of all tasks together."""
        return math.fsum(self.task_seconds)


def durations(
    mean_seconds: float, spread: float = 0, rng: Random | None = None
) -> Callable[[], float]:
    """Draws task times: log-normal, with the given mean whatever the spread.

    Args:
        mean_seconds: The mean.
        spread: The standard deviation of the logarithm; 0 gives every task the mean, 1.5 a heavy
            tail (the slowest hundredth takes over ten times the mean).
        rng: Where the draws come from; needed where spread is not 0.
    """
    if not spread or rng is None:
        return lambda: mean_seconds
    centre = math.log(mean_seconds) - spread * spread / 2
    return lambda: rng.lognormvariate(centre, spread)


def mixed(kinds: Mapping[float, float], rng: Random) -> Callable[[], float]:
    """Draws the time of one of several kinds of tasks: seconds -> how many of a hundred."""
    seconds, weights = list(kinds), list(kinds.values())
    return lambda: rng.choices(seconds, weights)[0]


def at_once(messages: int, draw: Callable[[], float], name: str = "at once") -> Load:
    """All messages come together."""
    return Load(name, [0.0] * messages, [draw() for _ in range(messages)])


def spread_evenly(
    every_seconds: float, hours: float, draw: Callable[[], float], name: str = "evenly"
) -> Load:
    """One message comes each so many seconds."""
    arrivals = [every_seconds * n for n in range(int(hours * 3600 / every_seconds))]
    return Load(name, arrivals, [draw() for _ in arrivals])


def tree(fan: int, generations: int, draw: Callable[[], float], name: str = "tree") -> Load:
    """One message, and each task sends so many more when it is done, for so many generations."""
    sizes = [fan**generation for generation in range(generations)]
    count = sum(sizes)
    sends = {n: range(n * fan + 1, n * fan + 1 + fan) for n in range(count - sizes[-1])}
    return Load(name, [0.0] + [math.inf] * (count - 1), [draw() for _ in range(count)], sends)


def poisson(
    per_hour: float, hours: float, draw: Callable[[], float], *, rng: Random, name: str = "Poisson"
) -> Load:
    """Messages come independently of each other, at a constant rate."""
    return varying(lambda _: per_hour, per_hour, hours=hours, draw=draw, rng=rng, name=name)


def tide(
    peak_per_hour: float,
    hours: float,
    draw: Callable[[], float],
    *,
    rng: Random,
    name: str = "tide",
) -> Load:
    """A day's tide: nothing at midnight, the peak at noon."""

    def rate(seconds: float) -> float:
        return peak_per_hour * (1 - math.cos(2 * math.pi * seconds / DAY_SECONDS)) / 2

    return varying(rate, peak_per_hour, hours=hours, draw=draw, rng=rng, name=name)


def varying(
    rate: Callable[[float], float],
    peak_per_hour: float,
    *,
    hours: float,
    draw: Callable[[], float],
    rng: Random,
    name: str,
) -> Load:
    """Messages come at a rate (per hour) that varies with the time and stays below its peak."""
    arrivals: list[float] = []
    now, end = 0.0, hours * 3600
    while peak_per_hour > 0:
        now += rng.expovariate(peak_per_hour / 3600)
        if now >= end:
            break
        if rng.random() * peak_per_hour < rate(now):
            arrivals.append(now)
    return Load(name, arrivals, [draw() for _ in arrivals])


def bursts(
    per_hour: float,
    burst_messages: int,
    *,
    every_hours: float,
    hours: float,
    draw: Callable[[], float],
    rng: Random,
    name: str = "bursts",
) -> Load:
    """A trickle, and on it many messages at once, again and again."""
    trickle = poisson(per_hour, hours, draw, rng=rng).arrivals
    times = [every_hours * 3600 * (k + 0.5) for k in range(int(hours / every_hours))]
    arrivals = sorted(trickle + [time for time in times for _ in range(burst_messages)])
    return Load(name, arrivals, [draw() for _ in arrivals])


def trace(path: Path) -> Load:
    """A recorded load: a CSV file with the columns `time,task_seconds`.

    Args:
        path: The file. `time` is in seconds from any zero; rows may stand in any order.

    Raises:
        TraceError: With the line, the value, the rule and the remedy.
    """
    rows: list[tuple[float, float]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [cell.strip() for cell in next(reader, [])]
            missing = [column for column in TRACE_COLUMNS if column not in header]
            if missing:
                raise TraceError(
                    f"{path}, line 1: the header is {','.join(header)!r}, which lacks "
                    f"{' and '.join(missing)}; a trace begins with the line "
                    f"{','.join(TRACE_COLUMNS)!r}"
                )
            places = [header.index(column) for column in TRACE_COLUMNS]
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    time, seconds = (
                        _number(path, reader.line_num, column, cells, place)
                        for column, place in zip(TRACE_COLUMNS, places, strict=True)
                    )
                    rows.append((time, seconds))
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}; name a CSV file that can be read") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: {error}; a trace is a CSV file in UTF-8") from error
    if not rows:
        raise TraceError(f"{path} has a header and no rows; a trace needs at least one message")
    rows.sort()
    first = rows[0][0]
    return Load(path.stem, [time - first for time, _ in rows], [seconds for _, seconds in rows])


def _number(path: Path, line: int, column: str, cells: list[str], place: int) -> float:
    text = cells[place].strip() if place < len(cells) else ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (column == "task_seconds" and value < 0):
        rule = "seconds, at least 0" if column == "task_seconds" else "seconds"
        raise TraceError(
            f"{path}, line {line}: {column} is {text!r}: it must be a number of {rule}; "
            "correct the line, or leave it out"
        )
    return value
