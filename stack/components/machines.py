"""The machines that workers run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from stack.components import tags
from stack.components.json_text import as_json
from stack.documents import policies, trust
from stack.hardware import shapes
from stack.hardware.pools import Pool, pools
from stack.model import short_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from stack.before_delete import Guards
    from stack.components.image_repository import ImageRepository
    from stack.components.network import Network
    from stack.model import StackContext, StackSettings


@dataclass(frozen=True, kw_only=True)
class MachinesArgs:
    """Who runs on the machines, and in which network.

    Attributes:
        pool: Whose machines they are.
        network: Where they are.
        own_network_ids: Subnets and security groups that the operator gave; empty where a network
            is made.
        images: Where the workers' images are.
        instance_tags: On EC2 instances and their volumes, which do not take over what their
            compute environment carries:
            https://docs.aws.amazon.com/batch/latest/APIReference/API_ComputeResource.html
        machine_image_generation: EC2 only: raised to have the newest machine image.
        context: The stack's.
    """

    pool: Pool
    network: Network
    own_network_ids: tuple[str, ...]
    images: ImageRepository
    instance_tags: Mapping[str, str]
    machine_image_generation: int
    guards: Guards
    context: StackContext


class Machines(pulumi.ComponentResource):
    """Compute environments, which hold machines only while there are jobs.

    Consists of: one compute environment for each way of purchase; on EC2 also a launch
    template (IMDSv2 only, an encrypted volume), and the instances' role and profile.

    Other machines are other compute environments under other names, never an update: they are
    there before the job queue turns to them, and the old ones go last.
    """

    environment_arns: tuple[pulumi.Output[str], ...]
    """In the order in which a job queue tries them."""

    def __init__(
        self, name: str, args: MachinesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:Machines", name, None, opts)
        # AWS needs these until the last machine is gone.
        self._until_the_end = list(args.network.connections)
        if args.pool.shape.platform == "ec2":
            environments = self._on_ec2(name, args)
        else:
            environments = self._on_fargate(name, args)
        self.environment_arns = tuple(each.arn for each in environments)
        self.register_outputs({"environment_arns": list(self.environment_arns)})

    def _on_fargate(self, name: str, args: MachinesArgs) -> list[aws.batch.ComputeEnvironment]:
        shape = args.pool.shape
        return [
            self._environment(
                f"{name}-{purchase}-fargate",
                args,
                {"type": shapes.compute_type(shape.platform, purchase)},
            )
            for purchase in shape.purchases
        ]

    def _on_ec2(self, name: str, args: MachinesArgs) -> list[aws.batch.ComputeEnvironment]:
        shape = args.pool.shape
        template = self._launch_template(name, args)
        prefix = args.pool.environments(args.context)
        common = {
            "min_vcpus": 0,
            "instance_role": self._instance_profile(name, args).arn,
            "launch_template": {
                "launch_template_id": template.id,
                "version": template.latest_version.apply(str),
            },
            "tags": args.instance_tags,
        }
        environments: list[aws.batch.ComputeEnvironment] = []
        for purchase in shape.purchases:
            digest = shapes.machines_digest(
                shape,
                purchase,
                network_ids=args.own_network_ids,
                tags=args.instance_tags,
                kms_key=args.context.kms_key,
                machine_image_generation=args.machine_image_generation,
            )
            environments.append(
                self._environment(
                    f"{prefix}-{purchase}-{shape.architecture}-{digest}",
                    args,
                    {**common, **shapes.instance_settings(shape, purchase)},
                )
            )
        return environments

    def _environment(
        self, name: str, args: MachinesArgs, resources: Mapping[str, Any]
    ) -> aws.batch.ComputeEnvironment:
        return aws.batch.ComputeEnvironment(
            name,
            type="MANAGED",
            compute_resources=aws.batch.ComputeEnvironmentComputeResourcesArgs(
                max_vcpus=args.pool.max_vcpus,
                subnets=args.network.subnet_ids,
                security_group_ids=args.network.security_group_ids,
                **resources,
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=self._until_the_end,
                # Of these, what the region offers may change: see `shapes.machines_digest`.
                ignore_changes=["computeResources.instanceTypes"],
                hooks=pulumi.ResourceHookBinding(before_delete=[args.guards.workers]),
            ),
        )

    def _launch_template(self, name: str, args: MachinesArgs) -> aws.ec2.LaunchTemplate:
        content = shapes.launch_template(args.pool.shape.volume_gib, args.context.kms_key)
        return aws.ec2.LaunchTemplate(
            f"{name}-instance-{short_digest(content)}",
            **content,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _instance_profile(self, name: str, args: MachinesArgs) -> aws.iam.InstanceProfile:
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-instance",
            assume_role_policy=as_json(trust.trust(trust.EC2, args.context)),
            opts=child,
        )
        of_deployments = args.pool.deployments
        prefix = args.pool.environments(args.context)
        policy = aws.iam.RolePolicy(
            # Another prefix is another policy, so that machines that run keep theirs.
            f"{prefix}-instance",
            role=role.name,
            policy=as_json(
                pulumi.Output.all(*map(args.images.repository_arn, of_deployments)).apply(
                    lambda arns: policies.instance(
                        args.context,
                        environments=prefix,
                        repository_arns=arns,
                        log_group_arns=[
                            args.context.worker_log_group_arn(each.name) for each in of_deployments
                        ],
                    )
                )
            ),
            opts=child,
        )
        self._until_the_end.append(policy)
        return aws.iam.InstanceProfile(f"{name}-instance", role=role.name, opts=child)


def machines_of(
    settings: StackSettings,
    *,
    offered: Collection[str],
    network: Network,
    images: ImageRepository,
    guards: Guards,
    context: StackContext,
) -> dict[str, Machines]:
    """Makes the machines of a stack.

    Args:
        settings: The stack's.
        offered: The instance types that its region has.
        network: Where the machines are.
        images: Where the workers' images are.
        guards: What waits for workers before machines are deleted.
        context: The stack's.

    Returns:
        Those of each deployment, by its name.
    """
    shared = settings.share_compute_environments
    found: dict[str, Machines] = {}
    for pool in pools(settings.deployments, shared=shared, offered=offered):
        first = pool.deployments[0]
        own_tags = {} if shared else tags.of_deployment(first.name, first.pack.name)
        made = Machines(
            pool.name,
            MachinesArgs(
                pool=pool,
                network=network,
                own_network_ids=(*settings.subnet_ids, *settings.security_group_ids),
                images=images,
                instance_tags={**tags.of_stack(context.stack, settings.owner), **own_tags},
                machine_image_generation=settings.machine_image_generation,
                guards=guards,
                context=context,
            ),
            opts=pulumi.ResourceOptions(transformations=[tags.adding(own_tags)]),
        )
        found |= {deployment.name: made for deployment in pool.deployments}
    return found
