"""Which of the known instance types a region has: only AWS knows, so the program asks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pulumi_aws as aws

from stack.hardware import instances
from taskpacks.errors import RefusedSettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from stack.model import Deployment, StackSettings


def settled(settings: StackSettings, region: str) -> StackSettings:
    """Asks AWS which instance types a region offers, and settles which each deployment gets.

    Batch refuses a compute environment that names one that the region does not have.

    Args:
        settings: The stack's.
        region: Where it is.

    Returns:
        The same settings, with instance types that the region offers.

    Raises:
        RefusedSettingsError: The stack names one that it does not offer, or nothing is left.
    """
    if not (names := wanted(settings.deployments)):
        return settings
    offered = aws.ec2.get_instance_type_offerings(
        filters=[{"name": "instance-type", "values": list(names)}]
    ).instance_types
    deployments: list[Deployment] = []
    refused: list[str] = []
    for deployment in settings.deployments:
        try:
            deployments.append(chosen(deployment, offered, region))
        except RefusedSettingsError as error:
            refused.append(str(error))
    if refused:
        raise RefusedSettingsError("\n".join(refused))
    return settings.model_copy(update={"deployments": tuple(deployments)})


def wanted(deployments: Iterable[Deployment]) -> tuple[str, ...]:
    """Returns every instance type that could be chosen, FAMILY.* for a family that is unknown."""
    names: set[str] = set()
    for deployment in deployments:
        resources = deployment.spec.resources
        if resources.platform == "ec2":
            for name in resources.instance_types:
                if not instances.is_known_family(name):
                    names.add(name if "." in name else f"{name}.*")
            names |= {each.name for each in instances.KNOWN.values() if each.workers(resources)}
    return tuple(sorted(names))


def chosen(deployment: Deployment, offered: Collection[str], region: str) -> Deployment:
    """Returns a deployment with the instance types that it gets where these are offered.

    Raises:
        RefusedSettingsError: It names one that is not offered, or nothing is left.
    """
    resources = deployment.spec.resources
    if resources.platform != "ec2":
        return deployment
    where = f"taskpacks:packs.{deployment.name}.resources"
    for name in resources.instance_types:
        one = resources.model_copy(update={"instance_types": (name,)})
        if not instances.fitting(one, offered):
            raise RefusedSettingsError(
                f"{where}.instance_types has {name}: {region} does not offer it in a size that "
                "holds a worker; name one that it offers, or leave instance_types out."
            )
    types = instances.fitting(resources, offered)
    if not types:
        raise RefusedSettingsError(
            f"{where}: {region} offers no {resources.architecture} instance type that is known "
            "here and holds a worker; name instance_types that it offers, change the "
            "architecture, or deploy to another region."
        )
    settled_resources = resources.model_copy(update={"instance_types": types})
    spec = deployment.spec.model_copy(update={"resources": settled_resources})
    return replace(deployment, spec=spec)
