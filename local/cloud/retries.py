"""When Batch runs a failed job again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended."""

    exit_code: int | None
    """None when the process never started."""
    status_reason: str
    """Batch's own words, which `onStatusReason` looks at."""
    reason: str | None = None
    """The container's, which `onReason` looks at."""

    @property
    def succeeded(self) -> bool:
        """Whether the job did its work."""
        return self.exit_code == 0


def runs_again(strategy: Mapping[str, Any] | None, attempt: int, ending: Ending) -> bool:
    """Says whether a failed attempt is followed by another.

    The first rule of `evaluateOnExit` whose conditions all hold decides; when none does, Batch
    retries. https://docs.aws.amazon.com/batch/latest/APIReference/API_EvaluateOnExit.html

    Args:
        strategy: A retryStrategy as SubmitJob and RegisterJobDefinition take it.
        attempt: The number of the attempt that ended, from 1.
        ending: How it ended.
    """
    strategy = strategy or {}
    if attempt >= strategy.get("attempts", 1):
        return False
    for rule in strategy.get("evaluateOnExit", ()):
        conditions = (
            (rule.get("onStatusReason"), ending.status_reason),
            (rule.get("onReason"), ending.reason),
            (rule.get("onExitCode"), None if ending.exit_code is None else str(ending.exit_code)),
        )
        if all(pattern is None or _fits(pattern, value) for pattern, value in conditions):
            return rule["action"].upper() == "RETRY"
    return True


def _fits(pattern: str, value: str | None) -> bool:
    value = value or ""
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return value == pattern
