"""Publishes SQS's metrics of each queue, once a cloud minute.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
AWS publishes for a queue with activity in the last six hours only; here every queue is
active.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from local.cloud.clock import MINUTE_SECONDS
from local.cloud.events import DepthChanged
from local.cloud.repairs import DELETED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from local.cloud.embedded_metrics import MetricBuffer
    from local.cloud.events import EventStream

NAMESPACE: Final = "AWS/SQS"
_POISON_RECEIVES: Final = 3
"""A message received as often drops out of ApproximateAgeOfOldestMessage."""
_COUNTS: Final = (
    ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesVisible"),
    ("ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesNotVisible"),
    ("ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesDelayed"),
)


def oldest_age_seconds(
    messages: Iterable[tuple[float, int]], now_seconds: float, pace: float
) -> float:
    """The published age of the oldest message, in cloud seconds; 0 when there is none.

    Args:
        messages: For each message in the queue, when it was sent (real seconds since 1970)
            and how often it was received.
        now_seconds: The real time.
        pace: Cloud seconds in a real second.
    """
    sent = [seconds for seconds, receives in messages if receives < _POISON_RECEIVES]
    return max(0.0, now_seconds - min(sent)) * pace if sent else 0.0


def metric_data(queue: str, values: dict[str, float], minutes: Sequence[int]) -> list[Any]:
    """The data points of one queue for each of the minutes that a sample stands for."""
    return [
        {
            "MetricName": metric,
            "Dimensions": [{"Name": "QueueName", "Value": queue}],
            "Timestamp": datetime.fromtimestamp(minute - MINUTE_SECONDS, UTC),
            "Value": value,
            "Unit": "Seconds" if metric.endswith("OldestMessage") else "Count",
        }
        for minute in minutes
        for metric, value in values.items()
    ]


class QueueMetrics:
    """Reads the counts from SQS, on their way to CloudWatch."""

    def __init__(
        self, *, sqs: Any, metrics: MetricBuffer, region: str, pace: float, events: EventStream
    ) -> None:
        self._sqs = sqs
        self._metrics = metrics
        self._region = region
        self._pace = pace
        self._events = events
        self._last: dict[str, tuple[int, int, int]] = {}
        self._deleted: dict[str, int] = {}

    def publish(self, minutes: Sequence[int]) -> None:
        """Publishes the present counts for the cloud minutes that end at the given times."""
        data: list[Any] = []
        urls = [
            url
            for page in self._sqs.get_paginator("list_queues").paginate()
            for url in page.get("QueueUrls", ())
        ]
        names = {_name(url) for url in urls}
        self._last = {name: last for name, last in self._last.items() if name in names}
        for url in urls:
            data += metric_data(*self._sample(url), minutes)
            data += metric_data(_name(url), self._deleted_since(_name(url)), minutes[-1:])
        self._metrics.add(*((NAMESPACE, datum) for datum in data))

    def _sample(self, url: str) -> tuple[str, dict[str, float]]:
        queue = _name(url)
        try:
            attributes = self._sqs.get_queue_attributes(
                QueueUrl=url, AttributeNames=[name for name, _ in _COUNTS]
            )["Attributes"]
        except self._sqs.exceptions.QueueDoesNotExist:  # deleted since it was listed
            return queue, {}
        values = {metric: float(attributes[name]) for name, metric in _COUNTS}
        visible, in_flight, delayed = (int(value) for value in values.values())
        before = self._last.get(queue, (0, 0, 0))
        if (visible, in_flight, delayed) != before:
            self._last[queue] = visible, in_flight, delayed
            self._events.emit(
                DepthChanged(
                    self._events.now(),
                    queue=queue,
                    visible=visible,
                    in_flight=in_flight,
                    delayed=delayed,
                )
            )
        return queue, {**values, "ApproximateAgeOfOldestMessage": self._oldest_age(queue)}

    def _deleted_since(self, queue: str) -> dict[str, float]:
        """Messages deleted since the last sample, when there were any; see local.cloud.repairs."""
        record: Any = sqs_backends[DEFAULT_ACCOUNT_ID][self._region].queues.get(queue)
        count: int = getattr(record, DELETED, 0)
        before, self._deleted[queue] = self._deleted.get(queue, 0), count
        return {"NumberOfMessagesDeleted": float(count - before)} if count > before else {}

    def _oldest_age(self, queue: str) -> float:
        """The age has no API: here, and only here, SQS looks into its own messages."""
        record: Any = sqs_backends[DEFAULT_ACCOUNT_ID][self._region].queues.get(queue)
        if record is None:
            return 0.0
        with record._messages_lock:  # noqa: SLF001 - see above
            messages = [
                (message.sent_timestamp / 1000, message.approximate_receive_count)
                for message in record._messages  # noqa: SLF001 - see above
            ]
        return oldest_age_seconds(messages, datetime.now(UTC).timestamp(), self._pace)


def _name(url: str) -> str:
    return url.rpartition("/")[2]
