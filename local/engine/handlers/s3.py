"""S3: buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from botocore.exceptions import ClientError

from local.engine.cloud import is_missing
from local.engine.errors import CloudError
from local.engine.handlers.base import (
    AutoName,
    Handler,
    Resource,
    Update,
    Values,
    tag_list,
    tag_map,
    tagged,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class Bucket(Handler):
    """A bucket. Its id is its name."""

    resource_type = "aws:s3/bucket:Bucket"
    service = "s3"
    auto_name = AutoName(property="bucket", max_length=63, lower=True)
    properties: ClassVar[Mapping[str, Property]] = {
        "bucket": Property(replaces=True),
        "forceDestroy": Property(engine_only=True, default=False),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        elsewhere = (
            {}
            if cloud.region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": cloud.region}}
        )
        s3 = cloud.client("s3")
        try:
            s3.head_bucket(Bucket=inputs["bucket"])
        except ClientError as error:
            if not is_missing(error):
                raise
            s3.create_bucket(Bucket=inputs["bucket"], **elsewhere)
            return inputs["bucket"]
        raise CloudError(
            f"the bucket '{inputs['bucket']}' is there already (in us-east-1, S3 itself would "
            "hand it over without a word); give another name."
        )

    def configure(self, cloud: Cloud, resource: Resource) -> None:
        if tags := resource.inputs.get("tags"):
            cloud.client("s3").put_bucket_tagging(
                Bucket=resource.id, Tagging={"TagSet": tag_list(tags)}
            )

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        s3, name = cloud.client("s3"), resource.id
        s3.head_bucket(Bucket=name)
        try:
            tags = tag_map(s3.get_bucket_tagging(Bucket=name)["TagSet"])
        except ClientError as error:
            if not is_missing(error):
                raise
            tags = {}
        return {
            "bucket": name,
            **tagged(tags),
            "arn": f"arn:aws:s3:::{name}",
            "bucketDomainName": f"{name}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{name}.s3.{cloud.region}.amazonaws.com",
        }

    def retag(self, cloud: Cloud, change: Update) -> None:
        cloud.client("s3").delete_bucket_tagging(Bucket=change.id)
        self.configure(cloud, change.resource)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        """Deletes objects too, if `forceDestroy` says so."""
        s3 = cloud.client("s3")
        if resource.inputs.get("forceDestroy"):
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=resource.id):
                doomed = [
                    {"Key": item["Key"], "VersionId": item["VersionId"]}
                    for item in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                ]
                if doomed:
                    s3.delete_objects(Bucket=resource.id, Delete={"Objects": doomed})
        s3.delete_bucket(Bucket=resource.id)
