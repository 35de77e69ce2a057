"""Scaling mode `controller`: a state machine that asks the launcher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pulumi
import pulumi_aws as aws

from stack.components.controller_alarms import controller_alarms
from stack.components.json_text import as_json
from stack.components.launcher import TIMEOUT_SECONDS, Launcher, LauncherArgs
from stack.components.queue_alarms import UndeliveredEvents, age_alarm, alarm_rule
from stack.documents import scaling_policies, state_machine, trust

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stack.components.task_queue import TaskQueue
    from stack.components.worker_fleet import WorkerFleet
    from stack.model import StackContext
    from taskpacks.types import PackSpec, Scaling


_DELETION_SECONDS: Final = 300
"""The provider's own: https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/sfn/state_machine.go"""


def deletion_seconds(scaling: Scaling) -> int:
    """How long the deletion of a state machine may take.

    AWS waits until every execution has come to its next transition, which may be the end of the
    pause between two rounds or of a call of the launcher; the provider gives up after five minutes
    unless it gets a time-out.
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DeleteStateMachine.html
    """
    return scaling.round_seconds + TIMEOUT_SECONDS + _DELETION_SECONDS


@dataclass(frozen=True, kw_only=True)
class ControllerArgs:
    """The queue that the controller looks at, what it starts, and where its alarms go."""

    pack: str
    spec: PackSpec
    queue: TaskQueue
    fleet: WorkerFleet
    worker_log_group: pulumi.Input[str]
    topic_arn: pulumi.Input[str]
    context: StackContext


class Controller(pulumi.ComponentResource):
    """Starts as many workers as there is work for.

    The stack's Doorman wakes it. Consists of: a Launcher; the state machine that asks it, with its
    role and log group; an alarm on the oldest message's age with its rule that wakes the machine
    too, the role that it wakes it under, UndeliveredEvents; alarms for people.
    """

    rule_names: list[pulumi.Output[str]]
    summary: Mapping[str, pulumi.Input[str]]
    """Its part of the stack's outputs."""

    def __init__(
        self, name: str, args: ControllerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:Controller", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        launcher = Launcher(
            name,
            LauncherArgs(
                pack=args.pack,
                spec=args.spec,
                queue=args.queue,
                fleet=args.fleet,
                context=args.context,
            ),
            opts=child,
        )
        machine = self._machine(name, args, launcher)
        aws.iam.RolePolicy(
            f"{name}-launcher-executions",
            role=launcher.role_name,
            policy=as_json(machine.arn.apply(scaling_policies.list_executions)),
            opts=child,
        )
        self._wake(name, args, machine)
        for alarm in controller_alarms(args.context.stack, name, args.pack, args.spec.scaling):
            aws.cloudwatch.MetricAlarm(
                f"{name}-{alarm.name}",
                namespace=alarm.namespace,
                metric_name=alarm.metric,
                dimensions={**alarm.dimensions, **self._of_machine(alarm.of_machine, machine)},
                alarm_description=pulumi.Output.format(
                    alarm.description, worker_log=args.worker_log_group, machine=machine.name
                ),
                statistic="Sum",
                period=alarm.period_seconds,
                evaluation_periods=1,
                comparison_operator="GreaterThanOrEqualToThreshold",
                threshold=1,
                # Neither metric is there while nothing is wrong.
                treat_missing_data="notBreaching",
                alarm_actions=[args.topic_arn],
                ok_actions=[args.topic_arn],
                opts=child,
            )
        self.summary = {
            "scaling": "controller",
            "state_machine": machine.arn,
            "launcher_log_group": launcher.log_group_name,
        }
        self.register_outputs({"state_machine_arn": machine.arn})

    @staticmethod
    def _of_machine(
        of_machine: bool, machine: aws.sfn.StateMachine
    ) -> dict[str, pulumi.Output[str]]:
        return {"StateMachineArn": machine.arn} if of_machine else {}

    def _machine(self, name: str, args: ControllerArgs, launcher: Launcher) -> aws.sfn.StateMachine:
        child = pulumi.ResourceOptions(parent=self)
        log_group = aws.cloudwatch.LogGroup(
            f"{name}-controller",
            # With this prefix the log group does not take of the policy that all deliveries
            # share: https://docs.aws.amazon.com/step-functions/latest/dg/bp-cwl.html
            name=f"/aws/vendedlogs/states/{args.context.project}-{args.context.stack}-{name}",
            retention_in_days=args.context.log_retention_days,
            kms_key_id=args.context.kms_key,
            opts=child,
        )
        role, rights = self._role(
            f"{name}-controller",
            trust.STATES,
            pulumi.Output.all(
                launcher.arn, args.fleet.job_queue_arn, args.fleet.job_definition_arn
            ).apply(
                lambda arns: scaling_policies.controller(
                    arns[0], arns[1], arns[2], cap=args.spec.scaling.cap
                )
            ),
            args.context,
        )

        def definition(known: Sequence[str]) -> dict[str, object]:
            return state_machine.definition(
                launcher_arn=known[0],
                launcher_timeout_seconds=TIMEOUT_SECONDS,
                job_name=f"{name}-worker",
                job_queue_arn=known[1],
                job_definition=known[2],
                context=args.context,
            )

        machine = aws.sfn.StateMachine(
            f"{name}-controller",
            type="STANDARD",
            role_arn=role.arn,
            definition=as_json(
                pulumi.Output.all(
                    launcher.arn, args.fleet.job_queue_arn, args.fleet.job_definition_name
                ).apply(definition)
            ),
            # Decisions are in the launcher's log; here is what went wrong.
            logging_configuration={
                "level": "ERROR",
                "include_execution_data": True,
                "log_destination": pulumi.Output.concat(log_group.arn, ":*"),
            },
            # AWS refuses a machine whose role may not write its log.
            # https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[rights],
                custom_timeouts=pulumi.CustomTimeouts(
                    delete=f"{deletion_seconds(args.spec.scaling)}s"
                ),
            ),
        )
        aws.iam.RolePolicy(
            f"{name}-controller-renew",
            role=role.name,
            policy=as_json(machine.arn.apply(scaling_policies.start_execution)),
            opts=child,
        )
        return machine

    def _wake(self, name: str, args: ControllerArgs, machine: aws.sfn.StateMachine) -> None:
        child = pulumi.ResourceOptions(parent=self)
        role, _ = self._role(
            f"{name}-wake",
            trust.EVENTS,
            machine.arn.apply(scaling_policies.start_execution),
            args.context,
        )
        # The doorman wakes it within a minute; this is for when the doorman cannot.
        rule = alarm_rule(
            f"{name}-age",
            age_alarm(args.spec.scaling),
            args.queue.name,
            does="wakes the controller",
            parent=self,
        )
        undelivered = UndeliveredEvents(name, kms_key=args.context.kms_key, opts=child)
        aws.cloudwatch.EventTarget(
            f"{name}-age",
            rule=rule.name,
            arn=machine.arn,
            role_arn=role.arn,
            dead_letter_config={"arn": undelivered.arn},
            opts=child,
        )
        undelivered.allow([rule])
        self.rule_names = [rule.name]

    def _role(
        self,
        name: str,
        service: str,
        policy: pulumi.Output[dict[str, object]],
        context: StackContext,
    ) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            name,
            assume_role_policy=as_json(trust.trust(service, context)),
            opts=child,
        )
        rights = aws.iam.RolePolicy(name, role=role.name, policy=as_json(policy), opts=child)
        return role, rights
