"""Reads the task's `by`, and translates each key for the engine.

Input never becomes SQL: columns are numbers, characters are `chr(number)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from taskpacks import BadInputError
from taskpacks.errors import listed, nearest, quoted

ORDERS: Final = ("ascending", "descending")
TYPES: Final = ("text", "numeric")

_NUMBER: Final = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,9})?"


@dataclass(frozen=True)
class Key:
    """One column to sort by."""

    column: str | int
    """A header's name, or a column's number from 1."""
    descending: bool = False
    numeric: bool = False


def parse(by: object) -> tuple[Key, ...]:
    """Reads the task's argument.

    Args:
        by: A list of names, numbers from 1, or mappings with "column" and optionally
            "order" ("ascending", "descending") and "type" ("text", "numeric").

    Raises:
        BadInputError: It is anything else.
    """
    if not isinstance(by, list | tuple) or not by:
        raise BadInputError(
            f"by is {quoted(by)}: it must be a list of at least one key, such as ['name'] or "
            "[{'column': 'price', 'order': 'descending', 'type': 'numeric'}]."
        )
    return tuple(_key(entry) for entry in by)


def position(key: Key, names: list[str], *, header: bool) -> int:
    """Gives the number, from 1, of a key's column.

    Args:
        key: With a name or a number.
        names: Of the header; without one, the first record's fields.
        header: Whether there is one.

    Raises:
        BadInputError: There is no such column, or two.
    """
    if isinstance(key.column, int):
        if not 1 <= key.column <= len(names):
            raise BadInputError(
                f"by names column {key.column}: the source has {len(names)} columns, counted "
                "from 1; choose one of them."
            )
        return key.column
    if not header:
        raise BadInputError(
            f"by names column {quoted(key.column)} of a source without a header; give the column's "
            "number, counted from 1."
        )
    found = [number for number, name in enumerate(names, 1) if name == key.column]
    if not found:
        hint = nearest(key.column, names)
        raise BadInputError(
            f"by names column {quoted(key.column)}, which the source has not."
            # All names could be the first record's data: only one that is close is shown.
            + (hint if "mean" in hint else f" It has {len(names)} columns; check its first line.")
        )
    if len(found) > 1:
        raise BadInputError(
            f"by names column {quoted(key.column)}, which the source has {len(found)} times; give "
            f"one's number instead: {listed(found)}."
        )
    return found[0]


@dataclass(frozen=True)
class Ordering:
    """A key as the engine takes it."""

    steps: tuple[tuple[str, ...], ...]
    """Columns, each "expression AS name", in steps of which each uses the ones before. One
    step for all would have the engine compute shared parts many times."""
    columns: tuple[str, ...]
    """Those that are sorted by."""
    terms: tuple[str, ...]
    """For ORDER BY."""


def ordering(key: Key, value: str, name: str) -> Ordering:
    """Makes the engine's ordering of a key.

    Args:
        key: How to sort.
        value: An SQL expression for the field's text.
        name: Prefix for the columns that this makes.
    """
    direction = "DESC" if key.descending else "ASC"
    if not key.numeric:
        # The engine compares bytes of UTF-8, whose order is that of code points.
        return Ordering(((f"{value} AS {name}",),), (name,), (f"{name} {direction}",))
    # Exact for any length: sign, then the decimal point's place, then the digits as text.
    # In negative numbers larger digits come first, so these are complemented.
    text, other, plain, whole = f"{name}_text", f"{name}_other", f"{name}_plain", f"{name}_whole"
    digits, led, sign = f"{name}_digits", f"{name}_led", f"{name}_sign"
    exponent = (
        f"CASE WHEN contains({text}, 'e') "
        f"THEN TRY_CAST(split_part({text}, 'e', 2) AS BIGINT) ELSE 0 END"
    )
    steps = (
        (f"lower(trim({value}, ' ' || chr(9))) AS {text}",),
        (
            f"NOT regexp_full_match({text}, '{_NUMBER}') AS {other}",
            f"ltrim(split_part({text}, 'e', 1), '+-') AS {plain}",
        ),
        (
            f"split_part({plain}, '.', 1) AS {whole}",
            f"replace({plain}, '.', '') AS {digits}",
        ),
        (f"ltrim({digits}, '0') AS {led}",),
        (
            (
                f"CASE WHEN {other} OR {led} = '' THEN 0 "
                f"WHEN starts_with({text}, '-') THEN -1 ELSE 1 END AS {sign}"
            ),
        ),
        (
            (
                f"CASE WHEN {sign} = 0 THEN 0 ELSE {sign} * (strlen({whole}) + strlen({led}) "
                f"- strlen({digits}) + {exponent}) END AS {name}_place"
            ),
            (
                f"CASE {sign} WHEN 0 THEN '' WHEN 1 THEN rtrim({led}, '0') "
                f"ELSE translate(rtrim({led}, '0'), '0123456789', '9876543210') || '~' "
                f"END AS {name}_value"
            ),
        ),
    )
    columns = (sign, f"{name}_place", f"{name}_value")
    terms = (f"{other} ASC", *(f"{column} {direction}" for column in columns))
    return Ordering(steps, (other, *columns), terms)


def _key(entry: object) -> Key:
    if isinstance(entry, Mapping):
        return _key_from_mapping(entry)
    return Key(_column(entry))


def _key_from_mapping(entry: Mapping[Any, Any]) -> Key:
    known = {"column", "order", "type"}
    for name in entry:
        if name not in known:
            raise BadInputError(f"by has a key with {quoted(name)}.{nearest(str(name), known)}")
    if "column" not in entry:
        raise BadInputError(f"by has the key {quoted(dict(entry))} without a 'column'; add it.")
    order, kind = entry.get("order", ORDERS[0]), entry.get("type", TYPES[0])
    for name, value, allowed in (("order", order, ORDERS), ("type", kind, TYPES)):
        if value not in allowed:
            raise BadInputError(
                f"by has a key with {name} {quoted(value)}: it must be {' or '.join(allowed)}."
            )
    return Key(_column(entry["column"]), descending=order == ORDERS[1], numeric=kind == TYPES[1])


def _column(value: object) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadInputError(
            f"by names column {quoted(value)}: a column is a header's name or a number from 1."
        )
    return value
