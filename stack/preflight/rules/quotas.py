"""Quotas of an account in one region, and rules for resources that belong together."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stack.preflight.rules.findings import Finding, compact
from stack.preflight.rules.identity import INLINE_LENGTH
from taskpacks import limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stack.preflight.rules.findings import Registration

_TARGETS_PER_RULE: Final = 5
"""https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html"""
NEAR: Final = 0.8
"""From this share of a quota on, something should be done about it."""


@dataclass(frozen=True)
class Quota:
    """How many of a kind AWS allows.

    Attributes:
        what: In words.
        type: Pulumi's token.
        most: AWS's number, or its default where it can be raised.
        adjustable: Whether AWS raises it on request.
        source: Where AWS says so.
        place: Within what they are counted.
        fewer_by_sharing: Whether deployments that share their machines take fewer.
    """

    what: str
    type: str
    most: int
    adjustable: bool
    source: str
    place: str = "a region"
    fewer_by_sharing: bool = False
    only: tuple[str, str | None] | None = None
    """A property and its value, where not all of the type count."""

    def counts(self, resource: Registration) -> bool:
        """Whether a resource takes of it."""
        return resource.type == self.type and (
            self.only is None or resource.get(self.only[0]) == self.only[1]
        )


_BATCH: Final = "https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html"
_VPC: Final = "https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html"

QUOTAS: Final = (
    Quota("job queues", "aws:batch/jobQueue:JobQueue", limits.JOB_QUEUES_PER_REGION, False, _BATCH),
    Quota(
        "compute environments",
        "aws:batch/computeEnvironment:ComputeEnvironment",
        limits.COMPUTE_ENVIRONMENTS_PER_REGION,
        False,
        _BATCH,
        fewer_by_sharing=True,
    ),
    Quota(
        "rules on the default event bus",
        "aws:cloudwatch/eventRule:EventRule",
        300,
        True,
        "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html",
        only=("eventBusName", None),
    ),
    Quota(
        "alarms",
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        5000,
        True,
        "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html",
    ),
    Quota(
        "IAM roles",
        "aws:iam/role:Role",
        1000,
        True,
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html",
        place="an account",
        fewer_by_sharing=True,  # on EC2, machines have a role
    ),
    Quota("VPCs", "aws:ec2/vpc:Vpc", 5, True, _VPC),
    Quota("NAT gateways", "aws:ec2/natGateway:NatGateway", 5, True, _VPC, place="a zone"),
    Quota(
        "interface endpoints",
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        50,
        True,
        _VPC,
        place="a VPC",
        only=("vpcEndpointType", "Interface"),
    ),
)


@dataclass(frozen=True)
class Usage:
    """The part of a quota that a stack uses. What else the account has is not known here."""

    quota: Quota
    used: int

    @property
    def near(self) -> bool:
        """Whether little is left."""
        return self.used >= NEAR * self.quota.most


def usage(resources: Sequence[Registration]) -> list[Usage]:
    """Returns what a stack uses of every quota."""
    return [Usage(quota, sum(map(quota.counts, resources))) for quota in QUOTAS]


def while_changing(
    before: Sequence[Registration], after: Sequence[Registration]
) -> Iterator[Finding]:
    """Yields what is wrong with having old and new resources at once.

    Pulumi does: it deletes at the end what is not in the program any more.

    Args:
        before: All that the stack has.
        after: All that it is to have, which is right by itself.
    """
    both = {(each.type, each.name): each for each in (*before, *after)}
    for at_once, alone in zip(usage([*both.values()]), usage(after), strict=True):
        quota = at_once.quota
        if alone.used <= quota.most < at_once.used:
            yield Finding(
                f"this change's number of {quota.what}, old and new at once,",
                at_once.used,
                f"AWS allows {quota.most} in {quota.place}, and old ones are deleted when all new "
                "ones are there",
                "change some deployments at a time, with an `up` for each step"
                + (
                    "; or first set share_compute_environments: true where this takes fewer"
                    if quota.fewer_by_sharing
                    else ""
                )
                + ("; or ask AWS for more" if quota.adjustable else ""),
            )


def together(resources: Sequence[Registration]) -> Iterator[Finding]:
    """Yields what is wrong with resources that are each right."""
    for each in usage(resources):
        if each.used > each.quota.most:
            yield Finding(
                f"this stack's number of {each.quota.what}",
                each.used,
                f"AWS allows {each.quota.most} in {each.quota.place}"
                + (", and more on request" if each.quota.adjustable else ""),
                "spread the deployments over several regions or accounts"
                + (", or ask AWS for more" if each.quota.adjustable else ""),
            )
    targets: Counter[str] = Counter()
    policies: defaultdict[str, int] = defaultdict(int)
    for resource in resources:
        if resource.type == "aws:cloudwatch/eventTarget:EventTarget":
            targets[str(resource.get("rule"))] += 1
        if resource.type == "aws:iam/rolePolicy:RolePolicy":
            document = resource.document("policy")
            policies[str(resource.get("role"))] += 0 if document is None else compact(document)
    for rule, count in targets.items():
        if count > _TARGETS_PER_RULE:
            yield Finding(
                f"rule '{rule}' targets",
                count,
                f"EventBridge allows {_TARGETS_PER_RULE}",
                "make a second rule with the same pattern",
            )
    for role, length in policies.items():
        if length > INLINE_LENGTH:
            yield Finding(
                f"role '{role}' inline policies",
                f"{length} characters",
                f"IAM allows {INLINE_LENGTH:_} for all of a role together",
                "merge statements, or attach a managed policy",
            )
