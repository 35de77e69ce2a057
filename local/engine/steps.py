"""The steps that touch the cloud, each with its record in the state.

After every call that changes something the state is saved, so that what was made is known
even if the next call fails.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from local.engine.cloud import Cloud, calls_for
from local.engine.errors import CloudError
from local.engine.handlers import Handler, Resource, Update, handler_for
from local.engine.properties import Property, normal
from local.engine.state import Record, State, hashed, is_hashed, matches
from local.engine.urns import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Values = dict[str, Any]


class Wanted(NamedTuple):
    """A resource as the program wants it, its name settled."""

    handler: Handler
    inputs: Values
    secrets: frozenset[str]
    """Names of secret inputs."""
    secret_outputs: frozenset[str]
    """Names of outputs that the program declared secret."""
    record: Record
    """Carries everything but id, inputs and outputs."""


class Registered(NamedTuple):
    """The answer to the program about a resource."""

    urn: str
    id: str
    outputs: Values
    secrets: frozenset[str]


class Steps:
    """Creates, reads, updates and deletes. Its caller holds the lock."""

    def __init__(self, cloud: Cloud, state: State) -> None:
        self._cloud = cloud
        self._state = state

    def create(self, wanted: Wanted, *, replaced: Record | None = None) -> Registered:
        """Makes a resource, records it, and only then settles the rest of its properties.

        Args:
            wanted: The new resource.
            replaced: The old half, which moves aside in the same save.
        """
        record, handler = wanted.record, wanted.handler
        cloud = self._cloud.at(wanted.inputs.get("region"))
        with calls_for(f"Creating {_subject(record)}"):
            record.id = handler.create(cloud, wanted.inputs)
        record.incomplete = True
        record.inputs = sealed(wanted, {})
        if replaced is not None:
            self._state.pending.append(replaced)
        self._state.resources[record.urn] = record
        self._state.save()
        with calls_for(f"Settling the properties of the new {_subject(record)}"):
            handler.configure(cloud, Resource(record.id, wanted.inputs))
        return self._settle(wanted, {})

    def update(self, wanted: Wanted, old: Record, changed: frozenset[str]) -> Registered:
        """Changes a resource in place."""
        record, handler = wanted.record, wanted.handler
        record.id = old.id
        sent = frozenset(name for name in changed if not handler.properties[name].engine_only)
        if sent:
            cloud = self._cloud.at(wanted.inputs.get("region"))
            known = {name: value for name, value in old.inputs.items() if not is_hashed(value)}
            change = Update(id=old.id, old=known, new=wanted.inputs, changed=sent)
            with calls_for(f"Updating {_subject(old)}"):
                record.id = handler.update(cloud, change)
        return self._settle(wanted, old.inputs)

    def keep(self, wanted: Wanted, old: Record) -> Registered:
        """Leaves a resource as it is; only what the program says about it may be new."""
        record = wanted.record
        record.id, record.outputs = old.id, old.outputs
        record.inputs = sealed(wanted, old.inputs)
        record.secret_outputs = sorted(
            {*old.secret_outputs, *wanted.secret_outputs, *wanted.secrets}
        )
        hidden = set(record.secret_outputs)
        outputs = {**old.outputs, **wanted.inputs}
        if hidden - outputs.keys():
            outputs = {**(self.read(record, wanted.inputs) or {}), **outputs}
        record.outputs = {name: value for name, value in old.outputs.items() if name not in hidden}
        if record != old:
            self._state.resources[record.urn] = record
            self._state.save()
        return Registered(record.urn, record.id, outputs, frozenset(hidden))

    def read(self, record: Record, inputs: Mapping[str, Any]) -> Values | None:
        """Asks the cloud; None means that there is no such resource."""
        handler = handler_for(record.type, name_of(record.urn))
        with calls_for(f"Reading {_subject(record)}"):
            return handler.find(self._cloud, Resource(record.id, inputs))

    def delete(self, record: Record) -> None:
        """Deletes from the cloud, if it is there; the caller forgets the record."""
        if not record.custom or record.retain_on_delete:
            return
        handler = handler_for(record.type, name_of(record.urn))
        with calls_for(f"Deleting {_subject(record)}"):
            handler.remove(self._cloud, Resource(record.id, record.inputs))

    def _settle(self, wanted: Wanted, old_inputs: Mapping[str, Any]) -> Registered:
        """Reads back what was made or changed, and records it."""
        record = wanted.record
        found = self.read(record, wanted.inputs)
        if found is None:
            raise CloudError(
                f"{_subject(record)} was made, but the cloud does not find it. Is something "
                "else deleting it?"
            )
        outputs = {**found, **wanted.inputs}
        repeated = tainted(wanted.inputs, wanted.secrets, outputs)
        hidden = wanted.secrets | wanted.secret_outputs | repeated
        record.inputs = sealed(wanted, old_inputs)
        record.outputs = {name: value for name, value in outputs.items() if name not in hidden}
        record.secret_outputs = sorted(hidden)
        record.incomplete = False
        self._state.resources[record.urn] = record
        self._state.save()
        return Registered(record.urn, record.id, outputs, frozenset(hidden))


def sealed(wanted: Wanted, stored: Mapping[str, Any]) -> Values:
    """Inputs as they may be stored: secret ones hashed, with the old hash where it still holds."""

    def seal(name: str, value: Any) -> Any:
        if name not in wanted.secrets:
            return value
        plain = normal(wanted.handler.properties.get(name, Property()), value)
        old = stored.get(name)
        return old if is_hashed(old) and matches(old, plain) else hashed(plain)

    return {name: seal(name, value) for name, value in wanted.inputs.items()}


def tainted(
    inputs: Mapping[str, Any], secret: Iterable[str], outputs: Mapping[str, Any]
) -> frozenset[str]:
    """Outputs under other names that repeat a secret input's text."""
    words = {
        word for name in secret for word in _words(inputs.get(name)) if word and not word.isspace()
    }
    return frozenset(
        name
        for name, value in outputs.items()
        if any(word in text for text in (json.dumps(value), *_words(value)) for word in words)
    )


def _words(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in cast("Values", value).values():
            yield from _words(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _words(item)


def _subject(record: Record) -> str:
    known = f", id {record.id}" if record.id else ""
    return f"{record.type} '{name_of(record.urn)}' ({record.urn}{known})"
