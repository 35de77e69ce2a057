"""What workers cost at worst, and what a stack costs while nothing is done."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from stack import hardware, instances, prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.prices import Prices
    from stack.rules import Registration
    from taskpacks.types import PackSpec, Resources

HOURS_PER_MONTH: Final = 730
_FARGATE_FREE_SCRATCH_GIB: Final = 20
"""https://aws.amazon.com/fargate/pricing/"""
PULSE_TRANSITIONS: Final = 3
"""Of a pulse that finds nothing to do: stack/state_machine.py."""
_MINUTES: Final = {"minute": 1, "hour": 60, "day": 24 * 60}


def max_workers(spec: PackSpec) -> int:
    """How many workers of a deployment can run at once."""
    resources = spec.resources
    at_once = int(resources.max_vcpus // resources.vcpus)
    if spec.scaling.mode == "controller":
        return min(at_once, spec.scaling.max_workers)
    # Alarms do not count workers: where there are two environments, both can fill up.
    return at_once * len(hardware.shape(resources).purchases)


def worker_hour(resources: Resources, known: Prices) -> float | None:
    """What one worker costs an hour, on demand, at worst; None where a price is not known."""
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
    shape = hardware.shape(resources)
    volume = shape.volume_gib * known.usd("ebs_gib_month", "gp3") / HOURS_PER_MONTH
    found = {name: known.instance_hour(name) for name in shape.instance_types}
    if any(price is None for price in found.values()):
        return None
    return {name: price + volume for name, price in found.items() if price is not None}


def worst_hour(spec: PackSpec, known: Prices) -> float | None:
    """What all workers of a deployment cost an hour when as many run as can, on demand.

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
    environments = len(hardware.shape(resources).purchases)
    counts = {
        name: min(
            workers, environments * math.ceil(resources.max_vcpus / instances.KNOWN[name].vcpus)
        )
        if name in instances.KNOWN
        else workers
        for name in hours
    }
    return max(hours[name] * counts[name] for name in hours)


def at_rest(resources: Sequence[Registration], known: Prices) -> dict[str, float]:
    """What a stack costs a month while no message comes, by what it is for.

    What is stored (images, results, data, logs) comes on top: nobody knows how much.

    Returns:
        US dollars per month; kinds that cost nothing are left out.
    """
    month: defaultdict[str, float] = defaultdict(float)
    for each in resources:
        match each.type:
            case "aws:cloudwatch/metricAlarm:MetricAlarm":
                metrics = sum("metric" in query for query in each.items("metricQueries")) or 1
                month["alarms"] += metrics * known.usd("cloudwatch_month", "alarm metric")
            case "aws:cloudwatch/dashboard:Dashboard":
                month["dashboard"] += known.usd("cloudwatch_month", "dashboard")
            case "aws:cloudwatch/eventRule:EventRule":
                pulses = runs_per_month(str(each.known("scheduleExpression") or ""))
                transition = known.usd("step_functions", "transition")
                month["pulses"] += pulses * PULSE_TRANSITIONS * transition
            case "aws:ec2/natGateway:NatGateway":
                hour = known.usd("network_hour", "nat gateway")
                month["NAT gateways"] += HOURS_PER_MONTH * hour
            case "aws:ec2/eip:Eip":
                hour = known.usd("network_hour", "public address")
                month["public addresses"] += HOURS_PER_MONTH * hour
            case "aws:ec2/vpcEndpoint:VpcEndpoint" if each.get("vpcEndpointType") == "Interface":
                zones = len(each.known("subnetIds") or ())
                hour = known.usd("network_hour", "interface endpoint")
                month["interface endpoints"] += zones * HOURS_PER_MONTH * hour
            case "aws:kms/key:Key":
                month["keys"] += known.usd("kms_month", "key")
            case _:
                pass
    return {what: dollars for what, dollars in month.items() if dollars}


def runs_per_month(schedule: str) -> float:
    """How often a rule with a schedule of the form rate(N minutes) runs; 0 for other forms."""
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule)
    if not found:
        return 0
    return HOURS_PER_MONTH * 60 / (int(found[1]) * _MINUTES[found[2]])
