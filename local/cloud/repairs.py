"""Corrects what moto 5.2.5 does differently from AWS, where that would be noticed here.

Each repair replaces one function of moto while the cloud runs. tests/cloud/test_repairs.py
fails when moto changes a signature that stands here.
"""

from __future__ import annotations

import logging
import re
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from moto.batch.models import BatchBackend
from moto.cloudwatch.models import CloudWatchBackend, Statistics
from moto.core.config import default_user_config
from moto.core.utils import unix_time
from moto.logs.models import LogsBackend
from moto.sqs import models as sqs_models

from local.cloud.fair_queues import Tenants

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator

sqs: Any = sqs_models  # its private names are needed
DELETED: Final = "messages_deleted"
"""A queue's own attribute here: how many messages were deleted from it, which moto forgets."""
TENANTS: Final = "tenants"
"""Another one: a fair queue's tenants."""
_POLL_SECONDS: Final = 0.1
"""How soon a long poll sees a message whose visibility timeout or delay has ended."""


@contextmanager
def replaced(owner: Any, name: str, replacement: Any) -> Generator[None]:
    """Replaces an attribute and puts the old one back."""
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def all_repairs(closing: threading.Event) -> Generator[None]:
    """Applies every repair of this file.

    Args:
        closing: Once set, long polls return at once, so that the server can stop.
    """
    with ExitStack() as stack:
        stack.enter_context(_managed_policies())
        stack.enter_context(_quiet_server())
        for name, counts in _COUNTS.items():
            stack.enter_context(replaced(sqs.Queue, name, property(_count(counts))))
        for owner, name, make in (
            (sqs.SQSBackend, "receive_message", _receive_message(closing)),
            (sqs.SQSBackend, "change_message_visibility", _locked),
            (sqs.SQSBackend, "purge_queue", _locked),
            (sqs.SQSBackend, "get_queue_attributes", _get_queue_attributes),
            (sqs.Queue, "add_message", _add_message),
            (sqs.Queue, "delete_message", _delete_message),
            (sqs.Queue, "_set_attributes", _set_attributes),
            (BatchBackend, "update_compute_environment", _update_compute_environment),
            (LogsBackend, "delete_log_group", _delete_log_group),
            (CloudWatchBackend, "put_metric_alarm", _put_metric_alarm),
            (CloudWatchBackend, "get_metric_data", _get_metric_data),
            (Statistics, "get_statistics_for_type", _statistic),
        ):
            stack.enter_context(replaced(owner, name, make(getattr(owner, name))))
        yield


@contextmanager
def _managed_policies() -> Generator[None]:
    """AWS's managed policies can be attached to roles; moto leaves them out by default."""
    settings = cast("dict[str, Any]", default_user_config)["iam"]
    before = settings["load_aws_managed_policies"]
    settings["load_aws_managed_policies"] = True
    try:
        yield
    finally:
        settings["load_aws_managed_policies"] = before


@contextmanager
def _quiet_server() -> Generator[None]:
    """Werkzeug logs every request at INFO, to stderr when nobody configured logging."""
    logger = logging.getLogger("werkzeug")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _receive_message(closing: threading.Event) -> Callable[[Any], Any]:
    """Receives under the queue's lock, and polls in short steps.

    moto scans the messages without a lock, so that two threads can be handed one message,
    and its long poll wakes once a second.
    """

    def make(_original: Any) -> Any:
        def receive_message(  # noqa: PLR0917 - moto's signature
            self: Any,
            queue_name: str,
            count: int,
            wait_seconds_timeout: int,
            visibility_timeout: int,
            message_attribute_names: list[str] | None = None,
        ) -> list[Any]:
            queue = self.get_queue(queue_name)
            ends = unix_time() + wait_seconds_timeout
            while True:
                with queue._messages_lock:  # noqa: SLF001 - moto's own lock of this list
                    received, exhausted = _take(queue, count, visibility_timeout)
                for message in exhausted:  # outside the lock: the other queue has its own
                    queue.dead_letter_queue.add_message(message)
                if received or closing.is_set() or unix_time() >= ends:
                    break
                with queue._messages_lock:  # noqa: SLF001 - see above
                    queue._messages_lock.wait(_POLL_SECONDS)  # noqa: SLF001 - see above
            for message in received:
                sqs._filter_message_attributes(  # noqa: SLF001 - what moto's own receive calls
                    message, message_attribute_names or []
                )
            return received

        return receive_message

    return make


