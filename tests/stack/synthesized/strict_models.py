"""Checks a call's parameters against botocore's model of them, enums and patterns included.

botocore itself checks unknown and missing members, types and some minima only.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TYPES = {
    "string": str,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "boolean": bool,
    "list": (list, tuple),
    "map": dict,
    "structure": dict,
}
# Java's names for characters, as they stand inside the brackets of AWS's patterns.
_CLASSES = {
    r"\p{L}": "A-Za-z\u00aa-\uffff",
    r"\p{M}": "\u0300-\u036f",
    r"\p{Z}": " \u00a0\u2000-\u200a",
    r"\p{S}": "$+<=>^`|~",
    r"\p{N}": "0-9\u00b2\u00b3\u00b9",
    r"\p{P}": "!\"#%&'()*,./:;?@\\[\\]\\\\_{}-",
    r"\p{Alnum}": "A-Za-z0-9",
    r"\p{Graph}": "!-~",
    r"\p{Print}": " -~",
    r"\p{ASCII}": "\x00-\x7f",
}


def problems(shape: Any, value: Any, path: str = "") -> Iterator[str]:
    """Returns what is wrong with a value, a sentence each; nothing when all is well."""
    expected = _TYPES.get(shape.type_name)
    numeric = shape.type_name in {"integer", "long", "float", "double"}
    if expected and (not isinstance(value, expected) or (numeric and isinstance(value, bool))):
        yield f"{path} is {value!r}: a {shape.type_name} is wanted"
        return
    if getattr(shape, "is_document_type", False):
        return
    yield from _sizes(shape, value, path)
    if shape.type_name == "structure":
        yield from _structure(shape, value, path)
    elif shape.type_name == "list":
        for index, item in enumerate(value):
            yield from problems(shape.member, item, f"{path}[{index}]")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from problems(shape.key, key, f"{path}.{key} (key)")
            yield from problems(shape.value, item, f"{path}.{key}")
    elif shape.type_name == "string":
        yield from _text(shape, value, path)


def _structure(shape: Any, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in value.keys() - shape.members.keys():
        yield f"{path}.{name}: there is no such member of {shape.name}"
    for name in shape.required_members:
        tokens = shape.members[name].metadata.get("idempotencyToken")
        if name not in value and not tokens:
            yield f"{path}.{name} is missing"
    for name, member in shape.members.items():
        if name in value:
            yield from problems(member, value[name], f"{path}.{name}")


def _sizes(shape: Any, value: Any, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is None and high is None) or shape.type_name in {"structure", "timestamp"}:
        return
    counted = hasattr(value, "__len__")
    size = len(value) if counted else value
    what = f"{path} has the size {size}" if counted else f"{path} is {size}"
    if low is not None and size < low:
        yield f"{what}: at least {low} is wanted"
    if high is not None and size > high:
        yield f"{what}: at most {high} is allowed"


def _text(shape: Any, value: str, path: str) -> Iterator[str]:
    if shape.enum and value not in shape.enum:
        yield f"{path} is {value!r}: it is one of {', '.join(shape.enum)}"
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield f"{path} is {value!r}: it does not match {pattern}"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """AWS's regular expression in Python's words; one that cannot be read is an error here."""
    for java, python in _CLASSES.items():
        pattern = pattern.replace(java, python)
    return re.compile(pattern)
