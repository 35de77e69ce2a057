"""The function that looks once a minute where messages wait, for the whole stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pulumi
import pulumi_aws as aws

from launcher.settings import FOLDER_VARIABLE
from stack.components.python_function import invoked_by, python_function
from stack.components.watch import failed_invocations
from stack.documents import scaling_policies
from taskpacks import limits

if TYPE_CHECKING:
    from collections.abc import Collection

    from stack.model import StackContext
    from taskpacks.types import ScalingMode

HANDLER: Final = "launcher.doorman.handle"
TIMEOUT_SECONDS: Final = 30
"""Its calls end sooner: launcher/doorman.py."""
_LOOKED_AT_MINUTES: Final = 5
_FAILED_MINUTES: Final = 3


@dataclass(frozen=True, kw_only=True)
class DoormanArgs:
    """How the stack's deployments are scaled, and where alarms go."""

    modes: Collection[ScalingMode]
    topic_arn: pulumi.Input[str]
    context: StackContext


class Doorman(pulumi.ComponentResource):
    """Starts what decides, or a worker, where messages wait and nothing is at work.

    It finds the deployments by their records, so that a deployment that comes or goes changes
    nothing here.

    Consists of: a Lambda function, its role with one policy, its log group; a rule that invokes it
    every minute, its target, and the function's leave for it; two alarms for people.
    """

    function: aws.lambda_.Function

    def __init__(
        self, name: str, args: DoormanArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:Doorman", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        made = python_function(
            name,
            description="Looks once a minute where messages wait",
            handler=HANDLER,
            timeout_seconds=TIMEOUT_SECONDS,
            variables={FOLDER_VARIABLE: args.context.folder},
            may=lambda log_group_arn: log_group_arn.apply(
                lambda arn: scaling_policies.doorman(arn, args.modes, context=args.context)
            ),
            context=args.context,
            parent=self,
        )
        rule = aws.cloudwatch.EventRule(
            name,
            description="Has the doorman look where messages wait",
            schedule_expression="rate(1 minute)",
            opts=child,
        )
        invoked_by(name, rule, made.function, parent=self)
        self.function = made.function
        aws.cloudwatch.MetricAlarm(
            f"{name}-failed",
            alarm_description=pulumi.Output.format(
                "The doorman could not look at a deployment in {0} of {1} minutes: messages there "
                "wait for their age alarm. Its log ({2}) says which and why (docs/operations.md)",
                _FAILED_MINUTES,
                _LOOKED_AT_MINUTES,
                made.log_group.name,
            ),
            namespace="AWS/Lambda",
            metric_name="Errors",
            dimensions={"FunctionName": made.function.name},
            statistic="Sum",
            period=limits.METRIC_PERIOD_SECONDS,
            evaluation_periods=_LOOKED_AT_MINUTES,
            datapoints_to_alarm=_FAILED_MINUTES,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
            treat_missing_data="notBreaching",
            alarm_actions=[args.topic_arn],
            ok_actions=[args.topic_arn],
            opts=child,
        )
        aws.cloudwatch.MetricAlarm(
            f"{name}-failed-invocations",
            alarm_description="EventBridge could not invoke the doorman: messages wait for the "
            "age alarm of their deployment",
            **failed_invocations([rule.name]),
            comparison_operator="GreaterThanThreshold",
            threshold=0,
            evaluation_periods=1,
            treat_missing_data="notBreaching",
            alarm_actions=[args.topic_arn],
            opts=child,
        )
        self.register_outputs({})
