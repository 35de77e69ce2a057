"""S3: what a bucket's owner settles about it, each a resource of its own beside the bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.handlers.base import Handler, Update, Values
from local.engine.properties import REGION, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class _Setting(Handler):
    """One setting of one bucket, put as a whole. Its id is the bucket's name."""

    delete_before_replace = True

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Puts the setting."""
        self.put(cloud, inputs["bucket"], inputs)
        return inputs["bucket"]

    def put(self, cloud: Cloud, bucket: str, inputs: Mapping[str, Any]) -> None:
        """Makes S3's call."""
        raise NotImplementedError

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces it."""
        return self.create(cloud, dict(change.new))


class BucketPolicy(_Setting):
    """Who may do what in a bucket."""

    resource_type = "aws:s3/bucketPolicy:BucketPolicy"
    properties: ClassVar[Mapping[str, Property]] = {
        "bucket": Property(replaces=True),
        "policy": Property(json=True, exact=True),
        "region": REGION,
    }

    def put(self, cloud: Cloud, bucket: str, inputs: Mapping[str, Any]) -> None:
        """Puts the policy."""
        cloud.client("s3").put_bucket_policy(Bucket=bucket, Policy=inputs["policy"])

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads the policy."""
        del inputs
        answer = cloud.client("s3").get_bucket_policy(Bucket=resource_id)
        return {"bucket": resource_id, "policy": answer["Policy"]}

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Takes the policy away."""
        del inputs, outputs
        cloud.client("s3").delete_bucket_policy(Bucket=resource_id)


class BucketLifecycleConfiguration(_Setting):
    """The rules for old objects."""

    resource_type = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    properties: ClassVar[Mapping[str, Property]] = {
        "bucket": Property(replaces=True),
        "rules": Property(
            fields={
                "id": Property(api="ID"),
                "status": Property(),
                "abortIncompleteMultipartUpload": Property(
                    fields={"daysAfterInitiation": Property()}
                ),
                "expiration": Property(
                    fields={
                        "date": Property(),
                        "days": Property(),
                        "expiredObjectDeleteMarker": Property(),
                    }
                ),
                "filter": Property(fields={"prefix": Property()}),
                "noncurrentVersionExpiration": Property(
                    fields={"newerNoncurrentVersions": Property(), "noncurrentDays": Property()}
                ),
                "transitions": Property(
                    fields={"date": Property(), "days": Property(), "storageClass": Property()}
                ),
            },
        ),
        "region": REGION,
    }

    def put(self, cloud: Cloud, bucket: str, inputs: Mapping[str, Any]) -> None:
        """Puts the rules; one without a filter holds for all objects."""
        rules = self.api(inputs)["Rules"]
        for rule in rules:
            rule.setdefault("Filter", {"Prefix": ""})
        cloud.client("s3").put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": rules}
        )

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads the rules."""
        del inputs
        answer = cloud.client("s3").get_bucket_lifecycle_configuration(Bucket=resource_id)
        return {"bucket": resource_id, **self.wire(answer)}

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Takes the rules away."""
        del inputs, outputs
        cloud.client("s3").delete_bucket_lifecycle(Bucket=resource_id)


class BucketServerSideEncryptionConfiguration(_Setting):
    """How objects are encrypted that say nothing about it."""

    resource_type = (
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    )
    properties: ClassVar[Mapping[str, Property]] = {
        "bucket": Property(replaces=True),
        "rules": Property(
            fields={
                "applyServerSideEncryptionByDefault": Property(
                    fields={
                        "kmsMasterKeyId": Property(api="KMSMasterKeyID"),
                        "sseAlgorithm": Property(api="SSEAlgorithm"),
                    }
                ),
                "bucketKeyEnabled": Property(),
            },
        ),
        "region": REGION,
    }

    def put(self, cloud: Cloud, bucket: str, inputs: Mapping[str, Any]) -> None:
        """Puts the rules."""
        cloud.client("s3").put_bucket_encryption(
            Bucket=bucket,
            ServerSideEncryptionConfiguration={"Rules": self.api(inputs)["Rules"]},
        )

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads the rules."""
        del inputs
        answer = cloud.client("s3").get_bucket_encryption(Bucket=resource_id)
        configuration = answer["ServerSideEncryptionConfiguration"]
        return {"bucket": resource_id, **self.wire(configuration)}

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Goes back to S3's own keys."""
        del inputs, outputs
        cloud.client("s3").delete_bucket_encryption(Bucket=resource_id)
