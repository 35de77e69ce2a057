"""A registration, and the rules that need nothing but it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.engine.errors import ProtectedError, UnsupportedError
from local.engine.wire import has_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from local.engine.handlers import Handler
    from local.engine.state import Record
    from local.engine.steps import Wanted
    from local.engine.urns import Alias

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A registration, free of the protocol."""

    type: str
    name: str
    custom: bool
    parent: str
    inputs: Values
    secrets: frozenset[str] = frozenset()
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]]
    protect: bool = False
    retain_on_delete: bool = False
    delete_before_replace: bool | None = None
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    secret_outputs: frozenset[str] = frozenset()
    aliases: tuple[Alias, ...] = ()
    before_delete: tuple[str, ...] = ()
    """Names of hooks."""


def refuse_protected(records: Iterable[Record], why: str) -> None:
    """Refuses if any record is protected.

    Raises:
        ProtectedError: Naming all of them and the remedy.
    """
    if protected := [record.urn for record in records if record.protect]:
        raise ProtectedError(
            f"{', '.join(protected)} {why}, but is protected. Keep it in the program with "
            "protect=False, run up() once, and then do it again."
        )


def refuse_secret_identity(handler: Handler, goal: Goal) -> None:
    """Refuses secrets where they could not be kept from the state or from AWS's lists.

    Raises:
        UnsupportedError: Naming the property.
    """
    for name in sorted(goal.secrets & handler.properties.keys()):
        spec = handler.properties[name]
        if (spec.replaces and not spec.secret) or spec.public:
            raise UnsupportedError(
                f"{goal.type} '{goal.name}': '{name}' cannot be secret, because the resource is "
                "found by it or AWS shows it to everyone. Give a value that is not marked secret."
            )


def delete_first(goal: Goal, wanted: Wanted, old: Record) -> bool:
    """Whether a replacement deletes the old half first: as told, or because names would clash."""
    if goal.delete_before_replace is not None:
        return goal.delete_before_replace
    handler = wanted.handler
    if handler.delete_before_replace or handler.auto_name is None:
        return handler.delete_before_replace
    key = handler.auto_name.property
    name = wanted.inputs.get(key)
    return not has_unknown(name) and name == old.inputs.get(key)
