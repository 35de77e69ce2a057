"""Metrics that stand in log lines, in CloudWatch's embedded metric format.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_PUT_LIMIT: Final = 1000
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html"""


def data_points(
    line: str, *, moment: Callable[[float], float], second: float
) -> list[tuple[str, dict[str, Any]]]:
    """The data points that a log line holds; none when it is not of that format.

    Args:
        line: As it was printed.
        moment: Makes the cloud's time of the line's, both in seconds since 1970.
        second: How many seconds of the cloud one of the line's seconds is.

    Returns:
        Namespace and datum, as PutMetricData takes them.
    """
    if not line.startswith("{") or '"_aws"' not in line:
        return []
    try:
        record = json.loads(line)
        at = datetime.fromtimestamp(moment(record["_aws"]["Timestamp"] / 1000), UTC)
        return [
            (directive["Namespace"], datum)
            for directive in record["_aws"]["CloudWatchMetrics"]
            for dimensions in directive["Dimensions"]
            for metric in directive["Metrics"]
            for datum in _data(record, metric, dimensions, at, second)
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # CloudWatch too passes over what it cannot read


def _data(
    record: dict[str, Any],
    metric: dict[str, str],
    dimensions: list[str],
    at: datetime,
    second: float,
) -> list[dict[str, Any]]:
    found = record[metric["Name"]]
    unit = metric.get("Unit", "None")
    factor = second if unit == "Seconds" else 1
    return [
        {
            "MetricName": metric["Name"],
            "Dimensions": [{"Name": name, "Value": str(record[name])} for name in dimensions],
            "Timestamp": at,
            "Value": float(value) * factor,
            "Unit": unit,
        }
        for value in (found if isinstance(found, list) else [found])
    ]


class MetricBuffer:
    """Data points on their way to CloudWatch, put there together. Safe in all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, dict[str, Any]]] = []

    def add(self, *points: tuple[str, dict[str, Any]]) -> None:
        """Takes data points, each with its namespace."""
        with self._lock:
            self._waiting.extend(points)

    def count(self, metric: str, dimension: tuple[str, str], moment: datetime) -> None:
        """Takes a data point that counts one, of a metric such as AWS/Events FailedInvocations."""
        namespace, _, name = metric.partition(" ")
        self.add(
            (
                namespace,
                {
                    "MetricName": name,
                    "Dimensions": [{"Name": dimension[0], "Value": dimension[1]}],
                    "Timestamp": moment,
                    "Value": 1.0,
                    "Unit": "Count",
                },
            )
        )

    def flush(self, cloudwatch: Any) -> None:
        """Puts all that it has."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for namespace in {namespace for namespace, _ in waiting}:
            data = [datum for owner, datum in waiting if owner == namespace]
            for start in range(0, len(data), _PUT_LIMIT):
                cloudwatch.put_metric_data(
                    Namespace=namespace, MetricData=data[start : start + _PUT_LIMIT]
                )
