"""EventBridge's event patterns, as far as the stack uses them: values, and how one begins.

moto's own matcher ignores operators that it does not know and cannot see into arrays of
objects, so this one stands in its place.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class BadPatternError(Exception):
    """An event pattern is not one that EventBridge knows, or that this cloud knows."""


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Says whether an event pattern matches an event.

    Args:
        pattern: The pattern, parsed.
        event: The whole event: source, detail-type, detail and the rest.

    Raises:
        BadPatternError: The pattern has an operator, or a leaf that is neither an object nor an
            array. Raised for any event, so that a mistake shows.
    """
    _check(pattern)
    return _matches_object(pattern, event)


def _check(pattern: Mapping[str, Any]) -> None:
    for name, value in pattern.items():
        if isinstance(value, dict):
            _check(value)
        elif name == "$or" or not isinstance(value, list) or not value:
            raise BadPatternError(
                f"'{name}' is {value!r} in an event pattern; it must be an object or an array "
                "that is not empty, and the local cloud does not know '$or'"
            )
        elif operators := [
            condition
            for condition in value
            if isinstance(condition, dict) and list(condition) != ["prefix"]
        ]:
            raise BadPatternError(
                f"'{name}': the local cloud knows the operator prefix and no other, such as "
                f"{operators[0]}. List the values themselves."
            )


def _matches_object(pattern: Mapping[str, Any], value: Any) -> bool:
    if isinstance(value, list):  # an array of objects: one of them must match
        return any(_matches_object(pattern, each) for each in value)
    return isinstance(value, dict) and all(
        name in value
        and (
            _matches_object(wanted, value[name])
            if isinstance(wanted, dict)
            else _matches_leaf(wanted, value[name])
        )
        for name, wanted in pattern.items()
    )


def _matches_leaf(wanted: list[Any], found: Any) -> bool:
    """Equality is JSON's: true is not 1."""
    values = found if isinstance(found, list) else [found]
    return any(
        isinstance(value, str) and value.startswith(each["prefix"])
        if isinstance(each, dict)
        else each == value and isinstance(each, bool) == isinstance(value, bool)
        for each in wanted
        for value in values
    )
