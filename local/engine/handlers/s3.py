"""S3: buckets and their wall against the public."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from botocore.exceptions import ClientError

from local.engine.cloud import is_missing
from local.engine.errors import CloudError
from local.engine.handlers.base import AutoName, Handler, Update, Values, tag_list, tag_map, tagged
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class Bucket(Handler):
    """A bucket. Its id is its name."""

    resource_type = "aws:s3/bucket:Bucket"
    auto_name = AutoName(property="bucket", max_length=63, lower=True)
    properties: ClassVar[Mapping[str, Property]] = {
        "bucket": Property(replaces=True),
        "forceDestroy": Property(engine_only=True, default=False),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the bucket; its tags come after."""
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

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Sets the tags."""
        if tags := inputs.get("tags"):
            cloud.client("s3").put_bucket_tagging(
                Bucket=resource_id, Tagging={"TagSet": tag_list(tags)}
            )

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Looks for the bucket and its tags."""
        del inputs
        s3 = cloud.client("s3")
        s3.head_bucket(Bucket=resource_id)
        try:
            tags = tag_map(s3.get_bucket_tagging(Bucket=resource_id)["TagSet"])
        except ClientError as error:
            if not is_missing(error):
                raise
            tags = {}
        return {
            "bucket": resource_id,
            **tagged(tags),
            "arn": f"arn:aws:s3:::{resource_id}",
            "bucketDomainName": f"{resource_id}.s3.amazonaws.com",
            "bucketRegion": cloud.region,
            "bucketRegionalDomainName": f"{resource_id}.s3.{cloud.region}.amazonaws.com",
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces the tags."""
        cloud.client("s3").delete_bucket_tagging(Bucket=change.id)
        self.configure(cloud, change.id, dict(change.new))
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the bucket; with objects in it only if it says so."""
        del outputs
        s3 = cloud.client("s3")
        if inputs.get("forceDestroy"):
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=resource_id):
                doomed = [
                    {"Key": item["Key"], "VersionId": item["VersionId"]}
                    for item in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                ]
                if doomed:
                    s3.delete_objects(Bucket=resource_id, Delete={"Objects": doomed})
        s3.delete_bucket(Bucket=resource_id)


class BucketPublicAccessBlock(Handler):
    """Keeps a bucket from the public. Its id is the bucket's name."""

    resource_type = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "bucket": Property(replaces=True),
        "blockPublicAcls": Property(default=False),
        "blockPublicPolicy": Property(default=False),
        "ignorePublicAcls": Property(default=False),
        "restrictPublicBuckets": Property(default=False),
        "skipDestroy": Property(engine_only=True, default=False),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Puts the wall up."""
        flags = self.wanted(inputs, self.properties.keys() - {"bucket", "skipDestroy", "region"})
        cloud.client("s3").put_public_access_block(
            Bucket=inputs["bucket"], PublicAccessBlockConfiguration=self.api(flags)
        )
        return inputs["bucket"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads its four flags."""
        del inputs
        answer = cloud.client("s3").get_public_access_block(Bucket=resource_id)
        return {"bucket": resource_id, **self.wire(answer["PublicAccessBlockConfiguration"])}

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces the wall."""
        return self.create(cloud, dict(change.new))

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Takes the wall down, unless it is to be left."""
        del outputs
        if not inputs.get("skipDestroy"):
            cloud.client("s3").delete_public_access_block(Bucket=resource_id)
