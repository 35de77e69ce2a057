"""The policies of the endpoints of a made network, as pure functions.

A worker's role says what its tasks may do. A task that was taken over could bring credentials of
its own, which that role does not bind; behind endpoints it then reaches this account and what packs
name, and nothing of anybody else's (docs/adr/0018-endpoints-lead-to-what-is-named.md).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from stack.documents.iam import allow, bucket_and_key, document, secret_arn
from stack.documents.registry import ecr_repository_arn, may_have_token
from taskpacks import limits, statements
from taskpacks.errors import RefusedSettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stack.model import StackContext
    from taskpacks.types import PackSpec

_OWN: Final = {
    "dynamodb": "table/*",
    "ecr": "repository/*",
    "logs": "*",
    "secretsmanager": "secret:*",
    "sqs": "*",
    "ssm": "parameter/*",
}
"""Service -> all of an account's resources of it that workers and their agents use."""
_EVERYBODY: Final = {"Principal": "*"}
"""The only principal that gateway endpoints take:
https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html"""

WITHOUT_POLICY: Final = {
    "ecs-agent": "ECS's documentation shows policies of the endpoint ecs only",
    "ecs-telemetry": "as ecs-agent",
}
"""Endpoint -> why it lets everything through. What the ECS agent polls there is its own account's,
and holds no data of anybody's:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html"""


def policies(
    services: Iterable[str], specs: Iterable[PackSpec], context: StackContext, *, only_way_out: bool
) -> dict[str, dict[str, Any]]:
    """Returns the policy of each endpoint that has one.

    Args:
        services: The endpoints' services, as their names end: "s3", "ecr.api".
        specs: What the stack deploys.
        context: Of the stack.
        only_way_out: Workers reach nothing but endpoints. Where they can go past these, policies
            would keep nobody in, and would refuse public data to workers that may reach everything.

    Raises:
        RefusedSettingsError: Packs name more resources than a policy holds.
    """
    if not only_way_out:
        # Said, because the provider leaves a policy that is not said as it is.
        return {service: document([allow(["*"], ["*"], **_EVERYBODY)]) for service in services}
    named = named_arns(specs, context.partition)
    made = {
        service: _policy(service, named, context)
        for service in services
        if service not in WITHOUT_POLICY
    }
    for service, policy in made.items():
        characters = len(json.dumps(policy))
        if characters > limits.ENDPOINT_POLICY_CHARACTERS_MAX:
            raise RefusedSettingsError(
                f"taskpacks:packs: the policy of the endpoint of {service} has {characters:_} "
                f"characters and AWS takes {limits.ENDPOINT_POLICY_CHARACTERS_MAX:_}: packs name "
                "too many resources outside this account, or buckets; name fewer, spread the "
                "deployments over several stacks, or set taskpacks:egress: nat."
            )
    return made


def named_arns(specs: Iterable[PackSpec], partition: str) -> list[str]:
    """Returns the ARNs of all resources that specs name, whosever they are.

    A bucket of `permissions` stands for all its objects: prefixes are the roles' affair. A
    resource that holds for everything names nothing, whatever `allow_wildcard` says, and so does
    one of any account: somebody else could make theirs by that name.

    Args:
        specs: What the stack deploys.
        partition: "aws", "aws-cn" or "aws-us-gov".
    """
    found: set[str] = set()
    for spec in specs:
        for prefix in (*spec.permissions.read, *spec.permissions.write):
            bucket, _ = bucket_and_key(prefix, partition)
            found |= {bucket, f"{bucket}/*"}
        for statement in spec.permissions.statements:
            if statement.get("Effect") == "Allow":
                found |= set(_listed(statement.get("Resource", ())))
        found |= set(map(secret_arn, spec.secrets.values()))
        if repository := ecr_repository_arn(spec.image.uri or "", partition):
            found.add(repository)
    return sorted(
        arn
        for arn in found
        if not statements.names_none(arn) and not statements.names_no_account(arn)
    )


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _policy(service: str, named: Sequence[str], context: StackContext) -> dict[str, Any]:
    if service == "s3":
        return document(_buckets(named, context))
    if service == "ecs":
        return document([_agents(context)])
    prefix = service.partition(".")[0]
    own = context.arn(prefix, _OWN[prefix])
    others = [arn for arn in _of(prefix, named) if arn.split(":")[4] != context.account_id]
    allowed = [allow([f"{prefix}:*"], [own, *others], **_EVERYBODY)]
    if prefix == "ecr":
        allowed.append(may_have_token(**_EVERYBODY))
    return document(allowed)


def _of(prefix: str, arns: Iterable[str]) -> list[str]:
    return [arn for arn in arns if arn.split(":")[2] == prefix]


def _buckets(named: Sequence[str], context: StackContext) -> list[dict[str, Any]]:
    """This account's buckets, those that packs name, and the one that holds ECR's layers.

    Sources:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-minimum-s3-perms
    """
    own = {"StringEquals": {"s3:ResourceAccount": context.account_id}}
    layers = f"arn:{context.partition}:s3:::prod-{context.region}-starport-layer-bucket/*"
    buckets = _of("s3", named)
    return [
        # A bucket's ARN does not say whose it is.
        allow(["s3:*"], ["*"], **_EVERYBODY, Condition=own),
        *([allow(["s3:*"], buckets, **_EVERYBODY)] if buckets else []),
        allow(["s3:GetObject"], [layers], **_EVERYBODY),
    ]


def _agents(context: StackContext) -> dict[str, Any]:
    """The ECS agents of this account's instances: not all that they ask for has a resource.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html
    """
    own = {"StringEquals": {"aws:PrincipalAccount": context.account_id}}
    return allow(["ecs:*"], ["*"], **_EVERYBODY, Condition=own)
