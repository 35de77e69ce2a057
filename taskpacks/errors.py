"""Refusals, by condition. Every message names the value, the rule and the remedy.

Messages are logged and stored with results, and a value may be a task's data: `quoted` and
`listed` show only its beginning.
"""

import reprlib
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

QUOTED_CHARACTERS_MAX: Final = 200
"""The length of a quoted value in a log or an error message."""
LISTED_MAX: Final = 10
"""The number of elements that a log or an error message lists."""
ERROR_CHARACTERS_MAX: Final = 2000
"""The length of the text of a task's error in a log."""

_QUOTES: Final = reprlib.Repr()
_QUOTES.maxlist = _QUOTES.maxtuple = _QUOTES.maxdict = LISTED_MAX
_QUOTES.maxset = _QUOTES.maxfrozenset = _QUOTES.maxdeque = _QUOTES.maxarray = LISTED_MAX
# It would show the end of a long one too, and elide the middle.
_QUOTES.maxstring = _QUOTES.maxlong = _QUOTES.maxother = sys.maxsize


class TaskpacksError(Exception):
    """The base of every error that Taskpacks raises on purpose."""


class RefusedDeclarationError(TaskpacksError):
    """A pack's declaration or its overrides break a rule, ours or AWS's."""


class UnknownPackError(TaskpacksError):
    """A stack or a worker names a pack that is neither a folder nor installed."""


class UnknownDeploymentError(TaskpacksError):
    """A stack has no deployment of that name."""


class DuplicatePackError(TaskpacksError):
    """Two packs claim one name."""


class MisspeltHookError(TaskpacksError):
    """A pack defines a hook that does not exist or that the manager cannot call."""


class RefusedSettingsError(TaskpacksError):
    """A stack's settings or a worker's environment cannot be used."""


class BadInputError(TaskpacksError):
    """A task's arguments or its data cannot be used: trying again would not help.

    Takes one sentence, so that it survives Celery's JSON result backend unchanged.
    """


class ScratchFullError(TaskpacksError):
    """A task's scratch folder would not hold what the task needs."""


def quoted(value: object) -> str:
    """Returns a value's `repr`, shortened to 200 characters and to 10 elements of each list."""
    return shortened(_QUOTES.repr(value), QUOTED_CHARACTERS_MAX)


def listed(values: Iterable[object]) -> str:
    """Returns "a, b, c", or the first 10 values and how many more there are."""
    texts = [shortened(str(value), QUOTED_CHARACTERS_MAX) for value in values]
    more = len(texts) - LISTED_MAX
    return ", ".join(texts if more <= 0 else [*texts[:LISTED_MAX], f"and {more} more"])


def shortened(text: str, characters: int = ERROR_CHARACTERS_MAX) -> str:
    """Returns a text, or its beginning with "…" at the end."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def nearest(name: str, known: Iterable[str]) -> str:
    """Says which known name was probably meant, for the end of an error message.

    Args:
        name: The unknown one.
        known: Names that may stand in a log, so no data of a task.

    Returns:
        " Did you mean 'x'?" when one is close, else " Known: a, b." (or " There are none.").
    """
    names = sorted(known)
    if close := get_close_matches(name[:QUOTED_CHARACTERS_MAX], names, n=1):
        return f" Did you mean '{close[0]}'?"
    return f" Known: {listed(names)}." if names else " There are none."
