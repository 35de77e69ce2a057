"""The registrations that a rule is given, and the findings that it yields."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    Rule = Callable[["Registration"], Iterator["Finding"]]


class _Unknown:
    """A value that only the cloud can tell: an ARN, a name that it makes."""

    def __repr__(self) -> str:
        return "(known after up)"


UNKNOWN: Final = _Unknown()

AUTOMATIC_END: Final = "-0123abc"
"""As long as what Pulumi puts behind a resource's logical name where no name is given.
https://www.pulumi.com/docs/iac/concepts/resources/names/#autonaming"""
_OWN_NAMES: Final = ("name", "bucket")
"""Properties that Pulumi fills in by itself."""


@dataclass(frozen=True)
class Finding:
    """A rule that is broken.

    Attributes:
        path: The resource and its property.
        value: What stands there.
        rule: What AWS, or we, ask for.
        remedy: What to do.
    """

    path: str
    value: object
    rule: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path} is {_short(self.value)}: {self.rule}; {self.remedy}."


def _short(value: object, length: int = 200) -> str:
    text = "not given" if value is None else repr(value)
    return text if len(text) <= length else f"{text[:length]}…"


@dataclass(frozen=True)
class Registration:
    """A resource as the program registers it.

    Attributes:
        type: Pulumi's token, "aws:sqs/queue:Queue".
        name: Its logical name.
        inputs: By Pulumi's own names (camelCase), nested; `UNKNOWN` where not known yet.
    """

    type: str
    name: str
    inputs: Mapping[str, Any]

    def get(self, path: str) -> Any:
        """A property by a dotted path; None where it is not given, or below what is unknown."""
        value: Any = self.inputs
        for part in path.split("."):
            if not isinstance(value, dict):
                return None if value is not UNKNOWN else UNKNOWN
            value = cast("dict[str, Any]", value).get(part)
        return value

    def known(self, path: str) -> Any:
        """A property, None where it is not given or not known."""
        value = self.get(path)
        return None if value is UNKNOWN else value

    def items(self, path: str) -> list[dict[str, Any]]:
        """The objects of a list; empty where it is not given or not known."""
        value = self.known(path)
        found = cast("list[Any]", value) if isinstance(value, list) else []
        return [cast("dict[str, Any]", item) for item in found if isinstance(item, dict)]

    def document(self, path: str) -> dict[str, Any] | None:
        """A property that holds a JSON object; None where it is not known or not that."""
        value = self.known(path)
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            return None
        return cast("dict[str, Any]", found) if isinstance(found, dict) else None

    def finding(self, path: str, value: object, rule: str, remedy: str) -> Finding:
        """A broken rule about one of its properties."""
        kind = self.type.rpartition(":")[2]
        return Finding(f"{kind} '{self.name}' {path}", value, rule, remedy)

    # Rules that many types have.

    def within(self, path: str, low: float, high: float, what: str) -> Iterator[Finding]:
        """A number in a range, if it is given."""
        value = self.known(path)
        if isinstance(value, int | float) and not low <= value <= high:
            yield self.finding(
                path, value, f"{what} is {low:_} to {high:_}", "choose a value in that range"
            )

    def among(self, path: str, values: Collection[object], what: str) -> Iterator[Finding]:
        """One of some values, if it is given."""
        value = self.known(path)
        if value is not None and value not in values:
            offered = ", ".join(map(str, values))
            yield self.finding(path, value, f"{what} is one of {offered}", "take one of them")

    def named(self, path: str, pattern: str, length: int, what: str) -> Iterator[Finding]:
        """A name of certain characters and at most a length, given or made of the logical one."""
        value = self.known(path)
        if path in _OWN_NAMES and self.get(path) is None and self.get(f"{path}Prefix") is None:
            value = f"{self.name}{AUTOMATIC_END}"
        if isinstance(value, str) and not (len(value) <= length and re.fullmatch(pattern, value)):
            yield self.finding(path, value, f"{what} is at most {length} of {pattern}", "rename it")

    def required(self, path: str, why: str) -> Iterator[Finding]:
        """A property that must be given, known or not."""
        if self.get(path) in (None, "", [], {}):
            yield self.finding(path, None, why, "give it")

    def absent(self, path: str, why: str) -> Iterator[Finding]:
        """A property that must not be given."""
        if self.get(path) not in (None, "", [], {}, 0, False):
            yield self.finding(path, self.get(path), why, "leave it out")

    def json_object(self, path: str, size: int | None, what: str) -> Iterator[Finding]:
        """A JSON object, as text, of at most `size` characters without white space."""
        value = self.known(path)
        if value is None:
            return
        found = self.document(path)
        if found is None:
            yield self.finding(path, value, f"{what} is a JSON object", "write it as one")
        elif size is not None and (length := compact(found)) > size:
            yield self.finding(
                path,
                f"{length} characters",
                f"{what} has at most {size:_} without white space",
                "shorten it, or spread it over several",
            )


def compact(document: object) -> int:
    """How long a document is without white space, as IAM counts."""
    return len(json.dumps(document, separators=(",", ":")))
