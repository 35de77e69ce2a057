"""EventBridge's event patterns.

moto's own matcher ignores operators that it does not know, looks at the first operator of
each object only and cannot see into arrays of objects, so this one stands in its place.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}


class BadPatternError(Exception):
    """An event pattern is not one that EventBridge knows."""


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Says whether an event pattern matches an event.

    Args:
        pattern: The pattern, parsed.
        event: The whole event: source, detail-type, detail and the rest.

    Raises:
        BadPatternError: The pattern has an operator that is not known, or a leaf that is
            neither an object nor an array. Raised for any event, so that a mistake shows.
    """
    _check(pattern)
    return _matches_object(pattern, event)


def _check(pattern: Mapping[str, Any]) -> None:
    for name, value in pattern.items():
        if name == "$or":
            _check_alternatives(value)
        elif isinstance(value, dict):
            _check(value)
        elif isinstance(value, list) and value:
            for condition in value:
                if isinstance(condition, dict):
                    _check_condition(name, condition)
        else:
            raise BadPatternError(
                f"'{name}' is {value!r} in an event pattern; it must be an object or an array "
                "that is not empty"
            )


def _check_alternatives(alternatives: Any) -> None:
    if not isinstance(alternatives, list) or not alternatives:
        raise BadPatternError("'$or' in an event pattern must be an array of objects")
    for alternative in alternatives:
        _check(alternative)


def _check_condition(name: str, condition: dict[str, Any]) -> None:
    if len(condition) != 1:
        raise BadPatternError(f"'{name}': {condition} must have exactly one operator")
    [(word, argument)] = condition.items()
    if word == "exists":
        if not isinstance(argument, bool):
            raise BadPatternError(f"'{name}': exists must be true or false, not {argument!r}")
    elif word == "anything-but":
        if isinstance(argument, dict):
            _check_condition(name, argument)
    elif word == "numeric":
        words = argument[::2] if isinstance(argument, list) else [argument]
        if not isinstance(argument, list) or len(argument) % 2 or set(words) - _COMPARISONS.keys():
            raise BadPatternError(
                f"'{name}': numeric must be pairs of {', '.join(_COMPARISONS)} and a number, "
                f"not {argument!r}"
            )
    elif word not in _TEXT_OPERATORS:
        known = sorted([*_TEXT_OPERATORS, "anything-but", "exists", "numeric", "$or"])
        raise BadPatternError(
            f"'{name}': the operator '{word}' is not known. Known: {', '.join(known)}."
        )


def _matches_object(pattern: Mapping[str, Any], value: Any) -> bool:
    if isinstance(value, list):  # an array of objects: one of them must match
        return any(_matches_object(pattern, each) for each in value)
    for name, wanted in pattern.items():
        if name == "$or":
            if not any(_matches_object(alternative, value) for alternative in wanted):
                return False
            continue
        present = isinstance(value, dict) and name in value
        found: Any = value[name] if present else None
        if isinstance(wanted, dict):
            if not _matches_object(wanted, found):
                return False
        elif not any(_matches_leaf(condition, found, present=present) for condition in wanted):
            return False
    return True


def _matches_leaf(condition: Any, found: Any, *, present: bool) -> bool:
    if isinstance(condition, dict) and "exists" in condition:
        return condition["exists"] == (present and not isinstance(found, dict))
    if not present:
        return False
    values = found if isinstance(found, list) else [found]
    return any(_matches_value(condition, value) for value in values)


def _matches_value(condition: Any, value: Any) -> bool:
    if not isinstance(condition, dict):
        return _same(condition, value)
    [(word, argument)] = condition.items()
    if word == "anything-but":
        if isinstance(argument, dict):
            return not _matches_value(argument, value)
        return not any(_same(each, value) for each in _listed(argument))
    if word == "numeric":
        return _is_number(value) and all(
            _COMPARISONS[comparison](value, bound)
            for comparison, bound in zip(argument[::2], argument[1::2], strict=True)
        )
    return isinstance(value, str) and any(
        _TEXT_OPERATORS[word](value, each) for each in _listed(argument)
    )


def _same(wanted: Any, value: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    return wanted == value and isinstance(wanted, bool) == isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(argument: Any) -> list[Any]:
    return argument if isinstance(argument, list) else [argument]


def _prefix(value: str, argument: Any) -> bool:
    if isinstance(argument, dict):
        return value.casefold().startswith(argument["equals-ignore-case"].casefold())
    return value.startswith(argument)


def _suffix(value: str, argument: Any) -> bool:
    if isinstance(argument, dict):
        return value.casefold().endswith(argument["equals-ignore-case"].casefold())
    return value.endswith(argument)


def _equals_ignore_case(value: str, argument: str) -> bool:
    return value.casefold() == argument.casefold()


def _wildcard(value: str, argument: str) -> bool:
    """`*` stands for anything; a backslash takes the meaning of the character behind it."""
    parts = re.findall(r"\\.|\*|[^*\\]+", argument)
    expression = "".join(".*" if part == "*" else re.escape(part.lstrip("\\")) for part in parts)
    return re.fullmatch(expression, value, re.DOTALL) is not None


_TEXT_OPERATORS: Final[dict[str, Callable[[str, Any], bool]]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
}
