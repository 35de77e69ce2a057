"""Describes a simulated cloud, and the figures that a run in it counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The world apart from the load.

    Attributes:
        capacity: How many workers the machines hold at once; further jobs wait.
        processes: How many tasks a worker runs at a time; they do not slow each other down.
        startup_seconds: The median time from a job's placement to its worker's first receive.
        startup_spread: The standard deviation of its logarithm (log-normal).
        idle_seconds: How long a worker that finds nothing stays.
        lease_seconds: After how long the message of a worker that vanished is visible again.
        spot_per_hour: How often a worker is taken away, per hour that it runs. Batch starts the
            job again.
        count_lag_seconds: the greatest age of SQS's counts.
        metric_delay_seconds: From a minute's sample of SQS to the alarm that sees it.
        seed: All randomness comes from it.
    """

    capacity: int = 100
    processes: int = 1
    startup_seconds: float = 120
    startup_spread: float = 0.25
    idle_seconds: float = 30
    lease_seconds: float = 90
    spot_per_hour: float = 0
    count_lag_seconds: float = 10
    metric_delay_seconds: float = 60
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """The counts at one moment: for plots."""

    time: float
    visible: int
    in_flight: int
    starting: int
    running: int
    billed_seconds: float


@dataclass
class Figures:
    """The figures that a run counts."""

    waits: list[float] = field(default_factory=list)
    """From arrival to the first start of each message's task."""
    never: int = 0
    """Messages whose task was not finished."""
    drained_seconds: float = math.inf
    """From the last arrival to the last task's end."""
    billed_seconds: float = 0
    started: int = 0
    surplus: int = 0
    """Workers that never got a task."""
    cancelled: int = 0
    """Jobs of those started that were cancelled before they had a machine."""
    taken: int = 0
    """Workers that Spot took away."""
    api_calls: int = 0
    decisions: int = 0
    timeline: list[Sample] = field(default_factory=list)
