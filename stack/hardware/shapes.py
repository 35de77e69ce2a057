"""Translates a deployment's resources to AWS Batch's terms, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from stack.hardware import instances
from stack.model import short_digest
from taskpacks import limits
from taskpacks.contract import ExitCode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from taskpacks.types import Resources

WORKER_ATTEMPTS: Final = 3
"""Batch starts a worker again when its machine was taken from it, at most so often in all."""

MACHINE_TAKEN: Final = (
    # https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html
    "Host EC2*",
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html
    "Your Spot Task was interrupted*",
)
"""How the status reason of a job begins whose machine was taken: of EC2, and of Fargate."""

NEVER_RUNS: Final = (
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
)
"""Why a job that waits at the head of its job queue can never run. Not among them: waiting for
capacity, which may come.
https://docs.aws.amazon.com/batch/latest/userguide/job_stuck_in_runnable_time_limit_actions.html"""

ROOT_DEVICE: Final = "/dev/xvda"
"""The device of the Amazon Linux 2023 images where containers have their files.
https://docs.aws.amazon.com/batch/latest/userguide/launch-templates.html"""
ROOT_GIB: Final = 30
"""The size of the machine image's own volume, for the system and the container image."""
METADATA_HOPS: Final = 1
"""How far the metadata service's answers go: workers have their instance's own network, and look
for Spot notices there. More would let containers behind a bridge reach the instance's role too.
https://docs.aws.amazon.com/batch/latest/userguide/networking-modes-jobs.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html"""

