"""ECR: the addresses of its repositories, and how long they keep images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from stack.documents.iam import allow

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT_IMAGES_PER_PACK: Final = 50
UNTAGGED_DAYS: Final = 7
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html
LIFECYCLE_RULES_MAX: Final = 50

_ECR: Final = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<name>[^:@]+)"
)


def ecr_repository_arn(uri: str, partition: str) -> str | None:
    """The ARN of an image's repository; None when it is not in ECR."""
    found = _ECR.match(uri)
    if not found:
        return None
    return f"arn:{partition}:ecr:{found['region']}:{found['account']}:repository/{found['name']}"


def may_have_token(**more: object) -> dict[str, Any]:
    """Returns the statement that lets somebody sign in to pull images.

    A token is for the registry as a whole; AWS knows no resource for it:
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html

    Args:
        more: What stands in the statement beside.
    """
    return allow(["ecr:GetAuthorizationToken"], ["*"], **more)


def lifecycle(packs: Iterable[str]) -> dict[str, Any]:
    """Keeps each pack's newest images: one busy pack never pushes out another's.

    ECR takes `LIFECYCLE_RULES_MAX` rules; packs beyond that keep all their images.
    """
    untagged = {
        "tagStatus": "untagged",
        "countType": "sinceImagePushed",
        "countUnit": "days",
        "countNumber": UNTAGGED_DAYS,
    }
    newest = [
        {
            "tagStatus": "tagged",
            "tagPrefixList": [f"{pack}-"],
            "countType": "imageCountMoreThan",
            "countNumber": KEPT_IMAGES_PER_PACK,
        }
        for pack in sorted(set(packs))
    ]
    selections = [untagged, *newest][:LIFECYCLE_RULES_MAX]
    return {
        "rules": [
            {"rulePriority": priority, "selection": selection, "action": {"type": "expire"}}
            for priority, selection in enumerate(selections, start=1)
        ]
    }
