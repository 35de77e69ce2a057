"""The job definition and job queue of a deployment's workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from stack.components.json_text import as_json
from stack.hardware import shapes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stack.before_delete import Guards
    from stack.components.machines import Machines
    from taskpacks.types import Resources


@dataclass(frozen=True, kw_only=True)
class WorkerFleetArgs:
    """A worker's hardware and machines, image, command, environment, roles and log."""

    resources: Resources
    machines: Machines
    guards: Guards
    assign_public_ip: bool
    image: pulumi.Input[str]
    command: tuple[str, ...]
    environment: Mapping[str, pulumi.Input[str]]
    secrets: Mapping[str, str]
    worker_role_arn: pulumi.Input[str]
    execution_role_arn: pulumi.Input[str]
    log_group_name: pulumi.Input[str]
    worker_lifetime_seconds: int
    after: Sequence[pulumi.Resource]
    """Resources that a worker needs when it starts, and that its settings only name."""


class WorkerFleet(pulumi.ComponentResource):
    """The jobs that are a deployment's workers.

    Consists of: a job queue on the deployment's machines, and a job definition.
    """

    job_queue_arn: pulumi.Output[str]
    job_definition_name: pulumi.Output[str]
    """The name that is submitted: it stands for its latest active revision, so that every
    submission uses a new one at once, even that of an execution that began before."""
    job_definition_arn: pulumi.Output[str]
    """Without a revision."""

    def __init__(
        self, name: str, args: WorkerFleetArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:WorkerFleet", name, None, opts)
        kind = shapes.kind(args.resources)
        job_queue = aws.batch.JobQueue(
            # Other machines are another job queue, not an update of this one: it is there before
            # anybody turns to it, and the old one goes last.
            f"{name}-jobs-{kind}",
            state="ENABLED",
            priority=1,
            compute_environment_orders=[
                aws.batch.JobQueueComputeEnvironmentOrderArgs(order=order, compute_environment=arn)
                for order, arn in enumerate(args.machines.environment_arns)
            ],
            job_state_time_limit_actions=[
                aws.batch.JobQueueJobStateTimeLimitActionArgs(**action)
                for action in shapes.state_time_limits()
            ],
            opts=pulumi.ResourceOptions(
                parent=self,
                # `taskpacks.pause` disables it, and `pulumi up --refresh` keeps that.
                ignore_changes=["state"],
                hooks=pulumi.ResourceHookBinding(before_delete=[args.guards.workers]),
            ),
        )
        job_definition = aws.batch.JobDefinition(
            # As the job queue's: what knows the old pair goes on submitting what runs there.
            f"{name}-worker-{kind}",
            type="container",
            propagate_tags=True,
            platform_capabilities=[args.resources.platform.upper()],
            container_properties=self._container_properties(args),
            retry_strategy=aws.batch.JobDefinitionRetryStrategyArgs(
                attempts=shapes.WORKER_ATTEMPTS,
                evaluate_on_exits=[
                    aws.batch.JobDefinitionRetryStrategyEvaluateOnExitArgs(**rule)
                    for rule in shapes.evaluate_on_exit()
                ],
            ),
            timeout={"attempt_duration_seconds": args.worker_lifetime_seconds},
            # A revision for other machines comes when there are such machines.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[job_queue, *args.after]),
        )
        self.job_queue_arn = job_queue.arn
        self.job_definition_name = job_definition.name
        self.job_definition_arn = job_definition.arn_prefix
        self.register_outputs(
            {
                "job_queue_arn": self.job_queue_arn,
                "job_definition_name": self.job_definition_name,
            }
        )

    def _container_properties(self, args: WorkerFleetArgs) -> pulumi.Output[str]:
        def properties(values: Sequence[Any]) -> dict[str, Any]:
            image, environment, job_role_arn, execution_role_arn, log_group = values
            return shapes.container_properties(
                args.resources,
                image=image,
                command=args.command,
                environment=environment,
                secrets=args.secrets,
                job_role_arn=job_role_arn,
                execution_role_arn=execution_role_arn,
                log_group=log_group,
                assign_public_ip=args.assign_public_ip,
            )

        return as_json(
            pulumi.Output.all(
                args.image,
                args.environment,
                args.worker_role_arn,
                args.execution_role_arn,
                args.log_group_name,
            ).apply(properties)
        )
