"""How CloudWatch decides an alarm's state, as a pure function.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]

STATISTICS: Final = frozenset({"Maximum", "Minimum", "Average", "Sum", "SampleCount"})
EXTRA_PERIODS: Final = 2
"""The evaluation range is this many periods longer than the evaluation periods."""
_SUM: Final = re.compile(r"SUM\(\[(?P<ids>\w+(?:, ?\w+)*)\]\)")
_GATED: Final = re.compile(r"IF\((?P<gate>\w+) > 0, (?P<value>\w+), 0\)")
_OPERATORS: Final[dict[str, tuple[Callable[[float, float], bool], str, str]]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to", "≥"),
    "GreaterThanThreshold": (operator.gt, "greater than", ">"),
    "LessThanThreshold": (operator.lt, "less than", "<"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to", "≤"),
}


class UnknownAlarmError(Exception):
    """An alarm that this cloud does not evaluate."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """The fields of an alarm that its state depends on."""

    name: str
    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    period_seconds: int
    evaluation_periods: int
    datapoints_to_alarm: int
    threshold: float
    comparison: str
    treat_missing_data: str = "missing"
    gate_metric: str | None = None
    """A metric of the same namespace and dimensions: where it is not above zero, the value is 0."""
    added_dimensions: tuple[tuple[tuple[str, str], ...], ...] = ()
    """The same metric with other dimensions: their values are added."""

    @property
    def range_periods(self) -> int:
        """How many periods are looked at."""
        return self.evaluation_periods + EXTRA_PERIODS

    def breaches(self, value: float) -> bool:
        """Whether one data point is on the wrong side of the threshold."""
        return _OPERATORS[self.comparison][0](value, self.threshold)


@dataclass(frozen=True)
class Verdict:
    """An alarm's state, and why."""

    state: State
    reason: str
    short: str
    """The same in a few signs, for one line."""


def alarm_of(description: Mapping[str, Any]) -> Alarm:
    """Reads an alarm as DescribeAlarms shows it.

    Raises:
        UnknownAlarmError: It is one of metric math, of a percentile, of a high-resolution
            period or of anything else that is not evaluated here.
    """
    name = description["AlarmName"]
    if description.get("Metrics"):
        description = {**description, **_flat(name, description["Metrics"])}
    statistic = description.get("Statistic", description.get("ExtendedStatistic"))
    if statistic not in STATISTICS:
        raise UnknownAlarmError(f"alarm {name}: the statistic {statistic} is not evaluated here")
    comparison = description["ComparisonOperator"]
    if comparison not in _OPERATORS:
        raise UnknownAlarmError(f"alarm {name}: {comparison} is not evaluated here")
    period = description["Period"]
    if period % 60:
        raise UnknownAlarmError(
            f"alarm {name}: a period of {period} s is not evaluated here, only whole minutes"
        )
    periods = description["EvaluationPeriods"]
    return Alarm(
        name=name,
        namespace=description["Namespace"],
        metric=description["MetricName"],
        dimensions=tuple((each["Name"], each["Value"]) for each in description["Dimensions"]),
        statistic=statistic,
        period_seconds=period,
        evaluation_periods=periods,
        datapoints_to_alarm=description.get("DatapointsToAlarm") or periods,
        threshold=description["Threshold"],
        comparison=comparison,
        treat_missing_data=description.get("TreatMissingData") or "missing",
        gate_metric=description.get("GateMetric"),
        added_dimensions=tuple(
            tuple((each["Name"], each["Value"]) for each in dimensions)
            for dimensions in description.get("AddedDimensions", ())
        ),
    )


