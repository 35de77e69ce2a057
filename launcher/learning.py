"""The mean of measured tasks, of which the newest count most. No I/O."""

from __future__ import annotations

from typing import Final

PERIOD_SECONDS: Final = 60 * 60
SPAN_SECONDS: Final = 14 * 24 * 60 * 60
"""So far back measured tasks are looked for. CloudWatch keeps hours for 15 months:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html"""
HALF_LIFE_SECONDS: Final = 6 * 60 * 60
"""A task that ended so much earlier counts half."""
TASKS_MIN: Final = 5
"""Fewer tasks say nothing: the prior is better."""

Points = dict[float, float]
"""A metric: seconds since 1970 -> value."""


def mean(means: Points, tasks: Points, now: float) -> float | None:
    """Returns the mean time of measured tasks: the work that one message stands for.

    Args:
        means: Of each hour.
        tasks: How many tasks each hour measured.
        now: Seconds since 1970.

    Returns:
        The mean of all hours' tasks, of which the newest count most; what is old counts fully
        where nothing newer is known. None when there were too few.
    """
    known = means.keys() & tasks.keys()
    if sum(tasks[moment] for moment in known) < TASKS_MIN:
        return None
    weights = {
        moment: tasks[moment] * 0.5 ** ((now - moment) / HALF_LIFE_SECONDS) for moment in known
    }
    return sum(means[moment] * weight for moment, weight in weights.items()) / sum(weights.values())
