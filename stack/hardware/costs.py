"""Calculates what workers cost at worst."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from stack.hardware import instances, prices, shapes

if TYPE_CHECKING:
    from stack.hardware.prices import Prices
    from taskpacks.types import PackSpec, Resources

HOURS_PER_MONTH: Final = 730
_FARGATE_FREE_SCRATCH_GIB: Final = 20
"""https://aws.amazon.com/fargate/pricing/"""


def max_workers(spec: PackSpec) -> int:
    """How many workers of a deployment can run at once."""
    resources = spec.resources
    at_once = int(resources.max_vcpus // resources.vcpus)
    if spec.scaling.mode == "controller":
        return min(at_once, spec.scaling.max_workers)
    # Alarms do not count workers: where there are two environments, both can fill up.
    return at_once * len(shapes.shape(resources).purchases)


def worker_hour(resources: Resources, known: Prices) -> float | None:
    """Returns the cost of one worker an hour, on demand, at worst; None without a price."""
    if resources.platform == "fargate":
        architecture = resources.architecture
        scratch_gib = max(0, resources.scratch_gib - _FARGATE_FREE_SCRATCH_GIB)
        return (
            resources.vcpus * known.usd("fargate_hour", f"{architecture} vcpu")
            + resources.memory_mib / 1024 * known.usd("fargate_hour", f"{architecture} gib")
            + scratch_gib * known.usd("fargate_hour", "scratch gib")
        )
    hours = _instance_hours(resources, known)
    return None if hours is None else max(hours.values())


def worker_hour_in(region: str, resources: Resources) -> float | None:
    """As `worker_hour`, where the prices that come with Taskpacks are those of the region."""
    known = prices.load()
    return worker_hour(resources, known) if region == known.region else None


def _instance_hours(resources: Resources, known: Prices) -> dict[str, float] | None:
    """Instance types with their volumes, per hour."""
    shape = shapes.shape(resources)
    volume = shape.volume_gib * known.usd("ebs_gib_month", "gp3") / HOURS_PER_MONTH
    found = {name: known.instance_hour(name) for name in shape.instance_types}
    if any(price is None for price in found.values()):
        return None
    return {name: price + volume for name, price in found.items() if price is not None}


def worst_hour(spec: PackSpec, known: Prices) -> float | None:
    """Returns the cost of a deployment's workers an hour when as many run as can, on demand.

    Spot is never dearer than on demand. Instances are counted as if none could be filled up:
    Batch may go above max_vcpus by less than one instance.

    Returns:
        US dollars; None where a price is not known.
    """
    resources, workers = spec.resources, max_workers(spec)
    if resources.platform == "fargate":
        each = worker_hour(resources, known)
        return None if each is None else workers * each
    hours = _instance_hours(resources, known)
    if hours is None:
        return None
    environments = len(shapes.shape(resources).purchases)
    counts = {
        name: min(
            workers, environments * math.ceil(resources.max_vcpus / instances.KNOWN[name].vcpus)
        )
        if name in instances.KNOWN
        else workers
        for name in hours
    }
    return max(hours[name] * counts[name] for name in hours)
