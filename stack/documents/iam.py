"""The form of IAM's documents: statements, and policies that consist of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_VERSION: Final = "2012-10-17"


def document(statements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A policy of these statements."""
    return {"Version": _VERSION, "Statement": list(statements)}


def allow(actions: Sequence[str], resources: Sequence[str], **more: object) -> dict[str, Any]:
    """A statement, with whatever stands in it beside."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources), **more}


def secret_arn(reference: str) -> str:
    """Returns the ARN of a secret that a variable refers to.

    A reference may go on with the key of a JSON value, which IAM does not know.
    """
    return ":".join(reference.split(":")[:7])


def bucket_and_key(prefix: str, partition: str) -> tuple[str, str]:
    """Returns the ARN of the bucket in s3://BUCKET/KEY, and how its objects' keys begin."""
    bucket, _, key = prefix.removeprefix("s3://").partition("/")
    return f"arn:{partition}:s3:::{bucket}", key
