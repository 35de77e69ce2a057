"""Resources that one call puts as a whole, one reads and one deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.handlers.base import AutoName, Handler, Resource, Update, Values, without
from local.engine.properties import REGION, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class Setting(Handler):
    """A resource that consists of its properties and of the names of three calls."""

    calls: ClassVar[tuple[str, str, str]]
    """boto3's methods that put, get and delete it."""
    keys: ClassVar[tuple[str, ...]]
    """Properties that say which one it is: every call takes them, and its id is made of them."""
    inside: ClassVar[str] = ""
    """AWS's parameter, and the part of its answer, that holds all other properties."""
    delete_before_replace = True

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        where, rest = self._where(inputs), self.api(without(inputs, *self.keys))
        self._call(cloud, 0)(**where, **({self.inside: rest} if self.inside else rest))
        return ":".join(inputs[key] for key in self.keys)

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        answer = self._call(cloud, 1)(**self._where(resource.inputs))
        found = self.wire(answer[self.inside] if self.inside else answer)
        return {**found, **{key: resource.inputs[key] for key in self.keys}}

    def modify(self, cloud: Cloud, change: Update) -> None:
        self.create(cloud, change.new)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        self._call(cloud, 2)(**self._where(resource.inputs))

    def _call(self, cloud: Cloud, index: int) -> Any:
        return getattr(cloud.client(self.service), self.calls[index])

    def _where(self, inputs: Mapping[str, Any]) -> Values:
        return self.api({key: inputs[key] for key in self.keys})


class BucketPolicy(Setting):
    """The access policy of a bucket."""

    resource_type = "aws:s3/bucketPolicy:BucketPolicy"
    service = "s3"
    calls = ("put_bucket_policy", "get_bucket_policy", "delete_bucket_policy")
    keys = ("bucket",)
    properties: ClassVar[Mapping[str, Property]] = {
        "bucket": Property(replaces=True),
        "policy": Property(json=True, exact=True),
        "region": REGION,
    }


class BucketPublicAccessBlock(Setting):
    """Keeps a bucket from the public."""

    resource_type = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    service = "s3"
    calls = ("put_public_access_block", "get_public_access_block", "delete_public_access_block")
    keys = ("bucket",)
    inside = "PublicAccessBlockConfiguration"
    properties: ClassVar[Mapping[str, Property]] = {
        "bucket": Property(replaces=True),
        "blockPublicAcls": Property(default=False),
        "blockPublicPolicy": Property(default=False),
        "ignorePublicAcls": Property(default=False),
        "restrictPublicBuckets": Property(default=False),
        "region": REGION,
    }


class BucketServerSideEncryptionConfiguration(Setting):
    """The encryption of objects by default."""

    resource_type = (
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    )
    service = "s3"
    calls = ("put_bucket_encryption", "get_bucket_encryption", "delete_bucket_encryption")
    keys = ("bucket",)
    inside = "ServerSideEncryptionConfiguration"
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
            }
        ),
        "region": REGION,
    }


class BucketLifecycleConfiguration(Setting):
    """The rules for old objects."""

    resource_type = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    service = "s3"
    calls = (
        "put_bucket_lifecycle_configuration",
        "get_bucket_lifecycle_configuration",
        "delete_bucket_lifecycle",
    )
    keys = ("bucket",)
    properties: ClassVar[Mapping[str, Property]] = {
        "bucket": Property(replaces=True),
        "rules": Property(
            fields={
                "id": Property(api="ID"),
                "status": Property(),
                "abortIncompleteMultipartUpload": Property(
                    fields={"daysAfterInitiation": Property()}
                ),
                "expiration": Property(fields={"days": Property()}),
                "filter": Property(fields={"prefix": Property()}),
            }
        ),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        """A rule without a filter is for all objects."""
        rules = [{"filter": {"prefix": ""}, **rule} for rule in inputs["rules"]]
        cloud.client("s3").put_bucket_lifecycle_configuration(
            Bucket=inputs["bucket"], LifecycleConfiguration=self.api({"rules": rules})
        )
        return inputs["bucket"]


class LifecyclePolicy(Setting):
    """The rules for old images of a repository."""

    resource_type = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    service = "ecr"
    calls = ("put_lifecycle_policy", "get_lifecycle_policy", "delete_lifecycle_policy")
    keys = ("repository",)
    capitalised = False
    properties: ClassVar[Mapping[str, Property]] = {
        "repository": Property(api="repositoryName", replaces=True),
        "policy": Property(api="lifecyclePolicyText", json=True, exact=True),
        "region": REGION,
    }


class RolePolicy(Setting):
    """A policy inside a role."""

    resource_type = "aws:iam/rolePolicy:RolePolicy"
    service = "iam"
    calls = ("put_role_policy", "get_role_policy", "delete_role_policy")
    keys = ("role", "name")
    auto_name = AutoName(max_length=128)
    delete_before_replace = False
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="PolicyName", replaces=True),
        "role": Property(api="RoleName", replaces=True),
        "policy": Property(api="PolicyDocument", json=True, exact=True),
    }


class Dashboard(Setting):
    """A dashboard."""

    resource_type = "aws:cloudwatch/dashboard:Dashboard"
    service = "cloudwatch"
    calls = ("put_dashboard", "get_dashboard", "delete_dashboards")
    keys = ("dashboardName",)
    auto_name = AutoName(property="dashboardName", max_length=255)
    delete_before_replace = False
    properties: ClassVar[Mapping[str, Property]] = {
        "dashboardName": Property(replaces=True),
        "dashboardBody": Property(json=True, exact=True),
        "region": REGION,
    }

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("cloudwatch").delete_dashboards(DashboardNames=[resource.id])