ON_DEMAND: Final = "on-demand"
SPOT: Final = "spot"
_PURCHASES: Final = {
    "on_demand": (ON_DEMAND,),
    "spot": (SPOT,),
    "spot_then_on_demand": (SPOT, ON_DEMAND),
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The hardware that a compute environment must offer; deployments of equal shape can share one.

    Attributes:
        platform: "fargate" or "ec2".
        purchases: "spot" or "on-demand", in the order in which a job queue tries them.
        instance_types: EC2 only: what Batch may choose from where the machines are.
        wanted_types: EC2 only: what it may choose from where all are offered. Only these tell one
            shape from another: what a region offers changes from one day to another.
        architecture: EC2 only: on Fargate each job brings its own.
        image_type: EC2 only: the machine image, named so that it never changes by default.
        volume_gib: EC2 only: an instance's encrypted volume.
    """

    platform: str
    purchases: tuple[str, ...]
    instance_types: tuple[str, ...] = ()
    wanted_types: tuple[str, ...] = ()
    architecture: str = ""
    image_type: str = ""
    volume_gib: int = 0

    @property
    def label(self) -> str:
        """A name for it in a stack: readable, and another one for another shape."""
        label = f"{self.platform}-{'-then-'.join(self.purchases)}"
        if self.platform == "ec2":
            exact = (self.wanted_types, self.architecture, self.image_type, self.volume_gib)
            label += f"-{short_digest(*exact)}"
        return label


def shape(resources: Resources, offered: Collection[str] | None = None) -> Shape:
    """Returns what the compute environments of a deployment must offer.

    Args:
        resources: Of a worker.
        offered: The instance types of the region; None where these are not known.
    """
    purchases = _PURCHASES[resources.purchase]
    if resources.platform == "fargate":
        return Shape(platform="fargate", purchases=purchases)
    types, wanted = instances.fitting(resources, offered), instances.fitting(resources)
    at_once = instances.workers_at_once((*wanted, *types), resources)
    return Shape(
        platform="ec2",
        purchases=purchases,
        instance_types=types,
        wanted_types=wanted,
        architecture=resources.architecture,
        image_type="ECS_AL2023_NVIDIA" if resources.gpus else "ECS_AL2023",
        volume_gib=ROOT_GIB + resources.scratch_gib * at_once,
    )


def refusals(resources: Resources) -> list[str]:
    """Says what AWS would never place, each with the value, the rule and the remedy.

    Each known type or family that is named is looked at by itself. What one platform allows by
    itself, `taskpacks.types` checks; this is about the instance types that there are.
    """
    if resources.platform == "fargate":
        return []
    need = f"{resources.vcpus:g} vCPUs, {resources.memory_mib} MiB" + (
        f" and {resources.gpus} GPUs" if resources.gpus else ""
    )
    named = (_named_refusal(name, need, resources) for name in resources.instance_types)
    found = [refusal for refusal in named if refusal]
    types = instances.fitting(resources)
    if not types and not found:
        found.append(
            f"a worker needs {need}: no {resources.architecture} instance type that is known here "
            "holds one; ask for less, or name instance_types that do."
        )
    elif (size_gib := shape(resources).volume_gib) > limits.EBS_VOLUME_GIB_MAX:
        found.append(
            f"scratch_gib is {resources.scratch_gib}: with the system and all workers that one "
            f"instance holds this is a volume of {size_gib} GiB, and gp3 has at most "
            f"{limits.EBS_VOLUME_GIB_MAX}; lower it, or name smaller instance_types."
        )
    return found


def _named_refusal(name: str, need: str, resources: Resources) -> str | None:
    """Says why a known type, or no size of a known family, holds a worker."""
    sizes = instances.sizes(name)
    if not sizes:
        return None
    largest = max(sizes, key=lambda size: size.vcpus)
    if largest.architecture != resources.architecture:
        return (
            f"instance_types has {name}, which is {largest.architecture}: architecture is "
            f"{resources.architecture}, and no image runs on both; leave one of them out."
        )
    if resources.gpus and not largest.gpus:
        return (
            f"instance_types has {name}, which has no GPUs: gpus is {resources.gpus}; take one "
            "that has them, or leave gpus out."
        )
    is_family = name != largest.name
    if is_family and largest.gpus and not resources.gpus:
        return (
            f"instance_types has {name}, which has GPUs: gpus is 0, and a family with GPUs is for "
            "workers that need them; set gpus, or take another family."
        )
    if any(size.workers(resources) for size in sizes):
        return None
    which = f", of which {largest.name} is the largest" if is_family else ""
    return (
        f"instance_types has {name}{which} ({largest.vcpus} vCPUs, {largest.memory_mib} MiB, "
        f"{largest.gpus} GPUs): a worker needs {need}, and "
        f"{instances.memory_for_jobs_mib(largest.memory_mib, largest.architecture)} MiB are "
        "counted on for jobs (the system keeps the rest); ask for less, or take "
        f"{'another family' if is_family else 'a larger size'}."
    )


def compute_type(platform: str, purchase: str) -> str:
    """FARGATE, FARGATE_SPOT, EC2 or SPOT."""
    return {
        ("fargate", ON_DEMAND): "FARGATE",
        ("fargate", SPOT): "FARGATE_SPOT",
        ("ec2", ON_DEMAND): "EC2",
        ("ec2", SPOT): "SPOT",
    }[platform, purchase]


def allocation_strategy(purchase: str) -> str:
    """How Batch chooses among instance types.

    Source: https://docs.aws.amazon.com/batch/latest/userguide/allocation-strategies.html
    """
    return "SPOT_PRICE_CAPACITY_OPTIMIZED" if purchase == SPOT else "BEST_FIT_PROGRESSIVE"


def kind(resources: Resources) -> str:
    """Returns what a job queue's compute environments have in common for good.

    A job queue stays on the platform that it began with, and on EC2 with one architecture; on
    Fargate each job brings its own.
    https://docs.aws.amazon.com/batch/latest/userguide/fargate-job-queues.html
    https://docs.aws.amazon.com/batch/latest/APIReference/API_CreateJobQueue.html
    """
    return "fargate" if resources.platform == "fargate" else resources.architecture


def launch_template(volume_gib: int, kms_key: str | None) -> dict[str, Any]:
    """Returns how an instance starts: with IMDSv2 only and an encrypted volume.

    Args:
        volume_gib: Size of the volume.
        kms_key: ARN of the operator's key for it; None leaves it to the account's for EBS.
    """
    return {
        "metadata_options": {
            "http_endpoint": "enabled",
            "http_tokens": "required",
            "http_put_response_hop_limit": METADATA_HOPS,
        },
        "block_device_mappings": [
            {
                "device_name": ROOT_DEVICE,
                "ebs": {
                    "volume_type": "gp3",
                    "volume_size": volume_gib,
                    "encrypted": "true",
                    **({"kms_key_id": kms_key} if kms_key else {}),
                    "delete_on_termination": "true",
                },
            }
        ],
    }


def instance_settings(shape: Shape, purchase: str) -> dict[str, Any]:
    """Returns which instances an EC2 compute environment starts."""
    return {
        "type": compute_type(shape.platform, purchase),
        "allocation_strategy": allocation_strategy(purchase),
        "instance_types": list(shape.instance_types),
        "ec2_configurations": [{"image_type": shape.image_type}],
    }


REPLACING_ALL_MACHINES: Final = (
    "owner", "kms_key", "subnet_ids", "security_group_ids", "machine_image_generation",
)  # fmt: skip
"""The settings of a stack that are in the digest of every EC2 compute environment."""


def machines_digest(
    shape: Shape,
    purchase: str,
    *,
    network_ids: Iterable[str],
    tags: Mapping[str, str],
    kms_key: str | None,
    machine_image_generation: int,
) -> str:
    """Returns what tells an EC2 compute environment from the one that must replace it.

    Nothing in it may change in place: AWS would replace the instances below running jobs, and
    take longer for it than the provider waits (20 minutes, which cannot be set). What is not in
    it (the ceiling of vCPUs, the state) AWS changes without touching an instance.
    https://docs.aws.amazon.com/batch/latest/userguide/infrastructure-updates.html

    Nor is what the region offers today in it: an environment keeps the instance types that it began
    with until something else replaces it.

    Args:
        shape: Of the machines.
        purchase: "spot" or "on-demand".
        network_ids: The operator's own subnets and security groups; none of a made network, whose
            own stay.
        tags: On the instances.
        kms_key: ARN of the operator's key for their volumes, if there is one.
        machine_image_generation: What an operator raises to have the newest machine image.
    """
    return short_digest(
        launch_template(shape.volume_gib, kms_key),
        instance_settings(replace(shape, instance_types=shape.wanted_types), purchase),
        shape.architecture,
        sorted(network_ids),
        dict(tags),
        machine_image_generation,
    )


def evaluate_on_exit() -> tuple[dict[str, str], ...]:
    """When Batch runs a worker's job again: what took its machine, and nothing else.

    A task that fails is no reason: its message comes back by itself. Batch retries where no
    rule matches, so the last one must end everything else:
    https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html
    """
    return (
        *({"action": "retry", "on_status_reason": reason} for reason in MACHINE_TAKEN),
        *(
            {"action": "retry", "on_exit_code": str(int(code))}
            for code in ExitCode
            if code.starts_another
        ),
        {"action": "exit", "on_reason": "*"},
    )


def state_time_limits() -> tuple[dict[str, Any], ...]:
    """Returns how a job queue cancels a job at its head that can never run: it would block it."""
    return tuple(
        {
            "action": "CANCEL",
            "max_time_seconds": limits.STATE_TIME_LIMIT_SECONDS_MIN,
            "reason": reason,
            "state": "RUNNABLE",
        }
        for reason in NEVER_RUNS
    )


def spot_endpoint(resources: Resources) -> str:
    """Where a worker looks for Spot notices; empty where no machine gives any.

    Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
    """
    on_spot = resources.platform == "ec2" and SPOT in _PURCHASES[resources.purchase]
    return "http://169.254.169.254" if on_spot else ""


def gpu_environment(resources: Resources) -> dict[str, str]:
    """Returns what a container must ask NVIDIA's runtime for: without it, there is no encoder.

    Source: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    return {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility,video"} if resources.gpus else {}


def container_properties(
    resources: Resources,
    *,
    image: str,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
    job_role_arn: str,
    execution_role_arn: str,
    log_group: str,
    assign_public_ip: bool,
) -> dict[str, Any]:
    """A job definition's containerProperties, as Batch's API spells them.

    Source: https://docs.aws.amazon.com/batch/latest/APIReference/API_ContainerProperties.html
    """
    requirements = [
        {"type": "VCPU", "value": f"{resources.vcpus:g}"},
        {"type": "MEMORY", "value": str(resources.memory_mib)},
    ]
    if resources.gpus:
        requirements.append({"type": "GPU", "value": str(resources.gpus)})
    properties: dict[str, Any] = {
        "image": image,
        "command": list(command),
        "jobRoleArn": job_role_arn,
        "executionRoleArn": execution_role_arn,
        "resourceRequirements": requirements,
        "environment": [
            # AWS takes an empty value and drops it, and the provider warns of each:
            # https://github.com/hashicorp/terraform-provider-aws/pull/29820
            {"name": name, "value": value}
            for name, value in sorted(environment.items())
            if value
        ],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"awslogs-group": log_group, "awslogs-stream-prefix": "worker"},
        },
    }
    if secrets:
        properties["secrets"] = [
            {"name": name, "valueFrom": arn} for name, arn in sorted(secrets.items())
        ]
    if resources.platform == "fargate":
        properties["fargatePlatformConfiguration"] = {"platformVersion": "LATEST"}
        properties["networkConfiguration"] = {
            "assignPublicIp": "ENABLED" if assign_public_ip else "DISABLED"
        }
        properties["ephemeralStorage"] = {"sizeInGiB": resources.scratch_gib}
        properties["runtimePlatform"] = {
            "operatingSystemFamily": "LINUX",
            "cpuArchitecture": resources.architecture.upper(),
        }
    return properties
