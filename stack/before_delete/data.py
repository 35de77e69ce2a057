"""Keeps what tasks have stored, or deletes it with the stack: `taskpacks:data` says which.

A transformation, so that it holds for a pack's own buckets and tables as for the stack's, whether
the pack's author thought of it or not. A resource that sets `retain_on_delete` itself decides for
itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import pulumi

from stack.before_delete.access import Access, asking, client
from taskpacks.errors import TaskpacksError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stack.model import Data

KEPT_HOOK: Final = "taskpacks-data-is-kept"
EMPTIED_HOOK: Final = "taskpacks-data-is-emptied"
"""A stack's state remembers both names."""
BUCKETS: Final = frozenset(
    {
        "aws:s3/bucket:Bucket",
        "aws:s3/bucketV2:BucketV2",
        "aws:s3/directoryBucket:DirectoryBucket",
    }
)
TABLES: Final = frozenset({"aws:dynamodb/table:Table"})
_OF_BUCKETS: Final = "aws:s3/bucket"
"""The buckets, their settings (the wall against the public, policy, lifecycle) and objects."""


class DataAtRiskError(TaskpacksError):
    """Data would be deleted against what the settings say now, or cannot be."""


def keeping(
    how: Access, data: Data
) -> Callable[[pulumi.ResourceTransformationArgs], pulumi.ResourceTransformationResult | None]:
    """The transformation, with its hooks registered.

    To be made in every run: a state may remember either hook.

    Args:
        how: The way to AWS.
        data: What becomes of buckets and tables when they are deleted from the stack: "keep"
            takes them out of the state and says where they are, "delete" empties them first.
    """
    kept = _kept_hook(how.region)
    emptied = _emptied_hook(how, data)

    def transform(
        args: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult | None:
        return treated(args, data, kept=kept, emptied=emptied)

    return transform


def treated(
    args: pulumi.ResourceTransformationArgs,
    data: Data,
    *,
    kept: pulumi.ResourceHook,
    emptied: pulumi.ResourceHook,
) -> pulumi.ResourceTransformationResult | None:
    """Returns what a resource becomes; None where it stays as it is.

    Args:
        args: The resource as the program wants it.
        data: What becomes of data.
        kept: Says that a bucket or a table stays.
        emptied: Empties a bucket, and refuses if data is to be kept by then.
    """
    if not concerns(args.type_, args.opts):
        return None
    properties: Any = args.props
    stores = args.type_ in BUCKETS | TABLES
    if data == "keep":
        hooks = [kept] if stores else []
        options = pulumi.ResourceOptions(retain_on_delete=True, hooks=_before(hooks))
    elif stores:
        if args.type_ in BUCKETS:
            properties = {**properties, "force_destroy": True}
        options = pulumi.ResourceOptions(hooks=_before([emptied]))
    else:
        return None
    return pulumi.ResourceTransformationResult(
        properties, pulumi.ResourceOptions.merge(args.opts, options)
    )


def concerns(kind: str, opts: pulumi.ResourceOptions) -> bool:
    """Whether a resource holds data, or belongs to a bucket, and does not decide for itself."""
    holds = kind in BUCKETS | TABLES or kind.startswith(_OF_BUCKETS)
    return holds and opts.retain_on_delete is None


def _before(hooks: list[pulumi.ResourceHook]) -> pulumi.ResourceHookBinding:
    return pulumi.ResourceHookBinding(before_delete=hooks)


def _kept_hook(region: str) -> pulumi.ResourceHook:
    def report(args: pulumi.ResourceHookArgs) -> None:
        pulumi.log.info(farewell(args.type, args.id, region))

    return pulumi.ResourceHook(KEPT_HOOK, report)


def farewell(kind: str, name: str, region: str) -> str:
    """Says that a bucket or a table leaves the stack and stays, and how to delete it.

    Args:
        kind: Its type.
        name: Its own in AWS.
        region: Where it is.
    """
    command = (
        f"aws s3 rb s3://{name} --force --region {region}"
        if kind in BUCKETS
        else f"aws dynamodb delete-table --table-name {name} --region {region}"
    )
    return (
        f"The {_word(kind)} {name} is kept with its content (taskpacks:data is keep) and is not in "
        f"the stack any more. To delete it: {command}"
    )


def _word(kind: str) -> str:
    return "bucket" if kind in BUCKETS else "table"


def _emptied_hook(how: Access, data: Data) -> pulumi.ResourceHook:
    async def empty(args: pulumi.ResourceHookArgs) -> None:
        if data == "keep":
            raise DataAtRiskError(
                f"The {_word(args.type)} {args.id} is not deleted: taskpacks:data is keep, and at "
                "the last `pulumi up` it was delete, which still holds for what leaves the stack "
                "now. Put the deployment back, run `pulumi up`, and then take it out again; or set "
                "taskpacks:data to delete."
            )
        if args.type in BUCKETS:
            await asyncio.to_thread(abort_uploads, how, args.id)

    return pulumi.ResourceHook(EMPTIED_HOOK, empty)


def abort_uploads(how: Access, bucket: str) -> None:
    """Aborts the multipart uploads of a bucket; its objects and versions the provider deletes.

    The provider lists objects, of which an upload that was never completed is none:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/abort-mpu.html

    Raises:
        DataAtRiskError: S3 refuses.
    """
    refused = asking(
        DataAtRiskError,
        f"The bucket {bucket} is not deleted, because its unfinished uploads cannot be aborted",
        "s3:ListBucketMultipartUploads and s3:AbortMultipartUpload on it",
    )
    with refused:
        s3 = client(how, "s3")
        pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket)
        with contextlib.suppress(s3.exceptions.NoSuchBucket):
            for each in (upload for page in pages for upload in page.get("Uploads", ())):
                # One that its owner has completed or aborted meanwhile is gone.
                with contextlib.suppress(s3.exceptions.NoSuchUpload):
                    s3.abort_multipart_upload(
                        Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"]
                    )
