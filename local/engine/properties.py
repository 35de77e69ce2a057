"""Describes one property for a handler, and says when two values of it are the same.

Names on pulumi's wire are camelCase. AWS's own names are the same word, capitalised in some
services; a property says so where the two differ more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from local.engine.assets import holds_asset, is_asset
from local.engine.errors import UnsupportedError
from local.engine.wire import has_unknown
from taskpacks.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Property:
    """One input property of a resource type, or one field of such a property."""

    api: str = ""
    """AWS's name, where it is not the wire name in the service's casing."""
    replaces: bool = False
    """A change makes a new resource. Such properties identify it, so they may not be secret."""
    secret: bool = False
    """May be secret although it replaces: the resource is found without it."""
    public: bool = False
    """May not be secret: AWS shows it to everyone who may list the resource."""
    json: bool = False
    """A string that holds JSON: compared as data."""
    unordered: bool = False
    """A list whose order means nothing."""
    exact: bool = False
    """Whether values that only the cloud has are drift; else they are AWS's defaults."""
    default: Any = None
    """The value that AWS has when the property is not given."""
    normalise: Callable[[Any], Any] | None = None
    """Applied to both values before they are compared (after JSON is parsed)."""
    asset: bool = False
    """Files: an asset or an archive, which no other property may be."""
    engine_only: bool = False
    """Settles what the engine does; AWS never sees it."""
    fields: Mapping[str, Property] = field(default_factory=dict[str, "Property"])
    """The properties of an object or a list of objects; empty when the keys are the user's own."""


TAGS = Property(exact=True, public=True, default={})
REGION = Property(replaces=True, engine_only=True)


def check_known(type_token: str, known: Mapping[str, Property], values: Mapping[str, Any]) -> None:
    """Refuses properties and fields that a handler does not understand.

    Raises:
        UnsupportedError: Naming type, property and the nearest known one.
    """

    def check(table: Mapping[str, Property], given: Mapping[str, Any], path: str) -> None:
        for name, value in given.items():
            if name not in table:
                raise UnsupportedError(
                    f"{type_token}: the local cloud does not know the property '{path}{name}'."
                    f"{nearest(name, table)} All known: {', '.join(sorted(table))}. Leave it "
                    "out, or teach the handler in local/engine/handlers about it."
                )
            if holds_asset(value) and not (table[name].asset and is_asset(value)):
                raise UnsupportedError(
                    f"{type_token}: '{path}{name}' cannot hold assets or archives here; give plain "
                    "data."
                )
            if fields := table[name].fields:
                for item in _objects(value):
                    check(fields, item, f"{path}{name}.")

    check(known, values, "")


def to_api(
    known: Mapping[str, Property], values: Mapping[str, Any], casing: Callable[[str], str]
) -> Values:
    """Renames properties and their fields to AWS's names."""
    renamed: Values = {}
    for name, value in values.items():
        spec = known[name]
        if not spec.engine_only:
            renamed[spec.api or casing(name)] = _each(
                value, spec.fields, lambda item, fields: to_api(fields, item, casing)
            )
    return renamed


def from_api(
    known: Mapping[str, Property], values: Mapping[str, Any], casing: Callable[[str], str]
) -> Values:
    """Picks the known properties out of AWS's answer, under their wire names."""
    picked: Values = {}
    for name, spec in known.items():
        value = values.get(spec.api or casing(name))
        if spec.engine_only or value is None:
            continue
        if spec.json and not isinstance(value, str):  # boto3 parses some documents
            value = json.dumps(value)
        picked[name] = _each(
            value, spec.fields, lambda item, fields: from_api(fields, item, casing)
        )
    return picked


def normal(spec: Property, value: Any) -> Any:
    """A value in the form in which two of them can be compared."""
    if spec.json and isinstance(value, str) and not has_unknown(value):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    if spec.normalise and value is not None:
        return spec.normalise(value)
    if spec.unordered and isinstance(value, list):
        return sorted(cast("list[Any]", value), key=lambda item: json.dumps(item, sort_keys=True))
    return value


def same(spec: Property, recorded: Any, wanted: Any) -> bool:
    """Whether two inputs mean the same; an unknown one never does."""
    if has_unknown(wanted):
        return False
    old = spec.default if recorded is None else recorded
    new = spec.default if wanted is None else wanted
    return normal(spec, old) == normal(spec, new)


def drifted(spec: Property, recorded: Any, actual: Any) -> bool:
    """Whether the cloud's value no longer says what was recorded.

    What AWS adds by itself (defaults inside an object) is no drift, unless the property is
    exact.
    """
    wanted = spec.default if recorded is None else recorded
    if wanted is None:
        return False
    if spec.exact:
        return normal(spec, wanted) != normal(spec, actual)
    return not _within(normal(spec, wanted), normal(spec, actual))


def _within(wanted: Any, actual: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(actual, dict):
        whole = cast("Values", actual)
        return all(_within(item, whole.get(name)) for name, item in cast("Values", wanted).items())
    if isinstance(wanted, list) and isinstance(actual, list):
        ours, theirs = cast("list[Any]", wanted), cast("list[Any]", actual)
        return len(ours) == len(theirs) and all(map(_within, ours, theirs))
    return wanted == actual or (wanted in ([], {}, "") and actual is None)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    items = cast("list[Any]", value) if isinstance(value, list) else [value]
    return [cast("Values", item) for item in items if isinstance(item, dict)]


def _each(
    value: Any,
    fields: Mapping[str, Property],
    convert: Callable[[Values, Mapping[str, Property]], Values],
) -> Any:
    if fields and isinstance(value, list):
        return [convert(cast("Values", item), fields) for item in cast("list[Any]", value)]
    if fields and isinstance(value, dict):
        return convert(cast("Values", value), fields)
    return value
