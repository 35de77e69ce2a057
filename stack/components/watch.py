"""Alarms of a deployment for people; each says what is wrong and where to look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pulumi
import pulumi_aws as aws

from stack.components.json_text import as_json
from stack.components.queue_alarms import late_alarm, measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskpacks.types import Scaling

PERIOD_SECONDS: Final = 300
LATE_PERIODS: Final = 5
"""For so many minutes in a row: a message that comes while an old task runs is seen for one."""


def blocked_pattern(job_queue_arn: str) -> dict[str, Any]:
    """Matches the event that Batch sends when a job cannot start and holds up the job queue.

    Batch knows the cause (no capacity, wrong roles, a shape that no instance has, a compute
    environment at its limit) and says it in the event's statusReason.
    Source: https://docs.aws.amazon.com/batch/latest/userguide/batch-job-queue-blocked-events.html
    """
    return {
        "source": ["aws.batch"],
        "detail-type": ["Batch Job Queue Blocked"],
        "detail": {"jobQueue": [job_queue_arn]},
    }


def failed_invocations(rule_names: Sequence[pulumi.Input[str]]) -> dict[str, Any]:
    """How often EventBridge could not invoke a target of any of the rules, as metric math.

    Returns:
        Arguments of MetricAlarm.

    Source: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
    """
    failed = [f"failed{index}" for index in range(len(rule_names))]
    queries = [
        {
            "id": "failed",
            "expression": f"SUM([{', '.join(failed)}])",
            "label": "FailedInvocations of the deployment's rules",
            "return_data": True,
        },
        *(
            {
                "id": metric,
                "metric": {
                    "namespace": "AWS/Events",
                    "metric_name": "FailedInvocations",
                    "dimensions": {"RuleName": rule},
                    "period": PERIOD_SECONDS,
                    "stat": "Sum",
                },
                "return_data": False,
            }
            for metric, rule in zip(failed, rule_names, strict=True)
        ),
    ]
    return {"metric_queries": queries}


@dataclass(frozen=True, kw_only=True)
class WatchArgs:
    """The resources that are watched, and where notices go."""

    queue_name: pulumi.Input[str]
    scaling: Scaling
    dead_letter_name: pulumi.Input[str]
    worker_log_group: pulumi.Input[str]
    rule_names: Sequence[pulumi.Input[str]]
    job_queue_arn: pulumi.Output[str]
    topic_arn: pulumi.Input[str]


class Watch(pulumi.ComponentResource):
    """Notifies people when a deployment needs them.

    Consists of: an alarm on messages in the dead-letter queue, one on a message that waits too
    long, one on rules that could not invoke their target, and a rule that passes on Batch's
    word of a blocked job queue.
    """

    muted_while_paused: pulumi.Output[str]
    """Names of the alarms that would ring only because nothing is started, with commas."""

    def __init__(
        self, name: str, args: WatchArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:Watch", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        aws.cloudwatch.MetricAlarm(
            f"{name}-dead-letters",
            alarm_description=pulumi.Output.format(
                "{0}: tasks were given up. The lines with DeadLetter or poison in the workers' log "
                "({1}) say why; when that is fixed, redrive the queue {2} (docs/operations.md)",
                name,
                args.worker_log_group,
                args.dead_letter_name,
            ),
            namespace="AWS/SQS",
            metric_name="ApproximateNumberOfMessagesVisible",
            dimensions={"QueueName": args.dead_letter_name},
            statistic="Maximum",
            **_above_zero(args),
            period=PERIOD_SECONDS,
            opts=child,
        )
        late = late_alarm(args.scaling)
        # `taskpacks.pause` mutes them, and `pulumi up --refresh` keeps it.
        pausable = pulumi.ResourceOptions(parent=self, ignore_changes=["actions_enabled"])
        waits = aws.cloudwatch.MetricAlarm(
            f"{name}-{late.name}",
            alarm_description=f"{name}: {late.meaning}. Look whether workers start, and whether "
            "they take messages (docs/operations.md)",
            **measured(late, args.queue_name),
            comparison_operator="GreaterThanThreshold",
            threshold=late.threshold,
            evaluation_periods=LATE_PERIODS,
            treat_missing_data="notBreaching",
            alarm_actions=[args.topic_arn],
            ok_actions=[args.topic_arn],
            opts=pausable,
        )
        undelivered = aws.cloudwatch.MetricAlarm(
            f"{name}-failed-invocations",
            alarm_description=f"{name}: EventBridge could not start the targets of its rules; the "
            "events wait in the queue of undelivered ones",
            **failed_invocations(args.rule_names),
            **_above_zero(args),
            opts=pausable,
        )
        # A disabled job queue takes no jobs from the rules of mode `alarms`.
        self.muted_while_paused = pulumi.Output.concat(waits.name, ",", undelivered.name)
        blocked = aws.cloudwatch.EventRule(
            f"{name}-blocked",
            description=f"{name}: a job cannot start",
            event_pattern=as_json(args.job_queue_arn.apply(blocked_pattern)),
            opts=child,
        )
        aws.cloudwatch.EventTarget(
            f"{name}-blocked", rule=blocked.name, arn=args.topic_arn, opts=child
        )
        self.register_outputs({})


def _above_zero(args: WatchArgs) -> dict[str, Any]:
    return {
        "comparison_operator": "GreaterThanThreshold",
        "threshold": 0,
        "evaluation_periods": 1,
        # Nothing is published while nothing happens.
        "treat_missing_data": "notBreaching",
        "alarm_actions": [args.topic_arn],
    }
