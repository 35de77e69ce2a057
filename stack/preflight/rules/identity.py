"""IAM: roles and policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.preflight.rules.findings import Finding, Registration

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
_NAME: Final = r"[\w+=,.@-]+"
ROLE_NAME_LENGTH: Final = 64
_POLICY_NAME_LENGTH: Final = 128
TRUST_LENGTH: Final = 2048
INLINE_LENGTH: Final = 10_240
"""The length of all inline policies of a role together."""
MANAGED_LENGTH: Final = 6144
_DESCRIPTION_LENGTH: Final = 1000
_SESSION_SECONDS: Final = (3600, 43_200)


def role(each: Registration) -> Iterator[Finding]:
    """Who may take on a role."""
    yield from each.named("name", _NAME, ROLE_NAME_LENGTH, "a role's name")
    yield from each.json_object("assumeRolePolicy", TRUST_LENGTH, "a trust policy")
    yield from each.within("maxSessionDuration", *_SESSION_SECONDS, "a session in seconds")
    description = each.known("description")
    if description and len(description) > _DESCRIPTION_LENGTH:
        yield each.finding(
            "description", description, f"it has at most {_DESCRIPTION_LENGTH} characters", "cut it"
        )


def role_policy(policy: Registration) -> Iterator[Finding]:
    """Checks a policy that is part of a role."""
    yield from policy.named("name", _NAME, _POLICY_NAME_LENGTH, "a policy's name")
    yield from policy.json_object("policy", INLINE_LENGTH, "a role's inline policy")


def managed_policy(policy: Registration) -> Iterator[Finding]:
    """Checks a policy that can be attached to many roles."""
    yield from policy.named("name", _NAME, _POLICY_NAME_LENGTH, "a policy's name")
    yield from policy.json_object("policy", MANAGED_LENGTH, "a managed policy")


RULES: Final = {
    "aws:iam/policy:Policy": managed_policy,
    "aws:iam/role:Role": role,
    "aws:iam/rolePolicy:RolePolicy": role_policy,
}
