"""ECR: image repositories."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.preflight.rules.findings import Finding, Registration

# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImageTagMutability.html
_FILTERS_MAX: Final = 5
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageTagMutabilityExclusionFilter.html
_FILTER: Final = r"[0-9a-zA-Z._*-]{1,128}"
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html
_WILDCARDS_MAX: Final = 2


def repository(each: Registration) -> Iterator[Finding]:
    """Which tags are excluded from the repository's rule about tags."""
    path = "imageTagMutabilityExclusionFilters"
    mutability = each.known("imageTagMutability")
    if isinstance(mutability, str) and mutability.endswith("_WITH_EXCLUSION"):
        yield from each.required(path, f"{mutability} says which tags are excluded")
    elif each.get("imageTagMutability") in (None, "MUTABLE", "IMMUTABLE"):
        yield from each.absent(path, "only a mutability that ends in _WITH_EXCLUSION excludes tags")
    filters = each.items(path)
    if len(filters) > _FILTERS_MAX:
        yield each.finding(
            path, len(filters), f"at most {_FILTERS_MAX} filters", "put several into one"
        )
    for item in filters:
        tags = item.get("filter")
        if isinstance(tags, str) and not (
            re.fullmatch(_FILTER, tags) and tags.count("*") <= _WILDCARDS_MAX
        ):
            yield each.finding(
                f"{path}.filter",
                tags,
                f"a filter is {_FILTER} with at most {_WILDCARDS_MAX} '*'",
                "write it with fewer '*', or in other characters",
            )


RULES: Final = {"aws:ecr/repository:Repository": repository}
