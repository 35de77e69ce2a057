"""Checks the text of a pack's IAM statements; pure.

A statement has the form that AWS takes. One that allows names what it allows: actions one by one
or by a part of their name, and resources by their ARNs.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

from taskpacks.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# For each service: list_SERVICE.html below
# https://docs.aws.amazon.com/service-authorization/latest/reference/
WITHOUT_RESOURCE: Final = frozenset(
    action.lower()
    for action in (
        "batch:DescribeJobs",
        "batch:ListJobs",
        "cloudwatch:GetMetricData",
        "cloudwatch:GetMetricStatistics",
        "cloudwatch:ListMetrics",
        "cloudwatch:PutMetricData",
        "comprehend:DetectDominantLanguage",
        "comprehend:DetectKeyPhrases",
        "comprehend:DetectSentiment",
        "dynamodb:ListTables",
        "ecr:GetAuthorizationToken",
        "kms:GenerateRandom",
        "pricing:GetProducts",
        "rekognition:CompareFaces",
        "rekognition:DetectFaces",
        "rekognition:DetectLabels",
        "rekognition:DetectText",
        "s3:ListAllMyBuckets",
        "secretsmanager:GetRandomPassword",
        "sqs:ListQueues",
        "sts:GetCallerIdentity",
        "textract:AnalyzeDocument",
        "textract:DetectDocumentText",
        "textract:GetDocumentTextDetection",
        "textract:StartDocumentTextDetection",
        "transcribe:StartStreamTranscription",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    )
)
"""Harmless actions that take no resource, so that "*" says nothing more: not all that there are.
Names of actions are the same in any case."""

_ELEMENTS: Final = (
    "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition",
)  # fmt: skip
"""The elements of a statement in an identity's policy: a Principal belongs to a resource's."""
_EFFECTS: Final = ("Allow", "Deny")
"""No set: what stands there may have no hash."""
_WILD: Final = "*?"
_ANY: Final = "*"
_RANDOM_END: Final = "-??????"
"""Secrets Manager puts six characters behind a secret's name, which few know before:
https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_iam-policies.html"""
_SECRETS: Final = "secretsmanager"
_PARAMETER: Final = "parameter/"
_ARN_PARTS: Final = 6
_ACTION_FORM: Final = "an action is SERVICE:NAME; write both"
_RESOURCE_FORM: Final = "it is an ARN, arn:PARTITION:SERVICE:…; write all of it"


def refusals(statement: Mapping[str, Any], *, allow_wildcard: bool) -> Iterator[str]:
    """Says what of a statement is refused, and what to do.

    Args:
        statement: As it stands in a policy document.
        allow_wildcard: Its actions may reach every resource, but for secrets.
    """
    for element in statement:
        if element not in _ELEMENTS:
            yield f"{element}: there is no such element.{nearest(element, _ELEMENTS)}"
    effect = statement.get("Effect")
    if effect not in _EFFECTS:
        yield f"Effect is {_shown(effect)}: it is 'Allow' or 'Deny'; write one of them"
        return
    yield from _misformed(statement, "Action", _action_misformed)
    yield from _misformed(statement, "Resource", _resource_misformed)
    if effect == "Allow":
        yield from _reaching_too_far(statement, allow_wildcard=allow_wildcard)


def _misformed(
    statement: Mapping[str, Any], element: str, misformed: Callable[[str], str | None]
) -> Iterator[str]:
    """Says what AWS refuses, whatever the statement's effect.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
    """
    negated = f"Not{element}"
    given = [name for name in (element, negated) if name in statement]
    if len(given) > 1:
        yield f"{element} and {negated} are both given: a statement has one of them; remove one"
    for name in given or [element]:
        texts = _texts(statement.get(name))
        if not texts:
            value = _shown(statement.get(name))
            yield f"{name} is {value}: it is a text, or a list of texts; name at least one"
        for text in texts:
            if rule := misformed(text):
                yield f"{name} has {text!r}: {rule}"


def _action_misformed(action: str) -> str | None:
    service, _, name = action.partition(":")
    return None if action == _ANY or (service and name) else _ACTION_FORM


def _resource_misformed(resource: str) -> str | None:
    parts = _parts(resource)
    whole = len(parts) == _ARN_PARTS or _is_wild(resource)
    return None if _is_any(resource) or (parts[0] == "arn" and whole) else _RESOURCE_FORM


def _reaching_too_far(statement: Mapping[str, Any], *, allow_wildcard: bool) -> Iterator[str]:
    if "NotAction" in statement:
        yield (
            f"NotAction is {statement['NotAction']!r}: it allows everything else that there is; "
            "name the actions that tasks need"
        )
        return
    actions = [text for text in _texts(statement.get("Action")) if not _action_misformed(text)]
    for action in actions:
        service, _, name = action.partition(":")
        if _is_wild(service) or _is_any(name):
            yield (
                f"Action {action!r} allows everything of a service; "
                "name the actions that tasks need"
            )
    resources = [_ANY] if "NotResource" in statement else _texts(statement.get("Resource"))
    for resource in resources:
        if _resource_misformed(resource):
            continue
        if refusal := _resource_refusal(resource, actions, allow_wildcard=allow_wildcard):
            yield refusal


def _resource_refusal(resource: str, actions: list[str], *, allow_wildcard: bool) -> str | None:
    if _is_secret_by_pattern(resource, actions):
        return (
            f"Resource {resource!r} with {', '.join(actions)} names its secrets by a pattern; "
            f"write the ARN of each (its six random characters may be {_RANDOM_END})"
        )
    with_resource = [action for action in actions if action.lower() not in WITHOUT_RESOURCE]
    if allow_wildcard or not with_resource:
        return None
    if names_none(resource):
        return (
            f"Resource {resource!r} lets {', '.join(with_resource)} reach every resource that "
            "there is; name the ARNs that tasks need, or, where an action takes no resource or "
            "must reach all, set allow_wildcard: true beside the statements"
        )
    if _is_parameter_by_pattern(resource):
        return (
            f"Resource {resource!r} with {', '.join(with_resource)} names parameters by a pattern, "
            "and each may be a secret; name the ARNs that tasks need, or, where they must reach "
            "all of these, set allow_wildcard: true beside the statements"
        )
    return None


def _is_secret_by_pattern(resource: str, actions: list[str]) -> bool:
    parts = _parts(resource)
    if len(parts) == _ARN_PARTS and parts[2] == _SECRETS:
        return _is_wild(resource.removesuffix(_RANDOM_END))
    return names_none(resource) and any(
        action.lower().startswith(f"{_SECRETS}:") and action.lower() not in WITHOUT_RESOURCE
        for action in actions
    )


def _is_parameter_by_pattern(resource: str) -> bool:
    parts = _parts(resource)
    literal = re.split(f"[{_WILD}]", parts[-1], maxsplit=1)[0]
    may_be = literal.startswith(_PARAMETER) or _PARAMETER.startswith(literal)
    return parts[2] == "ssm" and may_be and _is_wild(parts[-1])


def names_none(resource: str) -> bool:
    """Returns whether a resource stands for whatever there is of a service, or of several."""
    parts = _parts(resource)
    return len(parts) < _ARN_PARTS or _is_wild(parts[2]) or not parts[-1].strip(f"{_WILD}:/")


def names_no_account(arn: str) -> bool:
    """Returns whether a whole ARN holds in whichever account there is such a resource."""
    return _is_wild(_parts(arn)[4])


def _parts(arn: str) -> list[str]:
    return arn.split(":", _ARN_PARTS - 1)


def _is_any(text: str) -> bool:
    return bool(text) and not text.strip(_WILD)


def _is_wild(text: str) -> bool:
    return any(sign in text for sign in _WILD)


def _texts(value: object) -> list[str]:
    """A text or a list of them as a list; empty for anything else."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list | tuple):
        return []
    texts = [text for text in cast("list[object]", value) if isinstance(text, str)]
    return texts if len(texts) == len(cast("list[object]", value)) else []


def _shown(value: object) -> str:
    return "not given" if value is None else repr(value)
