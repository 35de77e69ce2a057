"""URNs: what identifies a resource over all runs of a stack.

`urn:pulumi:STACK::PROJECT::PARENT-TYPE$TYPE::NAME`. The chain of types starts below the stack:
its own type, `pulumi:pulumi:Stack`, is left out. A type token such as `aws:sqs/queue:Queue`
is package, module and class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STACK_TYPE: Final = "pulumi:pulumi:Stack"


@dataclass(frozen=True)
class Alias:
    """A name that a resource had before: a whole URN, or the parts that differ from today's."""

    urn: str = ""
    name: str = ""
    type: str = ""
    stack: str = ""
    project: str = ""
    parent: str = ""
    no_parent: bool = False


def make_urn(*, stack: str, project: str, parent: str, type_token: str, name: str) -> str:
    """Builds a URN; `parent` is the parent's URN or empty."""
    chain = type_chain(parent) if parent else STACK_TYPE
    types = type_token if chain == STACK_TYPE else f"{chain}${type_token}"
    return f"urn:pulumi:{stack}::{project}::{types}::{name}"


def type_chain(urn: str) -> str:
    """The parents' types and the resource's own, joined by `$`."""
    return urn.split("::", 3)[2]


def name_of(urn: str) -> str:
    """The logical name at the end of a URN."""
    return urn.split("::", 3)[3]


def alias_urns(
    aliases: tuple[Alias, ...],
    *,
    stack: str,
    project: str,
    parent: str,
    parent_aliases: tuple[str, ...],
    type_token: str,
    name: str,
) -> tuple[str, ...]:
    """The URNs that a resource may have had, its own aliases first.

    A child inherits its parent's aliases, as in the real engine: a child whose name starts
    with its parent's has that part of the name replaced too.
    """

    def own(alias: Alias, parent_urn: str, inherited_name: str) -> str:
        if alias.urn:
            return alias.urn
        return make_urn(
            stack=alias.stack or stack,
            project=alias.project or project,
            parent="" if alias.no_parent else alias.parent or parent_urn,
            type_token=alias.type or type_token,
            name=alias.name or inherited_name,
        )

    found = [own(alias, parent, name) for alias in aliases]
    for parent_alias in parent_aliases:
        inherited = name
        if name.startswith(name_of(parent)):
            inherited = name_of(parent_alias) + name.removeprefix(name_of(parent))
        found.append(own(Alias(), parent_alias, inherited))
        found.extend(own(alias, parent_alias, inherited) for alias in aliases if not alias.urn)
    return tuple(dict.fromkeys(found))
