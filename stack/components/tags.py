"""The tags on everything: which stack, which pack, which deployment, whose.

A transformation and not the provider's default tags: those are one set for a whole provider,
so that each deployment would need a provider of its own. Transformations are inherited by
children, a pack's own infrastructure included.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pulumi

from stack.model import STACK_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEPLOYMENT: Final = "taskpacks:deployment"


def of_stack(stack: str, owner: str | None) -> dict[str, str]:
    """Returns the tags of every resource of a stack."""
    return {STACK_TAG: stack, **({"taskpacks:owner": owner} if owner else {})}


def of_deployment(deployment: str, pack: str) -> dict[str, str]:
    """Returns the further tags of every resource of a deployment."""
    return {DEPLOYMENT: deployment, "taskpacks:pack": pack}


def adding(
    tags: Mapping[str, str],
) -> Callable[[pulumi.ResourceTransformationArgs], pulumi.ResourceTransformationResult | None]:
    """A transformation that puts tags on each AWS resource that takes any; its own stay."""

    def transform(
        args: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult | None:
        if not args.type_.startswith("aws:") or not _takes_tags(type(args.resource)):
            return None
        properties: Any = args.props
        own = properties.get("tags") or {}
        return pulumi.ResourceTransformationResult(
            props={**properties, "tags": {**tags, **own}}, opts=args.opts
        )

    return transform


@cache
def _takes_tags(kind: type[pulumi.Resource]) -> bool:
    initialiser = getattr(kind, "_internal_init", None)
    return initialiser is not None and "tags" in inspect.signature(initialiser).parameters
