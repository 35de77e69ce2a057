"""Lambda and Step Functions: the launcher and what asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from taskpacks import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.preflight.rules.findings import Finding, Registration

# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
_RUNTIMES: Final = ("python3.11", "python3.12", "python3.13", "python3.14")
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
_DEFINITION_BYTES_MAX: Final = 1024 * 1024


def function(each: Registration) -> Iterator[Finding]:
    """https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html."""
    yield from each.named("name", r"[A-Za-z0-9_-]+", 64, "a function's name")
    yield from each.within(
        "timeout", 1, limits.FUNCTION_TIMEOUT_MAX_SECONDS, "a function's time-out in seconds"
    )
    yield from each.within(
        "memorySize",
        limits.FUNCTION_MEMORY_MIN_MIB,
        limits.FUNCTION_MEMORY_MAX_MIB,
        "a function's memory in MiB",
    )
    yield from each.among("runtime", _RUNTIMES, "a Python runtime that AWS offers")
    variables = each.known("environment.variables")
    if isinstance(variables, dict):
        given = cast("dict[str, object]", variables)
        size = sum(len(name) + len(str(value)) for name, value in given.items())
        if size > limits.FUNCTION_ENVIRONMENT_MAX_BYTES:
            yield each.finding(
                "environment.variables",
                f"{size} bytes",
                f"Lambda takes {limits.FUNCTION_ENVIRONMENT_MAX_BYTES:_}",
                "put less into it",
            )


def state_machine(machine: Registration) -> Iterator[Finding]:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html."""
    yield from machine.named("name", r"[A-Za-z0-9_-]+", 80, "a state machine's name")
    yield from machine.among("type", ("STANDARD", "EXPRESS"), "a state machine's type")
    yield from machine.json_object("definition", _DEFINITION_BYTES_MAX, "a state machine")
    found = machine.document("definition")
    if found is not None and found.get("StartAt") not in found.get("States", {}):
        yield machine.finding(
            "definition.StartAt",
            found.get("StartAt"),
            "it starts in one of its states",
            "name one of States",
        )


RULES: Final = {
    "aws:lambda/function:Function": function,
    "aws:sfn/stateMachine:StateMachine": state_machine,
}
