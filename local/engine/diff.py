"""Which properties differ between what is recorded and what the program wants."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Final, cast

from local.engine.errors import UnsupportedError
from local.engine.properties import Property, normal, same
from local.engine.state import is_hashed, matches
from local.engine.wire import has_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Values = dict[str, Any]
_SEGMENT: Final = re.compile(r"""\.?([^.\[\]"'*]+)|\[(\d+)\]|\[["']([^"']+)["']\]""")
_EVERYTHING: Final = "*"


def changed_properties(
    known: Mapping[str, Property], recorded: Mapping[str, Any], wanted: Mapping[str, Any]
) -> frozenset[str]:
    """Names of the properties that do not mean the same any more.

    A secret one is compared by its hash. One that is unknown, in a preview, counts as changed.
    """
    return frozenset(
        name
        for name in {**recorded, **wanted}
        if _differs(known.get(name, Property()), recorded.get(name), wanted.get(name))
    )


def keep_ignored(
    recorded: Mapping[str, Any], wanted: Mapping[str, Any], ignored: Iterable[str], subject: str
) -> Values:
    """Gives ignored properties their recorded value.

    Args:
        recorded: The inputs in the state.
        wanted: The program's inputs.
        ignored: `ignore_changes`: names, paths such as `tags.owner` or `list[0]`, or `*`.
        subject: Whose they are, for the error message.

    Raises:
        UnsupportedError: A path has a wildcard inside, or leads to a secret.
    """
    result: Values = copy.deepcopy(dict(wanted))
    for path in ignored:
        if path == _EVERYTHING:
            return keep_ignored(recorded, wanted, {**recorded, **wanted}, subject)
        steps = _steps(path, subject)
        if is_hashed(recorded.get(str(steps[0]))):
            raise UnsupportedError(
                f"{subject}: ignore_changes cannot name '{path}' here, because it is secret and "
                "only its hash is kept; leave it out of ignore_changes in local stacks."
            )
        _copy_at(steps, dict(recorded), result)
    return result


def replacing(paths: Iterable[str], changed: frozenset[str], subject: str) -> frozenset[str]:
    """Changed properties that `replace_on_changes` names.

    Raises:
        UnsupportedError: It names something inside a property.
    """
    names = set(paths)
    if _EVERYTHING in names:
        return changed
    if nested := sorted(name for name in names if len(_steps(name, subject)) > 1):
        raise UnsupportedError(
            f"{subject}: replace_on_changes can name whole properties here, not '{nested[0]}'."
        )
    return changed & names


def _differs(spec: Property, recorded: Any, wanted: Any) -> bool:
    if is_hashed(recorded):
        return wanted is None or has_unknown(wanted) or not matches(recorded, normal(spec, wanted))
    return not same(spec, recorded, wanted)


def _steps(path: str, subject: str) -> list[str | int]:
    steps: list[str | int] = []
    position = 0
    while found := _SEGMENT.match(path, position):
        name, number, key = found.groups()
        steps.append(int(number) if number else name or key)
        position = found.end()
    if not steps or position != len(path):
        raise UnsupportedError(
            f"{subject}: the property path '{path}' cannot be honoured here; give a name, a path "
            'such as tags.owner, tags["a.b"] or list[0], or "*" alone.'
        )
    return steps


def _copy_at(steps: list[str | int], source: Any, target: Any) -> None:
    """Makes target the same as source at one place; where there is no such place, nothing."""
    step, *rest = steps
    if isinstance(step, int) and isinstance(target, list) and isinstance(source, list):
        theirs, ours = cast("list[Any]", source), cast("list[Any]", target)
        if step < len(ours) and step < len(theirs):
            if rest:
                _copy_at(rest, theirs[step], ours[step])
            else:
                ours[step] = copy.deepcopy(theirs[step])
    elif isinstance(target, dict) and isinstance(source, dict):
        given, result = cast("Values", source), cast("Values", target)
        if rest:
            _copy_at(rest, given.get(str(step)), result.get(str(step)))
        elif step in given:
            result[str(step)] = copy.deepcopy(given[str(step)])
        else:
            result.pop(str(step), None)
