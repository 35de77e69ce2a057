"""Values as pulumi's protocol carries them: protobuf structs with marked secrets and unknowns.

Protobuf knows one kind of number; whole ones come back as int. A secret is an object with a
signature key; an unknown (what a preview cannot know yet) is a reserved string.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from google.protobuf import struct_pb2
from pulumi.runtime import rpc

from local.engine.assets import SIGNATURE, is_asset, with_hash
from local.engine.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNKNOWN: Final = rpc.UNKNOWN
UNKNOWN_TEXT: Final = "[unknown]"
SECRET_TEXT: Final = "[secret]"  # noqa: S105 - stands in for one

# pulumi keeps its signatures private; local/engine is pinned to one version of it.
_SECRET: Final = rpc._special_secret_sig  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above


class Decoded(NamedTuple):
    """Plain values, and the names of the top-level properties that hold a secret anywhere."""

    values: dict[str, Any]
    secrets: frozenset[str]


def decode(struct: struct_pb2.Struct, *, subject: str) -> Decoded:
    """Turns a struct into plain Python values.

    Args:
        struct: The properties as received.
        subject: Whose they are, for the error message.

    Raises:
        UnsupportedError: For anything that is neither plain data nor a secret nor a readable
            asset or archive, which comes with the hash of its content.
    """
    values: dict[str, Any] = {}
    secrets: set[str] = set()
    for name, field in struct.fields.items():
        found: list[bool] = []
        where = f"{subject}, property '{name}'"
        value = _plain(field, found, where)
        if is_asset(value):
            value = with_hash(value, where)
        if value is not None:
            values[name] = value
        if found:
            secrets.add(name)
    return Decoded(values, frozenset(secrets))


def encode(values: Mapping[str, Any], secrets: Iterable[str]) -> struct_pb2.Struct:
    """Turns plain values into a struct, with the named top-level properties marked secret."""
    hidden = set(secrets)
    struct = struct_pb2.Struct()
    struct.update(
        {
            name: {SIGNATURE: _SECRET, "value": value} if name in hidden else value
            for name, value in values.items()
        }
    )
    return struct


def has_unknown(value: Any) -> bool:
    """Whether a value is unknown or holds something that is."""
    if isinstance(value, dict):
        return any(has_unknown(item) for item in cast("dict[str, Any]", value).values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in cast("list[Any]", value))
    return isinstance(value, str) and UNKNOWN in value


def masked(values: Mapping[str, Any], secrets: Iterable[str]) -> dict[str, Any]:
    """Values for people to read: secrets and unknowns are replaced by words."""
    hidden = set(secrets)
    return {
        name: SECRET_TEXT if name in hidden else UNKNOWN_TEXT if has_unknown(value) else value
        for name, value in values.items()
    }


def _plain(value: struct_pb2.Value, found: list[bool], subject: str) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        fields = value.struct_value.fields
        if SIGNATURE in fields and fields[SIGNATURE].string_value == _SECRET:
            found.append(True)
            return _plain(fields["value"], found, subject)
        items = {name: _plain(item, found, subject) for name, item in fields.items()}
        if SIGNATURE in items and not is_asset(items):
            raise UnsupportedError(
                f"{subject}: resource references cannot be used here; give plain data, or an "
                "output of the resource such as its arn."
            )
        return {name: item for name, item in items.items() if item is not None}
    if kind == "list_value":
        return [_plain(item, found, subject) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "string_value":
        return value.string_value
    return value.bool_value if kind == "bool_value" else None
