"""Which properties differ between what is recorded and what the program wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from local.engine.errors import UnsupportedError
from local.engine.properties import Property, normal, same
from local.engine.state import is_hashed, matches
from local.engine.wire import has_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Values = dict[str, Any]
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
    """Gives ignored properties their recorded value, or none where none is recorded.

    Args:
        recorded: The inputs in the state.
        wanted: The program's inputs.
        ignored: `ignore_changes`: names of whole properties, or `*`.
        subject: Whose they are, for the error message.

    Raises:
        UnsupportedError: It names something inside a property, or a secret.
    """
    names = _whole(ignored, "ignore_changes", subject)
    if _EVERYTHING in names:
        names = recorded.keys() | wanted.keys()
    if hidden := sorted(name for name in names if is_hashed(recorded.get(name))):
        raise UnsupportedError(
            f"{subject}: ignore_changes cannot name '{hidden[0]}' here, because it is secret and "
            "only its hash is kept; leave it out of ignore_changes in local stacks."
        )
    kept = {name: value for name, value in wanted.items() if name not in names}
    return kept | {name: recorded[name] for name in names if name in recorded}


def replacing(paths: Iterable[str], changed: frozenset[str], subject: str) -> frozenset[str]:
    """Changed properties that `replace_on_changes` names.

    Raises:
        UnsupportedError: It names something inside a property.
    """
    names = _whole(paths, "replace_on_changes", subject)
    return changed if _EVERYTHING in names else changed & names


def _differs(spec: Property, recorded: Any, wanted: Any) -> bool:
    if is_hashed(recorded):
        return wanted is None or has_unknown(wanted) or not matches(recorded, normal(spec, wanted))
    return not same(spec, recorded, wanted)


def _whole(paths: Iterable[str], option: str, subject: str) -> set[str]:
    names = set(paths)
    if nested := sorted(name for name in names if not name.isidentifier() and name != _EVERYTHING):
        raise UnsupportedError(
            f"{subject}: {option} can name whole properties here, not '{nested[0]}'."
        )
    return names
