"""Keeps the state of a stack between runs: a JSON file, saved whole after each change.

Secrets never reach the file. A secret input is stored as a slow salted hash, with a salt of
its own, which is enough to see that it changed; a secret output is not stored at all and is
read from the cloud again when a program needs it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Final, cast

from local.engine.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

VERSION: Final = 1
_HASHED: Final = "__secret_scrypt__"


@dataclass(kw_only=True)
class Record:
    """One resource as it was last registered and last seen in the cloud."""

    urn: str
    type: str
    custom: bool
    parent: str = ""
    id: str = ""
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    """Secret ones hashed; the automatic name included."""
    outputs: dict[str, Any] = field(default_factory=dict[str, Any])
    """Without the secret ones."""
    secret_outputs: list[str] = field(default_factory=list[str])
    auto_named: bool = False
    incomplete: bool = False
    """It exists, but its making did not end: the next up() settles all its properties."""
    dependencies: list[str] = field(default_factory=list[str])
    """URNs that it depends on: by a property or explicitly."""
    property_dependencies: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    protect: bool = False
    retain_on_delete: bool = False
    before_delete: list[str] = field(default_factory=list[str])
    """Names of the hooks that are asked first."""


class State:
    """All records of a stack. Not for two threads at once: its owner holds a lock."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.resources: dict[str, Record] = {}
        self.pending: list[Record] = []
        """Old halves of replacements, still to be deleted."""
        self.stack_outputs: dict[str, Any] = {}
        """Secret ones are shown as a word."""

    @classmethod
    def load(cls, file: Path) -> State:
        """Reads the file; a stack that was never deployed has none.

        Raises:
            StateError: It is not a state file of this version.
        """
        state = cls(file)
        try:
            text = file.read_text("utf-8")
        except FileNotFoundError:
            return state
        remedy = "Move it away to start without it; what it recorded stays in the cloud."
        try:
            content = json.loads(text)
            version = content["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"{file} is not a state file: {error!r}. {remedy}") from error
        if version != VERSION:
            raise StateError(f"{file} has version {version}, this engine {VERSION}. {remedy}")
        try:
            records = [Record(**fields) for fields in content["resources"]]
            state.pending = [Record(**fields) for fields in content["pending"]]
            state.stack_outputs = content["stack_outputs"]
        except (KeyError, TypeError) as error:
            raise StateError(f"{file} is damaged: {error!r}. {remedy}") from error
        state.resources = {record.urn: record for record in records}
        return state

    def save(self) -> None:
        """Replaces the file; a reader sees the old content or the new one, never a part.

        It happens after each change: so without indentation, which is many times slower.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "version": VERSION,
            "stack_outputs": self.stack_outputs,
            "resources": [vars(record) for record in self.resources.values()],
            "pending": [vars(record) for record in self.pending],
        }
        beside = self._file.with_name(f"{self._file.name}.{os.getpid()}.new")
        beside.write_text(json.dumps(content), "utf-8")
        beside.replace(self._file)

    def rename(self, old_urn: str, new_urn: str) -> Record:
        """Gives a record a new URN, everywhere that it is referred to."""
        renamed = {
            new_urn if urn == old_urn else urn: record for urn, record in self.resources.items()
        }
        self.resources = renamed
        renamed[new_urn].urn = new_urn

        def replaced(urns: list[str]) -> list[str]:
            return [new_urn if urn == old_urn else urn for urn in urns]

        for record in (*renamed.values(), *self.pending):
            record.parent = new_urn if record.parent == old_urn else record.parent
            record.dependencies = replaced(record.dependencies)
            record.property_dependencies = {
                name: replaced(urns) for name, urns in record.property_dependencies.items()
            }
        return renamed[new_urn]


def deletion_order(records: Iterable[Record]) -> list[Record]:
    """Orders records so that nothing is deleted before what depends on it.

    Property dependencies, explicit ones and parents all count.

    Raises:
        StateError: The records depend on each other in a circle.
    """
    by_urn: dict[str, list[int]] = {}
    numbered = dict(enumerate(records))
    for number, record in numbered.items():
        by_urn.setdefault(record.urn, []).append(number)
    graph: TopologicalSorter[int] = TopologicalSorter()
    for number, record in reversed(numbered.items()):
        graph.add(number)
        for urn in {record.parent, *record.dependencies}:
            for needed in by_urn.get(urn, ()):
                graph.add(needed, number)
    try:
        return [numbered[number] for number in graph.static_order()]
    except CycleError as error:
        circle = ", ".join(numbered[number].urn for number in error.args[1])
        raise StateError(f"The state is damaged: resources depend in a circle: {circle}") from error


def hashed(value: Any) -> dict[str, Any]:
    """Returns what is stored in place of a secret."""
    salt = secrets.token_hex(16)
    return {_HASHED: {"salt": salt, "hash": _scrypt(value, salt)}}


def is_hashed(value: Any) -> bool:
    """Whether a stored value stands for a secret."""
    return isinstance(value, dict) and set(cast("dict[str, Any]", value)) == {_HASHED}


def matches(stored: Any, value: Any) -> bool:
    """Whether a secret is the one whose hash is stored."""
    fields: Mapping[str, str] = stored[_HASHED]
    return secrets.compare_digest(_scrypt(value, fields["salt"]), fields["hash"])


def _scrypt(value: Any, salt: str) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.scrypt(text.encode(), salt=bytes.fromhex(salt), n=2**13, r=8, p=1).hex()
