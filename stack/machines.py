"""The machines that workers run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from stack import documents, hardware, policies, tags
from stack.pools import Pool, pools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stack.model import StackContext
    from stack.network import Network
    from stack.settings import Deployment


@dataclass(frozen=True, kw_only=True)
class MachinesArgs:
    """Who runs on the machines, and in which network."""

    pool: Pool
    network: Network
    context: StackContext


class Machines(pulumi.ComponentResource):
    """Compute environments, which hold machines only while there are jobs.

    Consists of: one compute environment for each way of purchase; on EC2 also a launch
    template (IMDSv2 only, an encrypted volume), and the instances' role and profile.
    """

    environment_arns: tuple[pulumi.Output[str], ...]
    """In the order in which a job queue tries them."""

    def __init__(
        self, name: str, args: MachinesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:Machines", name, None, opts)
        self._rights: list[pulumi.Resource] = []
        on_ec2 = self._instances(name, args) if args.pool.shape.platform == "ec2" else {}
        self.environment_arns = tuple(
            self._environment(name, purchase, on_ec2, args)
            for purchase in args.pool.shape.purchases
        )
        self.register_outputs({"environment_arns": list(self.environment_arns)})

    def _environment(
        self, name: str, purchase: str, on_ec2: Mapping[str, Any], args: MachinesArgs
    ) -> pulumi.Output[str]:
        strategy: dict[str, Any] = {}
        policy = None
        if on_ec2:
            strategy = {"allocation_strategy": hardware.allocation_strategy(purchase)}
            policy = aws.batch.ComputeEnvironmentUpdatePolicyArgs(
                job_execution_timeout_minutes=args.pool.update_minutes,
                terminate_jobs_on_update=False,
            )
        # Machines of another architecture or platform are another environment, not an update of
        # this one: it is there before the job queue turns to it, and the old one goes last.
        kind = args.pool.shape.architecture if on_ec2 else args.pool.shape.platform
        return aws.batch.ComputeEnvironment(
            f"{name}-{purchase}-{kind}",
            type="MANAGED",
            compute_resources=aws.batch.ComputeEnvironmentComputeResourcesArgs(
                type=hardware.compute_type(args.pool.shape.platform, purchase),
                max_vcpus=args.pool.max_vcpus,
                subnets=args.network.subnet_ids,
                security_group_ids=args.network.security_group_ids,
                **on_ec2,
                **strategy,
            ),
            update_policy=policy,
            opts=pulumi.ResourceOptions(
                # AWS needs these until the last machine is gone.
                parent=self,
                depends_on=[*args.network.connections, *self._rights],
            ),
        ).arn

    def _instances(self, name: str, args: MachinesArgs) -> dict[str, Any]:
        shape = args.pool.shape
        template = self._launch_template(name, shape.volume_gib)
        return {
            "min_vcpus": 0,
            "instance_types": list(shape.instance_types),
            "instance_role": self._instance_profile(name, args.context.partition).arn,
            "ec2_configurations": [{"image_type": shape.image_type}],
            "launch_template": aws.batch.ComputeEnvironmentComputeResourcesLaunchTemplateArgs(
                launch_template_id=template.id,
                # Its number, not "$Latest", so that a change of it reaches the instances.
                version=template.latest_version.apply(str),
            ),
        }

    def _launch_template(self, name: str, volume_gib: int) -> aws.ec2.LaunchTemplate:
        return aws.ec2.LaunchTemplate(
            f"{name}-instance",
            metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled",
                http_tokens="required",
                http_put_response_hop_limit=hardware.METADATA_HOPS,
            ),
            block_device_mappings=[
                aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
                    device_name=hardware.ROOT_DEVICE,
                    ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                        volume_type="gp3",
                        volume_size=volume_gib,
                        encrypted="true",
                        delete_on_termination="true",
                    ),
                )
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _instance_profile(self, name: str, partition: str) -> aws.iam.InstanceProfile:
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-instance",
            assume_role_policy=documents.as_json(policies.trust(policies.EC2)),
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


def _tagged(deployment: Deployment) -> pulumi.ResourceOptions:
    own = tags.of_deployment(deployment.name, deployment.pack.name)
    return pulumi.ResourceOptions(transformations=[tags.adding(own)])


def machines_of(
    deployments: Sequence[Deployment], *, shared: bool, network: Network, context: StackContext
) -> dict[str, Machines]:
    """Makes the machines of a stack.

    Returns:
        Those of each deployment, by its name.
    """
    found: dict[str, Machines] = {}
    for pool in pools(deployments, shared=shared):
        made = Machines(
            pool.name,
            MachinesArgs(pool=pool, network=network, context=context),
            opts=None if shared else _tagged(pool.deployments[0]),
        )
        found |= {deployment.name: made for deployment in pool.deployments}
    return found
