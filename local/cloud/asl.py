"""Finds what Step Functions refuses of a definition when a state machine is made.

moto's interpreter parses a definition and finds the rest when it runs.
https://states-language.net/spec.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TERMINAL: Final = frozenset({"Choice", "Succeed", "Fail"})
"""Types that have neither Next nor End of their own."""
_TYPES: Final = frozenset({"Task", "Pass", "Wait", "Parallel", "Map", *_TERMINAL})
_NAME_MAX: Final = 80


def faults(definition: Any, path: str = "") -> list[str]:
    """Everything about a definition's structure that Step Functions would refuse.

    Args:
        definition: Of a state machine, or of a branch inside one.
        path: Where it stands, for the text.
    """
    if not isinstance(definition, dict):
        return [f"SCHEMA_VALIDATION_FAILED: it must be an object (at {path or '/'})"]
    states: Any = definition.get("States")
    if not isinstance(states, dict) or not states:
        return [f"SCHEMA_VALIDATION_FAILED: 'States' must hold a state (at {path}/States)"]
    found: list[str] = []
    start = definition.get("StartAt")
    if start not in states:
        found.append(f"MISSING_TRANSITION_TARGET: no state {start!r} (at {path}/StartAt)")
    if definition.get("QueryLanguage", "JSONPath") != "JSONPath":
        found.append(f"the local cloud evaluates JSONPath only (at {path}/QueryLanguage)")
    for name, state in states.items():
        found += _of_state(name, state, states, f"{path}/States/{name}")
    targets = {
        target
        for state in states.values()
        if isinstance(state, dict)
        for _, target in _targets(state)
    }
    found += [
        f'MISSING_TRANSITION_TARGET: State "{name}" is not reachable. (at {path}/States/{name})'
        for name in states
        if name not in targets and name != start
    ]
    return found


def _of_state(name: str, state: Any, states: Mapping[str, Any], path: str) -> Iterator[str]:
    kind = state.get("Type") if isinstance(state, dict) else None
    if kind not in _TYPES:
        yield f"SCHEMA_VALIDATION_FAILED: no state type {kind!r} (at {path}/Type)"
        return
    waits = {"Seconds", "SecondsPath", "Timestamp", "TimestampPath"} & state.keys()
    rules = {
        f"a name has at most {_NAME_MAX} characters": len(name) <= _NAME_MAX,
        "a state must have either Next or End": (
            kind in _TERMINAL or ("Next" in state) != bool(state.get("End"))
        ),
        "a Choice must have Choices": kind != "Choice" or bool(state.get("Choices")),
        "a Task must have a Resource, an ARN": (
            kind != "Task" or str(state.get("Resource", "")).startswith("arn:")
        ),
        "a Wait must have one duration": kind != "Wait" or len(waits) == 1,
    }
    yield from (
        f"SCHEMA_VALIDATION_FAILED: {text} (at {path})" for text, kept in rules.items() if not kept
    )
    for where, target in _targets(state):
        if target not in states:
            yield f"MISSING_TRANSITION_TARGET: no state {target!r} (at {path}/{where})"
    for index, branch in enumerate(state.get("Branches", ())):
        yield from faults(branch, f"{path}/Branches[{index}]")
    for word in ("Iterator", "ItemProcessor"):
        if word in state:
            yield from faults(state[word], f"{path}/{word}")


def _targets(state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Where a state may go next, each with the place where that is said."""
    for word in ("Next", "Default"):
        if word in state:
            yield word, state[word]
    for word in ("Choices", "Catch"):
        for index, rule in enumerate(state.get(word, ())):
            yield f"{word}[{index}]/Next", rule.get("Next")
