"""Which of the known instance types a region has: only AWS knows, so the program asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi_aws as aws

from stack.hardware import instances
from taskpacks.errors import RefusedSettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from stack.model import Deployment, StackSettings


def of_region(settings: StackSettings, region: str) -> frozenset[str]:
    """Asks AWS which of the instance types that a stack could get its region offers.

    Batch refuses a compute environment that names one that the region does not have.

    Args:
        settings: The stack's.
        region: Where it is.

    Raises:
        RefusedSettingsError: The stack names one that it does not offer, or nothing is left.
    """
    if not (names := wanted(settings.deployments)):
        return frozenset()
    offered = aws.ec2.get_instance_type_offerings(
        filters=[{"name": "instance-type", "values": list(names)}]
    ).instance_types
    if refused := list(refusals(settings.deployments, offered, region)):
        raise RefusedSettingsError("\n".join(refused))
    return frozenset(offered)


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


def refusals(
    deployments: Iterable[Deployment], offered: Collection[str], region: str
) -> Iterator[str]:
    """Says which deployments cannot have what they ask for where these types are offered."""
    for deployment in deployments:
        resources = deployment.spec.resources
        if resources.platform != "ec2":
            continue
        where = f"taskpacks:packs.{deployment.name}.resources"
        for name in resources.instance_types:
            one = resources.model_copy(update={"instance_types": (name,)})
            if not instances.fitting(one, offered):
                yield (
                    f"{where}.instance_types has {name}: {region} does not offer it in a size "
                    "that holds a worker; name one that it offers, or leave instance_types out."
                )
        if not resources.instance_types and not instances.fitting(resources, offered):
            yield (
                f"{where}: {region} offers no {resources.architecture} instance type that is known "
                "here and holds a worker; name instance_types that it offers, change the "
                "architecture, or deploy to another region."
            )
