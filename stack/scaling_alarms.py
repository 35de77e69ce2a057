"""When workers start: alarms on the task queue, and rules from each alarm to a Batch job."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pulumi
import pulumi_aws as aws

from stack import policies
from taskpacks import limits

if TYPE_CHECKING:
    from taskpacks.types import Scaling

VISIBLE: Final = "ApproximateNumberOfMessagesVisible"
OLDEST: Final = "ApproximateAgeOfOldestMessage"
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"""


@dataclass(frozen=True)
class Trigger:
    """An alarm, and how many workers start when it enters ALARM."""

    name: str
    metric: str
    threshold: int
    workers: int
    meaning: str
    only_while_visible: bool = False
    """SQS counts the age of messages in flight too: without this, a long task would hold the
    alarm in ALARM, and a message that becomes visible again would find it there already."""


def triggers(scaling: Scaling) -> tuple[Trigger, ...]:
    """The alarms of scaling mode `alarms`: a shallow queue, a deep one, an old message."""
    return (
        Trigger(
            name="depth-low",
            metric=VISIBLE,
            threshold=scaling.low_depth,
            workers=scaling.low_workers,
            meaning=f"{scaling.low_depth} messages or more wait",
        ),
        Trigger(
            name="depth-high",
            metric=VISIBLE,
            threshold=scaling.high_depth,
            workers=scaling.high_workers,
            meaning=f"{scaling.high_depth} messages or more wait",
        ),
        Trigger(
            name="age",
            metric=OLDEST,
            only_while_visible=True,
            # Early enough that a worker which starts now is there in time.
            threshold=scaling.start_within_seconds - scaling.startup_seconds,
            workers=1,
            meaning=f"a message is to start within {scaling.start_within_seconds} s of its sending",
        ),
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


def measured(trigger: Trigger, queue_name: pulumi.Input[str]) -> dict[str, Any]:
    """What an alarm looks at, as arguments of MetricAlarm: a metric, or metric math."""
    if not trigger.only_while_visible:
        return {**_metric(trigger.metric, queue_name), "statistic": "Maximum"}

    def stat(metric: str) -> dict[str, Any]:
        return {**_metric(metric, queue_name), "stat": "Maximum"}

    return {
        "metric_queries": [
            {
                "id": "age_while_visible",
                "expression": "IF(visible > 0, age, 0)",
                "label": f"{trigger.metric} while a message is visible",
                "return_data": True,
            },
            {"id": "visible", "metric": stat(VISIBLE), "return_data": False},
            {"id": "age", "metric": stat(trigger.metric), "return_data": False},
        ]
    }


def _metric(metric: str, queue_name: pulumi.Input[str]) -> dict[str, Any]:
    return {
        "namespace": "AWS/SQS",
        "metric_name": metric,
        "dimensions": {"QueueName": queue_name},
        "period": limits.METRIC_PERIOD_SECONDS,
    }


@dataclass(frozen=True, kw_only=True)
class ScalingAlarmsArgs:
    """The task queue that is watched, and the job that is submitted."""

    scaling: Scaling
    queue_name: pulumi.Input[str]
    job_queue_arn: pulumi.Output[str]
    job_definition_arn: pulumi.Output[str]


class ScalingAlarms(pulumi.ComponentResource):
    """Starts workers when messages wait.

    Consists of: for each trigger an alarm, a rule and its Batch target (one job, or an array
    job); the role that EventBridge submits under; a dead-letter queue for events that could
    not be delivered, and its policy.
    """

    def __init__(
        self, name: str, args: ScalingAlarmsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:ScalingAlarms", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = self._submit_role(name, args)
        undelivered = aws.sqs.Queue(
            f"{name}-undelivered",
            message_retention_seconds=limits.MESSAGE_RETENTION_SECONDS_MAX,
            sqs_managed_sse_enabled=True,
            opts=child,
        )
        rules: list[aws.cloudwatch.EventRule] = []
        for trigger in triggers(args.scaling):
            rule = self._rule(f"{name}-{trigger.name}", trigger, args.queue_name)
            rules.append(rule)
            # No retry strategy: it would override the job definition's own.
            aws.cloudwatch.EventTarget(
                f"{name}-{trigger.name}",
                rule=rule.name,
                arn=args.job_queue_arn,
                role_arn=role.arn,
                batch_target=aws.cloudwatch.EventTargetBatchTargetArgs(
                    job_definition=args.job_definition_arn,
                    job_name=f"{name}-{trigger.name}",
                    array_size=trigger.workers if trigger.workers > 1 else None,
                ),
                dead_letter_config={"arn": undelivered.arn},
                opts=child,
            )
        aws.sqs.QueuePolicy(
            f"{name}-undelivered",
            queue_url=undelivered.url,
            policy=pulumi.Output.json_dumps(
                pulumi.Output.all(undelivered.arn, *[rule.arn for rule in rules]).apply(
                    lambda arns: policies.undelivered_events(arns[0], arns[1:])
                )
            ),
            opts=child,
        )
        self.register_outputs({"undelivered_url": undelivered.url})

    def _submit_role(self, name: str, args: ScalingAlarmsArgs) -> aws.iam.Role:
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-submit",
            assume_role_policy=pulumi.Output.json_dumps(policies.trust(policies.EVENTS)),
            opts=child,
        )
        aws.iam.RolePolicy(
            f"{name}-submit",
            role=role.name,
            policy=pulumi.Output.json_dumps(
                pulumi.Output.all(args.job_queue_arn, args.job_definition_arn).apply(
                    lambda arns: policies.submit(arns[0], arns[1])
                )
            ),
            opts=child,
        )
        return role

    def _rule(
        self, name: str, trigger: Trigger, queue_name: pulumi.Input[str]
    ) -> aws.cloudwatch.EventRule:
        child = pulumi.ResourceOptions(parent=self)
        alarm = aws.cloudwatch.MetricAlarm(
            name,
            alarm_description=f"{trigger.meaning}: starts workers ({trigger.workers})",
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            threshold=trigger.threshold,
            # An idle SQS queue stops publishing: nothing waits then.
            treat_missing_data="notBreaching",
            **measured(trigger, queue_name),
            opts=child,
        )
        return aws.cloudwatch.EventRule(
            name,
            description=f"{name} enters ALARM",
            event_pattern=alarm.arn.apply(lambda arn: json.dumps(event_pattern(arn))),
            opts=child,
        )
