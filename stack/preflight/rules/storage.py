"""S3: buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.preflight.rules.findings import Finding, Registration

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_NAME: Final = r"[a-z0-9][a-z0-9.-]+[a-z0-9]"
_NAME_LENGTH: Final = 63


def bucket(each: Registration) -> Iterator[Finding]:
    """A name that S3 takes: a deployment's may have underscores, a bucket's may not."""
    yield from each.named("bucket", _NAME, _NAME_LENGTH, "a bucket's name")


RULES: Final = {"aws:s3/bucket:Bucket": bucket}
