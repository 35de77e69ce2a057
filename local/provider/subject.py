"""One resource in a call of the protocol: whose it is, and its values out of the wire's form."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from local.engine import wire
from local.engine.handlers import Handler, handler_for
from local.engine.steps import tainted
from local.engine.urns import name_of, type_chain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf import struct_pb2

Values = dict[str, Any]
DEFAULTS: Final = "__defaults"
"""Names of the inputs that are not the program's, as pulumi-aws keeps them among the inputs."""


@dataclass(frozen=True)
class Given:
    """Inputs as they came: plain, with the names of the secret ones and of those made here."""

    values: Values
    secrets: frozenset[str]
    defaults: frozenset[str]

    def encoded(self) -> struct_pb2.Struct:
        """The inputs in the wire's form."""
        made = {DEFAULTS: sorted(self.defaults)} if self.defaults else {}
        return wire.encode({**self.values, **made}, self.secrets)


@dataclass(frozen=True)
class Subject:
    """A resource, by its URN."""

    urn: str

    @property
    def type(self) -> str:
        """Its type token."""
        return type_chain(self.urn).rpartition("$")[2]

    @property
    def handler(self) -> Handler:
        """Its type's handler.

        Raises:
            UnsupportedError: There is none.
        """
        return handler_for(self.type, name_of(self.urn))

    def __str__(self) -> str:
        return f"{self.type} '{name_of(self.urn)}'"

    def given(self, struct: struct_pb2.Struct) -> Given:
        """Inputs, out of the wire's form."""
        values, secrets = wire.decode(struct, subject=str(self))
        defaults = frozenset(values.pop(DEFAULTS, ()))
        return Given(values, secrets, defaults)

    def named(self, news: Given, olds: Given, seed: bytes) -> Given:
        """Fills in the name that the program leaves to us; it stays for as long as it is ours.

        Args:
            news: The program's inputs.
            olds: Those of the last time; empty for a new resource and for a replacement.
            seed: Makes the same name in a preview and in the run that follows it.
        """
        auto_name = self.handler.auto_name
        if auto_name is None or auto_name.property in news.values:
            return news
        key = auto_name.property
        if key in olds.defaults:
            name = olds.values[key]
        else:
            digits = hashlib.sha256(seed + self.urn.encode()).hexdigest() if seed else None
            name = auto_name.new(name_of(self.urn), digits=digits)
        return Given({**news.values, key: name}, news.secrets, frozenset({key}))

    def outputs(
        self, inputs: Given, found: Mapping[str, Any], resource_id: str
    ) -> struct_pb2.Struct:
        """All that a resource shows, in the wire's form.

        The id stands among it, as pulumi-aws has it: an update may change it (a job definition's
        is its revision's ARN), and the protocol has no other place for a new one.
        """
        values = {**found, **inputs.values, "id": resource_id}
        hidden = inputs.secrets | tainted(inputs.values, inputs.secrets, values)
        return wire.encode(values, hidden)
