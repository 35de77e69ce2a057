"""A bucket for what tasks leave behind: results that stay, and scratch that does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pulumi
import pulumi_aws as aws

from stack.components.json_text import as_json
from stack.documents import resource_policies

if TYPE_CHECKING:
    from stack.model import StackContext

SCRATCH_DAYS: Final = 7
INCOMPLETE_UPLOAD_DAYS: Final = 1


def folder_uri(bucket: str, area: str, deployment: str) -> str:
    """A deployment's own folder, with a slash at the end.

    Args:
        bucket: The bucket's name.
        area: One of `policies.DATA_AREAS`.
        deployment: Its name.
    """
    return f"s3://{bucket}/{area}/{deployment}/"


class DataBucket(pulumi.ComponentResource):
    """One bucket of a stack, in which each deployment has a folder below each area.

    Consists of: an S3 bucket that no one reaches without TLS or from the public, with its
    encryption, and a lifecycle that empties `scratch/` after a week.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, *, context: StackContext, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:DataBucket", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(f"{name}-bucket", opts=child)
        wall = aws.s3.BucketPublicAccessBlock(
            f"{name}-wall",
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.bucket,
            policy=as_json(bucket.arn.apply(resource_policies.data_bucket)),
            # S3 refuses two changes of one bucket's access at the same time.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[wall]),
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.bucket,
            rules=[
                {
                    "id": "scratch",
                    "status": "Enabled",
                    "filter": {"prefix": "scratch/"},
                    "expiration": {"days": SCRATCH_DAYS},
                },
                {
                    "id": "incomplete-uploads",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "abort_incomplete_multipart_upload": {
                        "days_after_initiation": INCOMPLETE_UPLOAD_DAYS
                    },
                },
            ],
            opts=child,
        )
        if context.kms_key:  # S3 encrypts by itself with a key of its own
            aws.s3.BucketServerSideEncryptionConfiguration(
                f"{name}-encryption",
                bucket=bucket.bucket,
                rules=[
                    {
                        "apply_server_side_encryption_by_default": {
                            "sse_algorithm": "aws:kms",
                            "kms_master_key_id": context.kms_key,
                        },
                        "bucket_key_enabled": True,
                    }
                ],
                opts=child,
            )
        self.arn = bucket.arn
        self._bucket = bucket.bucket
        self.register_outputs({"name": self._bucket})

    def folder(self, area: str, deployment: str) -> pulumi.Output[str]:
        """The URI of a deployment's own folder in an area."""
        return self._bucket.apply(lambda bucket: folder_uri(bucket, area, deployment))
