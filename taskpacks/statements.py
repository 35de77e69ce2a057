"""What an IAM statement of a pack may say: pure checks of its text.

A statement names what it allows: actions one by one or by a part of their name, and resources
by their ARNs. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from taskpacks.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
"""Of a statement in an identity's policy: a Principal belongs to a resource's."""
_WILD: Final = "*?"
_ANY: Final = "*"
_RANDOM_END: Final = "-??????"
"""Secrets Manager puts six characters behind a secret's name, which few know before:
https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_iam-policies.html"""
_SECRETS: Final = "secretsmanager"
_PARAMETERS: Final = "ssm"
_ARN_PARTS: Final = 6


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
    if effect not in {"Allow", "Deny"}:
        yield f"Effect is {_shown(effect)}: it is 'Allow' or 'Deny'; write one of them"
    elif effect == "Allow":
        yield from _refusals(statement, allow_wildcard=allow_wildcard)


def _refusals(statement: Mapping[str, Any], *, allow_wildcard: bool) -> Iterator[str]:
    if "NotAction" in statement:
        yield (
            f"NotAction is {statement['NotAction']!r}: it allows everything else that there is; "
            "name the actions that tasks need"
        )
        return
    actions = _texts(statement.get("Action"))
    resources = [_ANY] if "NotResource" in statement else _texts(statement.get("Resource"))
    for element, texts in (("Action", actions), ("Resource", resources)):
        if not texts:
            value = _shown(statement.get(element))
            yield f"{element} is {value}: it is a text, or a list of texts; name at least one"
    for action in actions:
        if refusal := _action_refusal(action):
            yield refusal
    for resource in resources:
        if refusal := _resource_refusal(resource, actions, allow_wildcard=allow_wildcard):
            yield refusal


def _action_refusal(action: str) -> str | None:
    service, separator, name = action.partition(":")
    if _is_wild(service) or (separator and not name.strip(_WILD)):
        return f"Action {action!r} allows everything of a service; name the actions that tasks need"
    if not separator or not service:
        return f"Action has {action!r}: an action is SERVICE:NAME; write both"
    return None


def _resource_refusal(resource: str, actions: list[str], *, allow_wildcard: bool) -> str | None:
    parts = resource.split(":", _ARN_PARTS - 1)
    if not _is_wild(resource) and (parts[0] != "arn" or len(parts) < _ARN_PARTS):
        return f"Resource has {resource!r}: it is an ARN, arn:PARTITION:SERVICE:…; write all of it"
    if _is_secret_by_pattern(resource, parts, actions):
        return (
            f"Resource {resource!r} with {', '.join(actions)} names its secrets by a pattern; "
            f"write the ARN of each (its six random characters may be {_RANDOM_END})"
        )
    with_resource = [action for action in actions if action.lower() not in WITHOUT_RESOURCE]
    if _names_none(parts) and with_resource and not allow_wildcard:
        return (
            f"Resource {resource!r} lets {', '.join(with_resource)} reach every resource that "
            "there is; name the ARNs that tasks need, or, where an action takes no resource or "
            "must reach all, set allow_wildcard: true beside the statements"
        )
    return None


def _is_secret_by_pattern(resource: str, parts: list[str], actions: list[str]) -> bool:
    if len(parts) == _ARN_PARTS and parts[2] == _SECRETS:
        return _is_wild(resource.removesuffix(_RANDOM_END))
    return _names_none(parts) and any(
        action.lower().startswith(f"{_SECRETS}:") and action.lower() not in WITHOUT_RESOURCE
        for action in actions
    )


def names_none(resource: str) -> bool:
    """Returns whether a resource stands for whatever there is of a service, or of several."""
    return _names_none(resource.split(":", _ARN_PARTS - 1))


def _names_none(parts: list[str]) -> bool:
    if len(parts) < _ARN_PARTS or _is_wild(parts[2]):
        return True
    if parts[2] == _PARAMETERS:  # any of them may be a secret
        return _is_wild(parts[-1])
    return not parts[-1].strip(f"{_WILD}:/")


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
