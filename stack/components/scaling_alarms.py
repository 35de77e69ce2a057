"""Scaling mode `alarms`: each alarm on the task queue has a rule that starts a Batch job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from stack.components.json_text import as_json
from stack.components.queue_alarms import (
    VISIBLE,
    QueueAlarm,
    UndeliveredEvents,
    age_alarm,
    alarm_rule,
)
from stack.documents import scaling_policies, trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stack.model import StackContext
    from taskpacks.types import Scaling


@dataclass(frozen=True)
class Trigger:
    """An alarm, and how many workers start when it enters ALARM."""

    alarm: QueueAlarm
    workers: int


def triggers(scaling: Scaling) -> tuple[Trigger, ...]:
    """A shallow queue, a deep one, an old message."""
    return (
        Trigger(
            QueueAlarm(
                name="depth-low",
                metric=VISIBLE,
                threshold=scaling.low_depth,
                meaning=f"{scaling.low_depth} messages or more wait",
            ),
            workers=scaling.low_workers,
        ),
        Trigger(
            QueueAlarm(
                name="depth-high",
                metric=VISIBLE,
                threshold=scaling.high_depth,
                meaning=f"{scaling.high_depth} messages or more wait",
            ),
            workers=scaling.high_workers,
        ),
        Trigger(age_alarm(scaling), workers=1),
    )


@dataclass(frozen=True, kw_only=True)
class ScalingAlarmsArgs:
    """The task queue that is watched, and the job that is submitted."""

    scaling: Scaling
    queue_name: pulumi.Input[str]
    job_queue_arn: pulumi.Output[str]
    job_definition_name: pulumi.Output[str]
    job_definition_arn: pulumi.Output[str]
    context: StackContext


class ScalingAlarms(pulumi.ComponentResource):
    """Starts workers when messages wait.

    Consists of: for each trigger an alarm, a rule and its Batch target (one job, or an array
    job); the role that EventBridge submits under; UndeliveredEvents.
    """

    rule_names: list[pulumi.Output[str]]
    summary: Mapping[str, pulumi.Input[str]]
    """Its part of the stack's outputs."""

    def __init__(
        self, name: str, args: ScalingAlarmsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:ScalingAlarms", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = self._submit_role(name, args)
        undelivered = UndeliveredEvents(name, kms_key=args.context.kms_key, opts=child)
        rules: list[aws.cloudwatch.EventRule] = []
        for trigger in triggers(args.scaling):
            trigger_name = f"{name}-{trigger.alarm.name}"
            rule = alarm_rule(
                trigger_name,
                trigger.alarm,
                args.queue_name,
                does=f"starts workers ({trigger.workers})",
                parent=self,
            )
            rules.append(rule)
            # No retry strategy: it would override the job definition's own.
            aws.cloudwatch.EventTarget(
                trigger_name,
                rule=rule.name,
                arn=args.job_queue_arn,
                role_arn=role.arn,
                batch_target=aws.cloudwatch.EventTargetBatchTargetArgs(
                    job_definition=args.job_definition_name,
                    job_name=trigger_name,
                    array_size=trigger.workers if trigger.workers > 1 else None,
                ),
                dead_letter_config={"arn": undelivered.arn},
                opts=child,
            )
        undelivered.allow(rules)
        self.rule_names = [rule.name for rule in rules]
        self.summary = {"scaling": "alarms"}
        self.register_outputs({})

    def _submit_role(self, name: str, args: ScalingAlarmsArgs) -> aws.iam.Role:
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-submit",
            assume_role_policy=as_json(trust.trust(trust.EVENTS, args.context)),
            opts=child,
        )
        aws.iam.RolePolicy(
            f"{name}-submit",
            role=role.name,
            policy=as_json(
                pulumi.Output.all(args.job_queue_arn, args.job_definition_arn).apply(
                    lambda arns: scaling_policies.submit(arns[0], arns[1])
                )
            ),
            opts=child,
        )
        return role