def _flat(name: str, metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Reads the two forms of metric math that are known.

    They are IF(gate > 0, value, 0), and SUM([a, b]) of one metric with several dimensions.

    Raises:
        UnknownAlarmError: It is another.
    """
    expressions = [metric["Expression"] for metric in metrics if metric.get("Expression")]
    stats = {metric["Id"]: metric["MetricStat"] for metric in metrics if metric.get("MetricStat")}
    expression = expressions[0] if len(expressions) == 1 else ""
    if (found := _GATED.fullmatch(expression)) and {found["gate"], found["value"]} == stats.keys():
        gate = stats[found["gate"]]["Metric"]["MetricName"]
        return {**_plain(stats[found["value"]]), "GateMetric": gate}
    if (found := _SUM.fullmatch(expression)) and _alike(stats, found["ids"].split(",")):
        first, *others = stats.values()
        added = [other["Metric"]["Dimensions"] for other in others]
        return {**_plain(first), "AddedDimensions": added}
    raise UnknownAlarmError(
        f"alarm {name} has metric math, of which only IF(gate > 0, value, 0) and SUM([a, b]) of "
        "one metric are evaluated here"
    )


def _plain(stat: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Namespace": stat["Metric"]["Namespace"],
        "MetricName": stat["Metric"]["MetricName"],
        "Dimensions": stat["Metric"]["Dimensions"],
        "Statistic": stat["Stat"],
        "Period": stat["Period"],
    }


def _alike(stats: Mapping[str, Mapping[str, Any]], ids: Sequence[str]) -> bool:
    """Whether all of the ids, and nothing else, are one metric with several dimensions."""
    kinds = {
        (stat["Metric"]["Namespace"], stat["Metric"]["MetricName"], stat["Stat"], stat["Period"])
        for stat in stats.values()
    }
    return len(kinds) == 1 and {each.strip() for each in ids} == set(stats)


def added(values: Sequence[float | None], *others: Sequence[float | None]) -> list[float | None]:
    """SUM([...]), period by period; nothing where all are missing."""
    rows = (
        [value for value in row if value is not None] for row in zip(values, *others, strict=True)
    )
    return [sum(row) if row else None for row in rows]


def gated(values: Sequence[float | None], gate: Sequence[float | None]) -> list[float | None]:
    """IF(gate > 0, value, 0), period by period; nothing where either is missing."""
    return [
        None if value is None or opening is None else (value if opening > 0 else 0)
        for value, opening in zip(values, gate, strict=True)
    ]


def evaluate(alarm: Alarm, datapoints: Sequence[float | None], present: State) -> Verdict:
    """Decides the state of an alarm.

    Args:
        alarm: The alarm.
        datapoints: One value for each period of the evaluation range, oldest first; None
            where there is no data.
        present: The state that it is in, which `ignore` may keep.
    """
    periods = alarm.evaluation_periods
    real = [value for value in datapoints if value is not None]
    if len(real) >= periods:  # older ones stand in for what is missing
        return _counted(alarm, real[-periods:], 0)
    if alarm.treat_missing_data in {"breaching", "notBreaching"}:
        return _counted(alarm, real, periods - len(real))
    breaching = sum(alarm.breaches(value) for value in real)
    if breaching < len(real) or breaching >= alarm.datapoints_to_alarm:
        return _counted(alarm, real, 0)
    if alarm.treat_missing_data == "ignore":
        return Verdict(present, "Missing data is ignored.", "missing data ignored")
    return _premature(alarm, datapoints, real)


def _premature(alarm: Alarm, datapoints: Sequence[float | None], real: Sequence[float]) -> Verdict:
    """All that is known breaches, but it is too little.

    Then the alarm waits until the oldest breaching data point is as old as the data points
    to alarm, in case the next is fine.
    """
    if not real:
        count = alarm.evaluation_periods
        reason = f"Insufficient Data: {count} datapoint{_s(count)} {_were(count)} unknown."
        return Verdict("INSUFFICIENT_DATA", reason, "no data")
    age = len(datapoints) - next(
        index for index, value in enumerate(datapoints) if value is not None
    )
    return _verdict(alarm, "ALARM" if age >= alarm.datapoints_to_alarm else "OK", real, 0)


def _counted(alarm: Alarm, values: Sequence[float], filled: int) -> Verdict:
    breaching = sum(alarm.breaches(value) for value in values)
    if alarm.treat_missing_data == "breaching":
        breaching += filled
    state: State = "ALARM" if breaching >= alarm.datapoints_to_alarm else "OK"
    return _verdict(alarm, state, values, filled)


def _verdict(alarm: Alarm, state: State, values: Sequence[float], filled: int) -> Verdict:
    _, words, sign = _OPERATORS[alarm.comparison]
    shown = ", ".join(f"{value:g}" for value in reversed(values))
    alarming = state == "ALARM"
    breaching = sum(alarm.breaches(value) == alarming for value in values)
    treated = (
        f" and {filled} missing datapoint{_s(filled)} treated as "
        f"[{_FILLED[alarm.treat_missing_data]}]"
        if filled
        else ""
    )
    needed = (
        alarm.datapoints_to_alarm
        if alarming
        else alarm.evaluation_periods - alarm.datapoints_to_alarm + 1
    )
    reason = (
        f"Threshold Crossed: {breaching} out of the last {alarm.evaluation_periods} datapoints "
        f"[{shown}]{treated} {_were(breaching)} {'' if alarming else 'not '}"
        f"{words} the threshold ({alarm.threshold}) (minimum {needed} datapoint{_s(needed)} for "
        f"{'OK -> ALARM' if alarming else 'ALARM -> OK'} transition)."
    )
    value = f"{values[-1]:g}" if values else "missing"
    return Verdict(state, reason, f"{value} {'' if alarming else 'not '}{sign} {alarm.threshold:g}")


_FILLED: Final = {"breaching": "Breaching", "notBreaching": "NonBreaching"}


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
