"""Alarms of the controller for people: that it halted, and that it failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from taskpacks import limits
from taskpacks.contract import METRICS_NAMESPACE, metric_dimensions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskpacks.types import Scaling

_FAILED_PERIOD_SECONDS: Final = 300
_HALTED_PERIOD_SECONDS: Final = 2 * limits.METRIC_PERIOD_SECONDS
"""A halt is written whenever the doorman wakes the controller, once a minute. The minute more is
for one that comes a little late: without it the alarm would go to OK and back, with a notice each
time."""


@dataclass(frozen=True, kw_only=True)
class ControllerAlarm:
    """Something that a person should know.

    Attributes:
        name: Of the alarm.
        namespace: Of its metric.
        metric: That is 1 or more when it happens, and missing when not.
        description: What it means and what to do; `{worker_log}` and `{machine}` stand for
            the workers' log group and the state machine's name.
        period_seconds: In which it is looked for.
        dimensions: Of the metric.
        of_machine: The metric has the state machine as its dimension.
    """

    name: str
    namespace: str
    metric: str
    description: str
    period_seconds: int
    dimensions: Mapping[str, str] = field(default_factory=dict[str, str])
    of_machine: bool = False


def controller_alarms(
    stack: str, deployment: str, pack: str, scaling: Scaling
) -> tuple[ControllerAlarm, ...]:
    """The alarms of one deployment: halted by its breaker or its cap; an execution failed."""
    who = f"{deployment} (pack {pack})"

    def halted(by: str, description: str) -> ControllerAlarm:
        return ControllerAlarm(
            name=f"halted-by-{by}",
            namespace=METRICS_NAMESPACE,
            metric="Halted",
            dimensions={**metric_dimensions(stack, deployment), "HaltedBy": by},
            period_seconds=_HALTED_PERIOD_SECONDS,
            description=description,
        )

    def failed(metric: str, what: str) -> ControllerAlarm:
        return ControllerAlarm(
            name=metric.removeprefix("Executions").lower().replace("timedout", "timed-out"),
            namespace="AWS/States",
            metric=metric,
            of_machine=True,
            period_seconds=_FAILED_PERIOD_SECONDS,
            description=f"{who}: {what}, and workers may be missing; while messages wait, the "
            "doorman starts a new execution each minute. The failed one says why: state machine "
            "{machine}",
        )

    return (
        halted(
            "breaker",
            f"{who}: {scaling.breaker_failures} workers that started one after the other "
            "failed: no more are started. Read their log ({worker_log}) and fix what ends them; "
            f"{scaling.breaker_cooldown_seconds} s after the last failure one worker tries again",
        ),
        halted(
            "cap",
            f"{who}: its workers used {scaling.vcpu_hours_per_day:g} vCPU-hours in a day "
            "(scaling.vcpu_hours_per_day): no more are started. Look whether the work is wanted; "
            "raise the cap, or wait until the last day's use falls below it",
        ),
        failed("ExecutionsFailed", "the controller could not do its work"),
        failed("ExecutionsTimedOut", "the controller was stuck"),
    )
