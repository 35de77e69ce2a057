"""Refusals, by condition. Every message names the value, the rule and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches


class TaskpacksError(Exception):
    """The base of every error that Taskpacks raises on purpose."""


class RefusedDeclarationError(TaskpacksError):
    """A pack's declaration or its overrides break a rule, ours or AWS's."""


class UnknownPackError(TaskpacksError):
    """A stack or a worker names a pack that is neither a folder nor installed."""


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


def nearest(name: str, known: Iterable[str]) -> str:
    """Says which known name was probably meant, for the end of an error message.

    Returns:
        " Did you mean 'x'?" when one is close, else " Known: a, b." (or " There are none.").
    """
    names = sorted(known)
    if close := get_close_matches(name, names, n=1):
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(names)}." if names else " There are none."
