"""When EventBridge is to act: alarms on a task queue, and rules that match them.

Both scaling modes have such rules; what a rule starts is their own. The doorman looks sooner.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pulumi
import pulumi_aws as aws

from stack.components.secure_queue import only_over_tls, secure_queue
from stack.documents import resource_policies
from taskpacks import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskpacks.types import Scaling

VISIBLE: Final = "ApproximateNumberOfMessagesVisible"
OLDEST: Final = "ApproximateAgeOfOldestMessage"
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"""


@dataclass(frozen=True, kw_only=True)
class QueueAlarm:
    """A measure that an alarm looks at, and what it means when it enters ALARM."""

    name: str
    metric: str
    threshold: int
    meaning: str
    only_while_visible: bool = False
    """SQS counts the age of messages in flight too: without this, a long task would hold the
    alarm in ALARM, and a message that becomes visible again would find it there already."""


def age_alarm(scaling: Scaling) -> QueueAlarm:
    """Enters ALARM early enough that a worker which starts then is there in time."""
    return QueueAlarm(
        name="age",
        metric=OLDEST,
        only_while_visible=True,
        threshold=scaling.start_within_seconds - scaling.startup_seconds,
        meaning=f"a message is to start within {scaling.start_within_seconds} s of its sending",
    )


def late_alarm(scaling: Scaling) -> QueueAlarm:
    """Enters ALARM when a message has waited too long: what should have prevented it did not."""
    return QueueAlarm(
        name="late",
        metric=OLDEST,
        only_while_visible=True,
        threshold=scaling.start_within_seconds,
        meaning=f"a message waits for longer than {scaling.start_within_seconds} s "
        "(scaling.start_within_seconds)",
    )


def event_pattern(alarm_arn: str) -> dict[str, Any]:
    """Matches the event that CloudWatch emits when this alarm enters ALARM.

    Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
    """
    return {
        "source": ["aws.cloudwatch"],
        "detail-type": ["CloudWatch Alarm State Change"],
        "resources": [alarm_arn],
        "detail": {"state": {"value": ["ALARM"]}},
    }


def measured(alarm: QueueAlarm, queue_name: pulumi.Input[str]) -> dict[str, Any]:
    """Returns what an alarm looks at, as arguments of MetricAlarm: a metric, or metric math."""
    if not alarm.only_while_visible:
        return {**_metric(alarm.metric, queue_name), "statistic": "Maximum"}

    def stat(metric: str) -> dict[str, Any]:
        return {**_metric(metric, queue_name), "stat": "Maximum"}

    return {
        "metric_queries": [
            {
                "id": "age_while_visible",
                "expression": "IF(visible > 0, age, 0)",
                "label": f"{alarm.metric} while a message is visible",
                "return_data": True,
            },
            {"id": "visible", "metric": stat(VISIBLE), "return_data": False},
            {"id": "age", "metric": stat(alarm.metric), "return_data": False},
        ]
    }


def _metric(metric: str, queue_name: pulumi.Input[str]) -> dict[str, Any]:
    return {
        "namespace": "AWS/SQS",
        "metric_name": metric,
        "dimensions": {"QueueName": queue_name},
        "period": limits.METRIC_PERIOD_SECONDS,
    }


def alarm_rule(
    name: str,
    alarm: QueueAlarm,
    queue_name: pulumi.Input[str],
    *,
    does: str,
    parent: pulumi.Resource,
) -> aws.cloudwatch.EventRule:
    """Makes an alarm, and the rule that matches when it enters ALARM.

    Args:
        name: Of both.
        alarm: What it looks at.
        queue_name: The task queue's.
        does: What happens then, for the description.
        parent: The component that they belong to.
    """
    child = pulumi.ResourceOptions(parent=parent)
    made = aws.cloudwatch.MetricAlarm(
        name,
        alarm_description=f"{alarm.meaning}: {does}",
        evaluation_periods=1,
        comparison_operator="GreaterThanOrEqualToThreshold",
        threshold=alarm.threshold,
        # An idle SQS queue stops publishing: nothing waits then.
        treat_missing_data="notBreaching",
        **measured(alarm, queue_name),
        opts=child,
    )
    return aws.cloudwatch.EventRule(
        name,
        description=f"{name} enters ALARM",
        event_pattern=made.arn.apply(lambda arn: json.dumps(event_pattern(arn))),
        opts=child,
    )


class UndeliveredEvents(pulumi.ComponentResource):
    """Where EventBridge puts the events that it could not deliver.

    Consists of: an SQS queue, and its policy once `allow` knows which rules may send.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, *, kms_key: str | None, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:UndeliveredEvents", name, None, opts)
        self._queue_name = f"{name}-undelivered"
        self._queue = secure_queue(
            self._queue_name,
            kms_key=kms_key,
            message_retention_seconds=limits.MESSAGE_RETENTION_SECONDS_MAX,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = self._queue.arn
        self.register_outputs({"url": self._queue.url})

    def allow(self, rules: Sequence[aws.cloudwatch.EventRule]) -> None:
        """Lets these rules put their events here, and no others."""
        only_over_tls(
            self._queue_name,
            self._queue,
            allowed=pulumi.Output.all(self._queue.arn, *[rule.arn for rule in rules]).apply(
                lambda arns: [resource_policies.undelivered_events(arns[0], arns[1:])]
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
