"""Rules for the resources that the program registers: AWS's, and our own.

`check` looks at one resource, `quotas` at all of them. What a pack or a stack declares is
checked where it is declared (`taskpacks.types`, `stack.settings`); nothing stands in both.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from stack.preflight.rules import (
    alarms,
    batch,
    functions,
    identity,
    images,
    machines,
    queues,
    storage,
)
from stack.preflight.rules.findings import UNKNOWN, Finding, Registration
from stack.preflight.rules.quotas import QUOTAS, Usage, together, usage, while_changing

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "QUOTAS", "RULES", "UNKNOWN", "Finding", "Registration", "Usage", "check", "check_all", "usage",
    "while_changing",
]  # fmt: skip

RULES: Final = {
    **alarms.RULES,
    **batch.RULES,
    **functions.RULES,
    **identity.RULES,
    **images.RULES,
    **machines.RULES,
    **queues.RULES,
    **storage.RULES,
}
"""By type token."""


def check(resource: Registration) -> list[Finding]:
    """Yields what is wrong with one resource; inputs that are `UNKNOWN` yet are not looked at."""
    rule = RULES.get(resource.type)
    return list(rule(resource)) if rule else []


def check_all(resources: Sequence[Registration]) -> list[Finding]:
    """Yields what is wrong with each resource, and with all of them together."""
    return [*chain.from_iterable(map(check, resources)), *together(resources)]
