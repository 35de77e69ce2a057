"""CloudWatch's alarms: read back from the cloud, evaluated once a cloud minute.

The periods of an alarm end at the minute of the evaluation, as on AWS, where a five-minute
period slides too:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from local.cloud.alarm_rules import (
    Alarm,
    UnknownAlarmError,
    Verdict,
    added,
    alarm_of,
    evaluate,
    gated,
)
from local.cloud.events import AlarmChanged, NoticeSent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.cloud.events import EventStream

_QUERIES_LIMIT: Final = 500 // 10  # an alarm may need some ten
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html"""
_ACTIONS: Final = {
    "ALARM": "AlarmActions",
    "OK": "OKActions",
    "INSUFFICIENT_DATA": "InsufficientDataActions",
}
_SUBJECT_MAX: Final = 100
"""https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""
_TIME: Final = "%Y-%m-%dT%H:%M:%S.000+0000"


def datapoints_of(result: Mapping[str, Any], alarm: Alarm, minute: int) -> list[float | None]:
    """Puts a GetMetricData result into the periods of an alarm's evaluation range.

    Args:
        result: One of MetricDataResults.
        alarm: The alarm.
        minute: When the last period ends, in cloud seconds since 1970.
    """
    values: list[float | None] = [None] * alarm.range_periods
    for timestamp, value in zip(result["Timestamps"], result["Values"], strict=True):
        ago = (minute - timestamp.timestamp()) / alarm.period_seconds
        if 0 < ago <= alarm.range_periods:
            values[-int(ago)] = value
    return values


def state_change_event(
    description: Mapping[str, Any],
    alarm: Alarm,
    verdict: Verdict,
    times: tuple[datetime, datetime],
    reason_data: str,
) -> dict[str, Any]:
    """The event that CloudWatch puts on the default bus, as an entry of PutEvents.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html

    Args:
        description: The alarm as DescribeAlarms shows it, with the state before.
        alarm: The same, read.
        verdict: The state now.
        times: When it entered the state before, and when it entered this one.
        reason_data: The facts behind the reason, in JSON.
    """
    before, now = times
    detail = {
        "alarmName": alarm.name,
        "configuration": {
            "description": description.get("AlarmDescription") or "",
            "metrics": [
                {
                    "id": str(uuid.uuid5(uuid.NAMESPACE_URL, description["AlarmArn"])),
                    "metricStat": {
                        "metric": {
                            "dimensions": dict(alarm.dimensions),
                            "name": alarm.metric,
                            "namespace": alarm.namespace,
                        },
                        "period": alarm.period_seconds,
                        "stat": alarm.statistic,
                    },
                    "returnData": True,
                }
            ],
        },
        "previousState": {
            "value": description["StateValue"],
            "reason": description.get("StateReason", ""),
            "reasonData": description.get("StateReasonData", "{}"),
            "timestamp": before.strftime(_TIME),
        },
        "state": {
            "value": verdict.state,
            "reason": verdict.reason,
            "reasonData": reason_data,
            "timestamp": now.strftime(_TIME),
        },
    }
    return {
        "Source": "aws.cloudwatch",
        "DetailType": "CloudWatch Alarm State Change",
        "Time": now,
        "Resources": [description["AlarmArn"]],
        "Detail": json.dumps(detail),
    }


class AlarmWatch:
    """Evaluates every metric alarm and reports the ones that changed."""

    def __init__(self, *, cloudwatch: Any, bus: Any, sns: Any, events: EventStream) -> None:
        self._cloudwatch = cloudwatch
        self._bus = bus
        self._sns = sns
        self._events = events
        self._refused: set[str] = set()
        self._entered: dict[str, datetime] = {}

    def evaluate_all(self, minute: int) -> None:
        """Evaluates the alarms on the periods that end with a cloud minute."""
        described: dict[str, Mapping[str, Any]] = {}
        alarms: list[Alarm] = []
        for page in self._cloudwatch.get_paginator("describe_alarms").paginate():
            for composite in page.get("CompositeAlarms", ()):
                self._refuse(f"alarm {composite['AlarmName']} is composite: not evaluated here")
            for description in page["MetricAlarms"]:
                refusal = ""
                try:
                    alarms.append(alarm_of(description))
                except UnknownAlarmError as error:
                    refusal = str(error)
                if refusal:  # reported outside of the handler: its trace would say nothing more
                    self._refuse(refusal)
                described[description["AlarmName"]] = description
        for period in {alarm.period_seconds for alarm in alarms}:
            group = [alarm for alarm in alarms if alarm.period_seconds == period]
            for start in range(0, len(group), _QUERIES_LIMIT):
                self._evaluate(group[start : start + _QUERIES_LIMIT], described, minute)

    def _refuse(self, text: str) -> None:
        if text not in self._refused:
            self._refused.add(text)
            self._events.error(text)

    def _evaluate(
        self, alarms: Sequence[Alarm], described: Mapping[str, Mapping[str, Any]], minute: int
    ) -> None:
        period = alarms[0].period_seconds
        periods = max(alarm.range_periods for alarm in alarms)
        results = self._cloudwatch.get_metric_data(
            MetricDataQueries=[
                query for index, alarm in enumerate(alarms) for query in _queries(index, alarm)
            ],
            StartTime=datetime.fromtimestamp(minute - periods * period, UTC),
            EndTime=datetime.fromtimestamp(minute, UTC),
        )["MetricDataResults"]
        by_id = {result["Id"]: result for result in results}
        for index, alarm in enumerate(alarms):
            datapoints = datapoints_of(by_id[f"q{index}"], alarm, minute)
            if alarm.gate_metric:
                gate = datapoints_of(by_id[f"gate{index}"], alarm, minute)
                datapoints = gated(datapoints, gate)
            others = [
                datapoints_of(by_id[f"q{index}_{number}"], alarm, minute)
                for number in range(len(alarm.added_dimensions))
            ]
            datapoints = added(datapoints, *others)
            description = described[alarm.name]
            verdict = evaluate(alarm, datapoints, description["StateValue"])
            if verdict.state != description["StateValue"]:
                self._change(description, alarm, verdict, datapoints, minute)

    def _change(
        self,
        description: Mapping[str, Any],
        alarm: Alarm,
        verdict: Verdict,
        datapoints: Sequence[float | None],
        minute: int,
    ) -> None:
        now = datetime.fromtimestamp(minute, UTC)
        reason_data = json.dumps(
            {
                "version": "1.0",
                "queryDate": now.strftime(_TIME),
                "statistic": alarm.statistic,
                "period": alarm.period_seconds,
                "recentDatapoints": [value for value in datapoints if value is not None],
                "threshold": alarm.threshold,
            }
        )
        self._cloudwatch.set_alarm_state(
            AlarmName=alarm.name,
            StateValue=verdict.state,
            StateReason=verdict.reason,
            StateReasonData=reason_data,
        )
        before = self._entered.get(alarm.name, now)
        self._entered[alarm.name] = now
        self._events.emit(
            AlarmChanged(
                self._events.now(),
                alarm=alarm.name,
                previous=description["StateValue"],
                state=verdict.state,
                reason=verdict.short,
            )
        )
        entry = state_change_event(description, alarm, verdict, (before, now), reason_data)
        self._bus.put_events(Entries=[entry])
        if description.get("ActionsEnabled", True):
            for action in description.get(_ACTIONS[verdict.state], ()):
                self._act(action, description, verdict)

    def _act(self, action: str, description: Mapping[str, Any], verdict: Verdict) -> None:
        """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html."""
        name = description["AlarmName"]
        if action.split(":")[2] != "sns":
            self._refuse(f"alarm {name}: the action {action} is not done here, only topics are")
            return
        message = {
            "AlarmName": name,
            "AlarmDescription": description.get("AlarmDescription"),
            "NewStateValue": verdict.state,
            "NewStateReason": verdict.reason,
            "OldStateValue": description["StateValue"],
            "AlarmArn": description["AlarmArn"],
        }
        try:
            self._sns.publish(
                TopicArn=action,
                Subject=f'{verdict.state}: "{name}"'[:_SUBJECT_MAX],
                Message=json.dumps(message),
            )
        except ClientError as error:
            self._events.error(f"alarm {name} cannot notify {action}: {error}")
            return
        topic = action.rpartition(":")[2]
        self._events.emit(NoticeSent(self._events.now(), name, verdict.state, topic))


def _queries(index: int, alarm: Alarm) -> list[dict[str, Any]]:
    found = [_query(f"q{index}", alarm, alarm.metric, alarm.dimensions)]
    if alarm.gate_metric:
        found.append(_query(f"gate{index}", alarm, alarm.gate_metric, alarm.dimensions))
    for number, dimensions in enumerate(alarm.added_dimensions):
        found.append(_query(f"q{index}_{number}", alarm, alarm.metric, dimensions))
    return found


def _query(
    query_id: str, alarm: Alarm, metric: str, dimensions: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    return {
        "Id": query_id,
        "MetricStat": {
            "Metric": {
                "Namespace": alarm.namespace,
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions],
            },
            "Period": alarm.period_seconds,
            "Stat": alarm.statistic,
        },
    }
