"""Lists what a run did, per resource."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from local.engine.urns import name_of, type_chain

if TYPE_CHECKING:
    from collections.abc import Mapping


class Action(StrEnum):
    """An operation on a resource, done or, in a preview, to be done."""

    CREATED = "created"
    UPDATED = "updated"
    """In place. In a refresh: it had drifted, or its outputs had changed."""
    REPLACED = "replaced"
    DELETED = "deleted"
    """In a refresh: it was gone from the cloud."""
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Change:
    """One resource's part in a run."""

    urn: str
    action: Action
    properties: tuple[str, ...] = ()
    """Names of the input properties that made the difference, sorted."""

    def __str__(self) -> str:
        kind = type_chain(self.urn).rpartition("$")[2]
        why = f" ({', '.join(self.properties)})" if self.properties else ""
        return f"{self.action} {kind} {name_of(self.urn)}{why}"


class Operation(NamedTuple):
    """One step of a run; a replacement has two."""

    verb: str
    """The real engine's word: create, update, delete, create-replacement, delete-replaced."""
    urn: str

    def __str__(self) -> str:
        kind = type_chain(self.urn).rpartition("$")[2].rpartition(":")[2]
        return f"{self.verb} {kind} {name_of(self.urn)}"


@dataclass(frozen=True)
class Summary:
    """A whole run. Printing it lists what was not left unchanged, and the counts."""

    changes: Mapping[str, Change]
    """By URN, in the order of registration; the stack and components included."""
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The stack's. Secret and unknown ones are words in brackets."""
    operations: tuple[Operation, ...] = ()
    """The operations done, in order; the halves of a replacement each by itself."""

    @property
    def counts(self) -> Counter[Action]:
        """How many resources met each fate."""
        return Counter(change.action for change in self.changes.values())

    @property
    def changed(self) -> tuple[Change, ...]:
        """Everything but the unchanged."""
        return tuple(
            change for change in self.changes.values() if change.action is not Action.UNCHANGED
        )

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {action}" for action, count in sorted(self.counts.items()))
        return "\n".join([*map(str, self.changed), counts or "nothing to do"])
