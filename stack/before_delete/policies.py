"""Policies that applications have attached are not deleted: IAM refuses it, half-way.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeletePolicy.html
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import pulumi

from stack.before_delete.access import Access, asking, client
from taskpacks.errors import TaskpacksError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOOK: Final = "taskpacks-policies-are-detached"
"""A stack's state remembers this name: another one would leave policies that cannot be deleted."""
_KINDS: Final = {"Role": "PolicyRoles", "User": "PolicyUsers", "Group": "PolicyGroups"}
"""https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListEntitiesForPolicy.html"""


class PolicyAttachedError(TaskpacksError):
    """A policy is to be deleted and is still attached, or cannot be asked about."""


def hook(how: Access) -> pulumi.ResourceHook:
    """The hook of policies, and of a deployment's record, which speaks for its policy."""

    async def ask(args: pulumi.ResourceHookArgs) -> None:
        if arn := policy_arn(args.id, args.old_outputs or {}):
            await asyncio.to_thread(look, how, arn)

    return pulumi.ResourceHook(HOOK, ask)


def look(how: Access, arn: str) -> None:
    """Asks who has a policy, and refuses if anybody has.

    Raises:
        PolicyAttachedError: Somebody has, or IAM cannot be asked.
    """
    with _asking(arn):
        iam = client(how, "iam")
    refuse_to_take_away(arn, attachments(iam, arn))


def policy_arn(resource_id: str, outputs: Mapping[str, Any]) -> str | None:
    """The policy that a resource speaks for: a policy, whose id is its ARN, for itself.

    A record of an older version names none; then the policy's own hook asks.
    """
    record = outputs.get("insecureValue")
    return resource_id if record is None else json.loads(record).get("producer_policy")


def attachments(iam: Any, arn: str) -> list[tuple[str, str]]:
    """Who has a policy, as ("role", "user" or "group", name); nobody has one that is gone.

    Raises:
        PolicyAttachedError: IAM cannot be asked.
    """
    found: list[Any] = []
    pages = iam.get_paginator("list_entities_for_policy")
    with _asking(arn), contextlib.suppress(iam.exceptions.NoSuchEntityException):
        found = list(pages.paginate(PolicyArn=arn, PolicyUsageFilter="PermissionsPolicy"))
    return [
        (kind.lower(), each[f"{kind}Name"])
        for kind, key in _KINDS.items()
        for page in found
        for each in page.get(key, ())
    ]


def _asking(arn: str) -> contextlib.AbstractContextManager[None]:
    return asking(
        PolicyAttachedError,
        f"{arn} is not deleted, because the program cannot see whether it is attached",
        "iam:ListEntitiesForPolicy on it",
    )


def refuse_to_take_away(arn: str, attached: Sequence[tuple[str, str]]) -> None:
    """Refuses if anybody has a policy.

    Raises:
        PolicyAttachedError: Naming them, and what detaches it from each.
    """
    if attached:
        who = ", ".join(map(" ".join, attached))
        commands = " && ".join(
            f"aws iam detach-{kind}-policy --{kind}-name {name} --policy-arn {arn}"
            for kind, name in attached
        )
        raise PolicyAttachedError(
            f"The policy {arn} is not deleted: it is attached to {who}. Applications cannot send "
            f"tasks without it. Detach it where it was attached, or with: {commands}. Then run "
            "this command again."
        )
