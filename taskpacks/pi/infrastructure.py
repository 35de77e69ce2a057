"""The pack's own cloud resources. Only the Pulumi program imports this."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pulumi
import pulumi_aws as aws

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskpacks import InfrastructureContext

PREFIX: Final = "pi"


def results_bucket(context: InfrastructureContext) -> Mapping[str, pulumi.Input[str]]:
    """Makes a private bucket that the tasks may add results to, and do nothing else with.

    Consists of: the bucket, its public access block, its encryption where the stack has a key, a
    policy on the worker's role. What becomes of the bucket when it leaves the stack,
    `taskpacks:data` says.
    """
    opts = pulumi.ResourceOptions(parent=context.parent)
    # S3 takes no underscore in a name, and a deployment's may have some.
    bucket = aws.s3.Bucket(f"{context.deployment.replace('_', '-')}-results", opts=opts)
    aws.s3.BucketPublicAccessBlock(
        f"{context.deployment}-results-private",
        bucket=bucket.id,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=opts,
    )
    if context.kms_key:  # S3 encrypts by itself with a key of its own
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{context.deployment}-results-encryption",
            bucket=bucket.id,
            rules=[
                {
                    "apply_server_side_encryption_by_default": {
                        "sse_algorithm": "aws:kms",
                        "kms_master_key_id": context.kms_key,
                    },
                    "bucket_key_enabled": True,
                }
            ],
            opts=opts,
        )
    aws.iam.RolePolicy(
        f"{context.deployment}-results-write",
        role=context.worker_role,
        policy=bucket.arn.apply(write_policy),
        opts=opts,
    )
    return {"PI_OUTPUT": bucket.id.apply(lambda name: f"s3://{name}/{PREFIX}")}


def write_policy(bucket_arn: str) -> str:
    """Allows what an upload needs: PutObject also starts, fills and completes multipart ones."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
                    "Resource": f"{bucket_arn}/{PREFIX}/*",
                }
            ],
        }
    )