def _update_compute_environment(original: Any) -> Any:
    """Takes the new resources of a compute environment over, which moto passes over."""

    def update_compute_environment(
        self: Any,
        compute_environment_name: str,
        state: str | None,
        compute_resources: Any | None,
        service_role: str | None,
    ) -> tuple[str, str]:
        updated = original(self, compute_environment_name, state, compute_resources, service_role)
        environment = self.get_compute_environment(compute_environment_name)
        environment.compute_resources.update(compute_resources or {})
        return updated

    return update_compute_environment


def _take(queue: Any, count: int, visibility_timeout: int) -> tuple[list[Any], list[Any]]:
    """Takes up to `count` visible messages; the caller holds the queue's lock.

    Returns:
        Copies of the messages that are received now, and the messages that were received
        too often and were taken out for the dead-letter queue.
    """
    received: list[Any] = []
    gone: list[Any] = []
    exhausted: list[Any] = []
    now = unix_time()
    now_ms = now * 1000
    pending = queue.pending_messages
    messages = queue._messages  # noqa: SLF001 - there is no public way to the list
    tenants: Tenants | None = getattr(queue, TENANTS, None)
    for message in tenants.in_order(messages, now) if tenants else messages:
        if len(received) >= count:
            break
        if not _is_visible(message, now_ms):
            continue
        pending.discard(message)  # it is visible again: whoever had it took too long
        if message.sent_timestamp / 1000 + queue.message_retention_period <= now:
            gone.append(message)
            continue
        if queue.fifo_queue and message.group_id in queue.pending_message_groups:
            continue
        policy = queue.dead_letter_queue and queue.redrive_policy
        if policy and message.approximate_receive_count >= policy["maxReceiveCount"]:
            exhausted.append(message)
            continue
        pending.add(message)
        if tenants:
            tenants.received(message, now)
        message.mark_received(visibility_timeout=visibility_timeout)
        received.append(deepcopy(message))
    if gone or exhausted:
        removed = {id(message) for message in (*gone, *exhausted)}
        queue._messages = [  # noqa: SLF001 - as above
            message
            for message in queue._messages  # noqa: SLF001 - as above
            if id(message) not in removed
        ]
    return received, exhausted


def _is_visible(message: Any, now_ms: float) -> bool:
    return message.visible_at < now_ms and message.delayed_until <= now_ms


_COUNTS: Final[dict[str, Callable[[Any, float], bool]]] = {
    "approximate_number_of_messages": _is_visible,
    "approximate_number_of_messages_not_visible": lambda each, now_ms: each.visible_at >= now_ms,
    "approximate_number_of_messages_delayed": lambda each, now_ms: each.delayed_until > now_ms,
}


def _count(counts: Callable[[Any, float], bool]) -> Callable[[Any], int]:
    """Counts with one look at the clock.

    moto looks at it for every message, and counts all messages whenever one is sent: a
    thousand messages take seconds to send, ten thousand minutes.
    """

    def count(queue: Any) -> int:
        now_ms = unix_time() * 1000
        return sum(counts(message, now_ms) for message in queue._messages)  # noqa: SLF001 - moto's list

    return count


def _locked(original: Any) -> Any:
    """Holds the queue's lock meanwhile: moto walks the same list without it."""

    def locked(self: Any, queue_name: str, *args: Any, **kwargs: Any) -> Any:
        with self.get_queue(queue_name)._messages_lock:  # noqa: SLF001 - moto's own lock
            return original(self, queue_name, *args, **kwargs)

    return locked


def _add_message(original: Any) -> Any:
    """Makes a queue a fair one with the first message that names its tenant."""

    def add_message(self: Any, message: Any) -> None:
        if message.group_id and not self.fifo_queue:
            with self._messages_lock:  # moto's own lock
                if not hasattr(self, TENANTS):
                    setattr(self, TENANTS, Tenants())
                getattr(self, TENANTS).sent(message, unix_time())
        original(self, message)

    return add_message


def _delete_message(original: Any) -> Any:
    """Holds the lock: moto rebuilds the list, and a message sent meanwhile would be lost."""

    def delete_message(self: Any, receipt_handle: str) -> None:
        with self._messages_lock:  # moto's own lock
            for message in self._messages if hasattr(self, TENANTS) else ():
                if message.had_receipt_handle(receipt_handle):
                    getattr(self, TENANTS).ended(message, unix_time())
            original(self, receipt_handle)
            setattr(self, DELETED, getattr(self, DELETED, 0) + 1)

    return delete_message


def _set_attributes(original: Any) -> Any:
    """A call that does not name the policy leaves it as it is: moto empties it."""

    def set_attributes(self: Any, attributes: dict[str, Any], now: float | None = None) -> None:
        policy = getattr(self, "policy", None)
        original(self, attributes, now)
        if policy and "Policy" not in attributes:
            self.policy = policy

    return set_attributes


