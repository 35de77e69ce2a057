"""Plans a stack before any of it is made: shapes, quotas, costs, and what is refused."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from stack import settings
from stack.components import tags
from stack.hardware import costs, instances, pools, shapes
from stack.preflight import cost_at_rest, rules, synthesis
from taskpacks import limits
from taskpacks.errors import TaskpacksError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from stack.hardware.prices import Prices
    from stack.model import Deployment, StackSettings
    from stack.preflight.rules import Registration


@dataclass(frozen=True, kw_only=True)
class DeploymentPlan:
    """The plan of one deployment.

    Attributes:
        name: Of the deployment, which is its task queue's too.
        pack: Whose tasks it runs.
        shape: One worker's share of a machine, in words.
        runs_on: Fargate, or the instance types.
        purchase: How machines are bought, in the order in which they are tried.
        mode: What starts workers.
        sends_to: The other deployments that its workers may send messages to.
        alarms: How many of its alarms there are.
        max_workers: How many can run at once.
        worst_usd_per_hour: On demand, when as many run as can; None where a price is unknown.
    """

    name: str
    pack: str
    shape: str
    runs_on: str
    purchase: str
    mode: str
    sends_to: tuple[str, ...]
    alarms: int
    max_workers: int
    worst_usd_per_hour: float | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A stack on paper.

    Attributes:
        refused: Every rule that is broken, a sentence each; empty when `up` may begin.
        deployments: What each gets; empty when the settings themselves are refused.
        quotas: What the stack takes of AWS's quotas.
        at_rest: US dollars per month while no message comes, by what they are for.
        notes: What is worth knowing, and refused by nobody.
        price_region: The region whose prices these are.
        price_dates: The oldest and newest day as of which a price was found.
    """

    refused: tuple[str, ...]
    deployments: tuple[DeploymentPlan, ...] = ()
    quotas: tuple[rules.Usage, ...] = ()
    at_rest: Mapping[str, float] = field(default_factory=dict[str, float])
    notes: tuple[str, ...] = ()
    price_region: str = ""
    price_dates: tuple[str, str] = ("", "")

    @property
    def worst_usd_per_hour(self) -> float | None:
        """Returns the sum of all deployments; None where one is unknown."""
        hours = [each.worst_usd_per_hour for each in self.deployments]
        known = [hour for hour in hours if hour is not None]
        return sum(known) if len(known) == len(hours) else None

    @property
    def at_rest_usd_per_month(self) -> float:
        """Returns the sum of the whole stack."""
        return sum(self.at_rest.values())

    def as_json(self) -> dict[str, Any]:
        """For machines: numbers as numbers, each with its unit in its name."""
        return {
            "refused": list(self.refused),
            "deployments": [asdict(each) for each in self.deployments],
            "quotas": [
                {
                    "what": each.quota.what,
                    "in": each.quota.place,
                    "used": each.used,
                    "most": each.quota.most,
                    "adjustable": each.quota.adjustable,
                    "source": each.quota.source,
                }
                for each in self.quotas
            ],
            "worst_usd_per_hour": self.worst_usd_per_hour,
            "at_rest_usd_per_month": self.at_rest_usd_per_month,
            "at_rest": dict(self.at_rest),
            "prices": {"region": self.price_region, "from": list(self.price_dates)},
            "notes": list(self.notes),
        }


def make(
    program: Path,
    config: Mapping[str, str],
    *,
    project: str,
    stack: str,
    prices: Prices,
    encrypted: Collection[str] = (),
    before: Mapping[str, str] | None = None,
) -> Plan:
    """Plans a stack: from its settings alone, without an account or a network.

    Args:
        program: The program's `__main__.py`.
        config: The stack's settings by full key, each as text, structured ones as JSON.
        project: The project's name.
        stack: The stack's name.
        prices: What AWS asks.
        encrypted: The full keys of settings that cannot be read here, and are not in `config`.
        before: The settings that the stack is deployed with; None where it is not there yet, or
            where the change to it is not asked about.
    """
    try:
        parsed = settings.read(config, encrypted)
        resources = synthesis.synthesize(program, config, project=project, stack=stack)
    except TaskpacksError as error:
        return Plan(refused=tuple(str(error).splitlines()))
    refused = [str(finding) for finding in rules.check_all(resources)]
    if before is not None:
        try:
            old = synthesis.synthesize(program, before, project=project, stack=stack)
        except TaskpacksError as error:
            refused += (f"In the settings before: {line}" for line in str(error).splitlines())
        else:
            refused += map(str, rules.while_changing(old, resources))
    oldest, newest = prices.dates
    return Plan(
        refused=tuple(refused),
        deployments=tuple(_deployment(each, resources, prices) for each in parsed.deployments),
        quotas=tuple(rules.usage(resources)),
        at_rest=cost_at_rest.at_rest(resources, prices),
        notes=(
            *_unread(encrypted),
            *_notes(parsed, resources, prices, config.get("aws:region", "")),
        ),
        price_region=prices.region,
        price_dates=(oldest.isoformat(), newest.isoformat()),
    )


