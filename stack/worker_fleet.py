"""Where and how a deployment's workers run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from stack import hardware, policies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stack.network import Network
    from taskpacks.types import Resources


@dataclass(frozen=True, kw_only=True)
class WorkerFleetArgs:
    """A worker's hardware, image, command, environment, roles and log."""

    resources: Resources
    network: Network
    image: pulumi.Input[str]
    command: tuple[str, ...]
    environment: Mapping[str, pulumi.Input[str]]
    secrets: Mapping[str, str]
    worker_role_arn: pulumi.Input[str]
    execution_role_arn: pulumi.Input[str]
    log_group_name: pulumi.Input[str]
    worker_lifetime_seconds: int
    partition: str


class WorkerFleet(pulumi.ComponentResource):
    """Machines that exist only while there are jobs, and what a job runs.

    Consists of: a compute environment, a job queue, a job definition; on EC2 also the
    instances' role and profile.
    """

    job_queue_arn: pulumi.Output[str]
    job_definition_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: WorkerFleetArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:WorkerFleet", name, None, opts)
        self._rights: list[pulumi.Resource] = []
        compute_resources = self._compute_resources(name, args)
        environment = aws.batch.ComputeEnvironment(
            f"{name}-compute",
            type="MANAGED",
            compute_resources=compute_resources,
            opts=pulumi.ResourceOptions(
                # AWS needs these until the last machine is gone.
                parent=self,
                depends_on=[*args.network.connections, *self._rights],
            ),
        )
        job_queue = aws.batch.JobQueue(
            f"{name}-jobs",
            state="ENABLED",
            priority=1,
            compute_environment_orders=[{"order": 0, "compute_environment": environment.arn}],
            opts=pulumi.ResourceOptions(parent=self),
        )
        job_definition = aws.batch.JobDefinition(
            f"{name}-worker",
            type="container",
            platform_capabilities=[args.resources.platform.upper()],
            container_properties=self._container_properties(args),
            retry_strategy=aws.batch.JobDefinitionRetryStrategyArgs(
                attempts=hardware.WORKER_ATTEMPTS,
                evaluate_on_exits=[
                    aws.batch.JobDefinitionRetryStrategyEvaluateOnExitArgs(**rule)
                    for rule in hardware.EVALUATE_ON_EXIT
                ],
            ),
            timeout={"attempt_duration_seconds": args.worker_lifetime_seconds},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.job_queue_arn = job_queue.arn
        self.job_definition_arn = job_definition.arn
        self.register_outputs(
            {
                "job_queue_arn": self.job_queue_arn,
                "job_definition_arn": self.job_definition_arn,
            }
        )

    def _compute_resources(
        self, name: str, args: WorkerFleetArgs
    ) -> aws.batch.ComputeEnvironmentComputeResourcesArgs:
        resources = args.resources
        on_ec2: dict[str, Any] = {}
        if resources.platform == "ec2":
            on_ec2 = {
                "min_vcpus": 0,
                "instance_types": hardware.instance_types(resources),
                "instance_role": self._instance_profile(name, args.partition).arn,
                "allocation_strategy": hardware.allocation_strategy(resources),
                "ec2_configurations": [{"image_type": hardware.image_type(resources)}],
            }
        return aws.batch.ComputeEnvironmentComputeResourcesArgs(
            type=hardware.compute_type(resources),
            max_vcpus=resources.max_vcpus,
            subnets=args.network.subnet_ids,
            security_group_ids=args.network.security_group_ids,
            **on_ec2,
        )

    def _instance_profile(self, name: str, partition: str) -> aws.iam.InstanceProfile:
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-instance",
            assume_role_policy=pulumi.Output.json_dumps(policies.trust(policies.EC2)),
            opts=child,
        )
        attachment = aws.iam.RolePolicyAttachment(
            f"{name}-instance",
            role=role.name,
            policy_arn=policies.ecs_instance(partition),
            opts=child,
        )
        self._rights.append(attachment)
        return aws.iam.InstanceProfile(f"{name}-instance", role=role.name, opts=child)

    def _container_properties(self, args: WorkerFleetArgs) -> pulumi.Output[str]:
        def properties(values: Sequence[Any]) -> dict[str, Any]:
            image, environment, job_role_arn, execution_role_arn, log_group = values
            return hardware.container_properties(
                args.resources,
                image=image,
                command=args.command,
                environment=environment,
                secrets=args.secrets,
                job_role_arn=job_role_arn,
                execution_role_arn=execution_role_arn,
                log_group=log_group,
                assign_public_ip=args.network.assign_public_ip,
            )

        return pulumi.Output.json_dumps(
            pulumi.Output.all(
                args.image,
                args.environment,
                args.worker_role_arn,
                args.execution_role_arn,
                args.log_group_name,
            ).apply(properties)
        )