def _get_queue_attributes(original: Any) -> Any:
    """Counts under the lock, and once: moto walks all messages for every single name."""

    def get_queue_attributes(self: Any, queue_name: str, attribute_names: list[str]) -> Any:
        queue = self.get_queue(queue_name)
        with queue._messages_lock:  # noqa: SLF001 - moto's own lock
            if "All" in attribute_names:
                return original(self, queue_name, attribute_names)
            known = original(self, queue_name, ["All"])
        if set(attribute_names) - known.keys():
            return original(self, queue_name, attribute_names)
        return {name: known[name] for name in attribute_names if known[name] is not None}

    return get_queue_attributes


def _delete_log_group(original: Any) -> Any:
    """Tags go with their log group (moto: the next one of that name gets them)."""

    def delete_log_group(self: Any, log_group_name: str) -> None:
        group = self.groups.get(log_group_name)
        original(self, log_group_name)
        self.tagger.delete_all_tags_for_resource(group.arn)

    return delete_log_group


def _put_metric_alarm(original: Any) -> Any:
    """A new alarm starts with INSUFFICIENT_DATA (moto: OK); an updated one keeps its state.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """

    def put_metric_alarm(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        before = self.alarms.get(name)
        alarm = original(self, name, *args, **kwargs)
        if before is None:
            alarm.state_value = "INSUFFICIENT_DATA"
        else:
            for field in ("value", "reason", "reason_data", "updated_timestamp"):
                setattr(alarm, f"state_{field}", getattr(before, f"state_{field}"))
        return alarm

    return put_metric_alarm


def _get_metric_data(original: Any) -> Any:
    """Walks the data points once for all queries.

    moto walks all of them for each period of each query: an hour in minutes takes seconds, once
    a few hours of metrics are there. Expressions are left to moto.
    """

    def get_metric_data(
        self: Any,
        queries: list[dict[str, Any]],
        start_time: datetime,
        end_time: datetime,
        scan_by: str = "TimestampAscending",
    ) -> list[dict[str, Any]]:
        if start_time >= end_time or any("MetricStat" not in query for query in queries):
            return original(self, queries, start_time, end_time, scan_by)
        start, end = start_time.replace(microsecond=0), end_time.replace(microsecond=0)
        found: dict[Any, list[Any]] = {_wanted(query): [] for query in queries}
        for datum in self.get_all_metrics():
            dimensions = frozenset((each.name, each.value) for each in datum.dimensions)
            values = found.get((datum.namespace, datum.name, dimensions))
            if values is not None and start <= datum.timestamp < end:
                values.append(datum)
        return [
            _series(query, found[_wanted(query)], start, scan_by)
            for query in queries
            if query.get("ReturnData", True)
        ]

    return get_metric_data


def _wanted(query: dict[str, Any]) -> Any:
    metric = query["MetricStat"]["Metric"]
    dimensions = ((each["Name"], each["Value"]) for each in metric.get("Dimensions") or ())
    return metric["Namespace"], metric["MetricName"], frozenset(dimensions)


def _series(
    query: dict[str, Any], data: list[Any], start: datetime, scan_by: str
) -> dict[str, Any]:
    stat, unit = query["MetricStat"]["Stat"], query["MetricStat"].get("Unit")
    period = int(query["MetricStat"]["Period"])
    bins: dict[int, list[Any]] = {}
    for datum in data:
        if not unit or datum.unit == unit:
            bins.setdefault(int((datum.timestamp - start).total_seconds() // period), []).append(
                datum
            )
    points: list[tuple[datetime, Any]] = []
    for number in sorted(bins, reverse=scan_by == "TimestampDescending"):
        statistics = Statistics([stat], start + timedelta(seconds=number * period))
        statistics.metric_data = bins[number]
        points.append((statistics.timestamp, statistics.get_statistics_for_type(stat)))
    return {
        "id": query["Id"],
        "label": query.get("Label") or f"{query['MetricStat']['Metric']['MetricName']} {stat}",
        "values": [value for _, value in points],
        "timestamps": [moment for moment, _ in points],
        "status_code": "Complete",
    }


_PERCENTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")


def _statistic(original: Any) -> Any:
    """Knows percentiles, which moto does not.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
    """

    def get_statistics_for_type(self: Any, stat: str) -> Any:
        found = _PERCENTILE.fullmatch(stat)
        if found is None:
            return original(self, stat)
        values = sorted(self.metric_single_values_list)
        if not values:
            return None
        place = (len(values) - 1) * float(found[1]) / 100
        low = int(place)
        high = min(low + 1, len(values) - 1)
        return values[low] + (values[high] - values[low]) * (place - low)

    return get_statistics_for_type
