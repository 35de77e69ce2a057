"""What a deployment's resources mean in AWS Batch's words, as pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskpacks.types import Resources

WORKER_ATTEMPTS: Final = 3
"""Batch starts a worker anew when its machine was taken from it, at most so often in all."""

# Batch retries where no rule matches, so the last one must end everything else:
# https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html
EVALUATE_ON_EXIT: Final = (
    {"action": "retry", "on_status_reason": "Host EC2*"},
    {"action": "retry", "on_status_reason": "Your Spot Task was interrupted*"},
    {"action": "exit", "on_reason": "*"},
)

# Current general-purpose families; Batch picks the sizes.
# https://docs.aws.amazon.com/batch/latest/userguide/create-compute-environment.html
_FAMILIES: Final = {
    "x86_64": ("m7i", "m6i", "c7i", "c6i", "r7i", "r6i"),
    "arm64": ("m8g", "m7g", "c8g", "c7g", "r8g", "r7g"),
}
_GPU_FAMILIES: Final = {"x86_64": ("g6", "g5", "g4dn"), "arm64": ("g5g",)}


def compute_type(resources: Resources) -> str:
    """FARGATE, FARGATE_SPOT, EC2 or SPOT."""
    return {
        ("fargate", "on_demand"): "FARGATE",
        ("fargate", "spot"): "FARGATE_SPOT",
        ("ec2", "on_demand"): "EC2",
        ("ec2", "spot"): "SPOT",
    }[resources.platform, resources.purchase]


def instance_types(resources: Resources) -> list[str]:
    """The EC2 instance types or families that Batch may choose from."""
    if resources.instance_types:
        return list(resources.instance_types)
    families = _GPU_FAMILIES if resources.gpus else _FAMILIES
    return list(families[resources.architecture])


def image_type(resources: Resources) -> str:
    """The EC2 machine image, named explicitly so that it never changes by default."""
    return "ECS_AL2023_NVIDIA" if resources.gpus else "ECS_AL2023"


def allocation_strategy(resources: Resources) -> str:
    """How Batch chooses among instance types."""
    if resources.purchase == "spot":
        return "SPOT_PRICE_CAPACITY_OPTIMIZED"
    return "BEST_FIT_PROGRESSIVE"


def spot_endpoint(resources: Resources) -> str:
    """Where a worker looks for Spot notices; empty where no machine gives any.

    Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
    """
    on_spot_instances = (resources.platform, resources.purchase) == ("ec2", "spot")
    return "http://169.254.169.254" if on_spot_instances else ""


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
            {"name": name, "value": value} for name, value in sorted(environment.items())
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