def _deployment(
    deployment: Deployment, resources: list[Registration], prices: Prices
) -> DeploymentPlan:
    needs, shape = deployment.spec.resources, shapes.shape(deployment.spec.resources)
    gpus = f", {needs.gpus} GPU" if needs.gpus else ""
    processes = f", {needs.processes} processes" if needs.processes > 1 else ""
    return DeploymentPlan(
        name=deployment.name,
        pack=deployment.pack.name,
        shape=f"{needs.vcpus:g} vCPU, {needs.memory_mib / 1024:g} GiB{gpus}{processes}, "
        f"{needs.scratch_gib} GiB scratch, {needs.architecture}",
        runs_on=", ".join(shape.instance_types) or "Fargate",
        purchase=", then ".join(shape.purchases),
        mode=deployment.spec.scaling.mode,
        sends_to=deployment.destinations,
        alarms=sum(
            each.type == "aws:cloudwatch/metricAlarm:MetricAlarm"
            and (each.known("tags") or {}).get(tags.DEPLOYMENT) == deployment.name
            for each in resources
        ),
        max_workers=costs.max_workers(deployment.spec),
        worst_usd_per_hour=costs.worst_hour(deployment.spec, prices),
    )


def _unread(encrypted: Collection[str]) -> list[str]:
    return [
        f"{key} is encrypted, which only the Pulumi CLI can read: this plan is without it."
        for key in sorted(encrypted)
    ]


def _of_key(parsed: StackSettings, on_ec2: Sequence[str]) -> list[str]:
    also = f", and EBS for the instances of {', '.join(on_ec2)}" if on_ec2 else ""
    note = (
        f"{settings.NAMESPACE}:kms_key: its own policy cannot be read here. It must let "
        f"CloudWatch, EventBridge and CloudWatch Logs use the key{also}; without that notices are "
        "lost and machines do not start. docs/security.md has the policy."
    )
    return [note] if parsed.kms_key else []


def _notes(
    parsed: StackSettings, resources: list[Registration], prices: Prices, region: str
) -> list[str]:
    notes: list[str] = []
    near = [each for each in rules.usage(resources) if each.near]
    if near and not parsed.share_compute_environments:
        alone = pools.pools(parsed.deployments, shared=False)
        shared = pools.pools(parsed.deployments, shared=True)
        saved = sum(len(pool.shape.purchases) for pool in alone) - sum(
            len(pool.shape.purchases) for pool in shared
        )
        if saved:
            notes.append(
                f"Quotas get near: {settings.NAMESPACE}:share_compute_environments: true takes "
                f"{saved} compute environments fewer."
            )
    environments = [
        each.known("computeResources.instanceRole") is not None
        for each in resources
        if each.type == "aws:batch/computeEnvironment:ComputeEnvironment"
    ]
    at_once = len(environments) + sum(environments)
    if len(environments) <= limits.COMPUTE_ENVIRONMENTS_PER_REGION < at_once:
        replacing = (f"{settings.NAMESPACE}:{name}" for name in shapes.REPLACING_ALL_MACHINES)
        notes.append(
            f"A change that replaces all machines on EC2 ({', '.join(replacing)}) would "
            f"need {at_once} compute environments at once, and AWS allows "
            f"{limits.COMPUTE_ENVIRONMENTS_PER_REGION} in a region. "
            f"{settings.NAMESPACE}:share_compute_environments: true may take fewer; `taskpacks "
            "plan --before FILE` tells of each change whether it is possible."
        )
    if region != prices.region:
        notes.append(
            f"The prices are those of {prices.region}, and the stack is in {region}: "
            "give yours with --prices FILE."
        )
    on_ec2 = [each.name for each in parsed.deployments if each.spec.resources.platform == "ec2"]
    if on_ec2:
        notes.append(
            f"{', '.join(on_ec2)}: which instance types {region} offers only AWS knows. "
            "`pulumi up` asks, leaves out those defaults that it does not offer, and refuses what "
            "a deployment names and it does not offer."
        )
    notes += _of_key(parsed, on_ec2)
    on_fargate = [
        each.name for each in parsed.deployments if each.spec.resources.platform == "fargate"
    ]
    if on_fargate and parsed.subnet_ids and not parsed.assign_public_ip:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-networking.html
        notes.append(
            f"{', '.join(on_fargate)}: workers on Fargate get no public address in "
            f"{', '.join(parsed.subnet_ids)}: if they are public subnets (their way out is an "
            "internet gateway), workers have no way out and cannot pull their image; then set "
            f"{settings.NAMESPACE}:assign_public_ip: true. Private subnets need a NAT gateway or "
            "endpoints."
        )
    notes += [
        f"{each.name}: its workers may send tasks to {', '.join(each.destinations)}, so whoever "
        f"may send to {each.name} can cause what these do."
        for each in parsed.deployments
        if each.destinations
    ]
    if wild := [
        deployment.name
        for deployment in parsed.deployments
        if deployment.spec.permissions.allow_wildcard
    ]:
        notes.append(
            f"{', '.join(wild)}: permissions.allow_wildcard is set, so that tasks may reach "
            "resources that no statement names."
        )
    for deployment in parsed.deployments:
        unknown = [
            name
            for name in shapes.shape(deployment.spec.resources).instance_types
            if name not in instances.KNOWN
        ]
        if unknown:
            notes.append(
                f"{deployment.name}: {', '.join(unknown)} is no instance type that is known here: "
                "its volume is sized for one worker on each instance, and its price is unknown "
                "unless --prices gives it."
            )
    return notes
