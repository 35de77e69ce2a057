"""Checks before AWS deletes something: messages, workers that run, policies, data.

Hooks of Pulumi, which a stack's state remembers by their names: each run of the program registers
all of them, since whoever needs one may not be in the program any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

# Not pulumi.Config, which warns of secrets that are read plainly: these go to AWS only.
from pulumi.runtime.config import get_config

from stack.before_delete import data, messages, policies, workers
from stack.before_delete.access import Access

if TYPE_CHECKING:
    from collections.abc import Callable

    import pulumi

    from stack.model import StackSettings

__all__ = ["Guards", "guards"]


@dataclass(frozen=True, kw_only=True)
class Guards:
    """The hooks that components bind, and the transformation that binds those of data."""

    messages: pulumi.ResourceHook
    workers: pulumi.ResourceHook
    policies: pulumi.ResourceHook
    data: Callable[[pulumi.ResourceTransformationArgs], pulumi.ResourceTransformationResult | None]


def guards(region: str, settings: StackSettings) -> Guards:
    """Registers all hooks; to be called once in every run of the program.

    Args:
        region: Where the stack is.
        settings: Of the stack.
    """
    how = Access.read(get_config, region)
    return Guards(
        messages=messages.hook(how),
        workers=workers.hook(how, settings.drain_on_delete_seconds),
        policies=policies.hook(how),
        data=data.keeping(how, settings.data),
    )
