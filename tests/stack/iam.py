"""Whether a policy lets a call through: as much of IAM's evaluation as the stack's policies use.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tests.stack.synthesized.recording import listed

if TYPE_CHECKING:
    from collections.abc import Mapping


def allows(document: Mapping[str, Any], action: str, resource: str, **context: str) -> bool:
    """Whether a statement allows the call and none denies it.

    Args:
        document: The policy.
        action: As "sqs:SendMessage".
        resource: An ARN.
        context: Condition keys of the call, without their prefix: "ResourceAccount".
    """
    applying = [
        statement["Effect"]
        for statement in document["Statement"]
        if _matches(statement["Action"], action)
        and _matches(statement["Resource"], resource)
        and all(
            _holds(operator, key.partition(":")[2], wanted, context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    ]
    return "Allow" in applying and "Deny" not in applying


def _matches(patterns: str | list[str], value: str) -> bool:
    return any(fnmatchcase(value.lower(), pattern.lower()) for pattern in listed(patterns))


def _holds(operator: str, key: str, wanted: str | list[str], context: Mapping[str, str]) -> bool:
    if operator not in {"StringEquals", "StringLike"}:
        raise NotImplementedError(f"{operator} is no condition that is understood here")
    return key in context and _matches(wanted, context[key])
