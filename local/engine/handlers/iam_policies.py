"""IAM: policies that stand by themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Update,
    Values,
    dropped_tags,
    tag_list,
    tag_map,
    tagged,
    without,
)
from local.engine.properties import TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_VERSIONS_MAX: Final = 5
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""


class Policy(Handler):
    """A managed policy. Its id is its ARN."""

    resource_type = "aws:iam/policy:Policy"
    auto_name = AutoName(max_length=128)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="PolicyName", replaces=True),
        "description": Property(replaces=True, default=""),
        "path": Property(replaces=True, default="/"),
        "policy": Property(api="PolicyDocument", json=True, exact=True),
        "tags": TAGS,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the policy."""
        answer = cloud.client("iam").create_policy(
            **self.api(without(inputs, "tags")), Tags=tag_list(inputs.get("tags"))
        )
        return answer["Policy"]["Arn"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads the policy's default version."""
        del inputs
        iam = cloud.client("iam")
        found = iam.get_policy(PolicyArn=resource_id)["Policy"]
        version = iam.get_policy_version(
            PolicyArn=resource_id, VersionId=found["DefaultVersionId"]
        )["PolicyVersion"]
        document = version["Document"]
        return {
            **self.wire(found),
            **tagged(tag_map(found.get("Tags"))),
            "policy": document if isinstance(document, str) else json.dumps(document),
            "arn": resource_id,
            "attachmentCount": found.get("AttachmentCount", 0),
            "policyId": found["PolicyId"],
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Makes a version that counts from now on; the oldest gives way to it."""
        iam = cloud.client("iam")
        if "policy" in change.changed:
            spare = self._versions(cloud, change.id)
            if len(spare) + 1 >= _VERSIONS_MAX:
                iam.delete_policy_version(PolicyArn=change.id, VersionId=spare[0])
            iam.create_policy_version(
                PolicyArn=change.id, PolicyDocument=change.new["policy"], SetAsDefault=True
            )
        if "tags" in change.changed:
            if dropped := dropped_tags(change):
                iam.untag_policy(PolicyArn=change.id, TagKeys=dropped)
            if tags := change.new.get("tags"):
                iam.tag_policy(PolicyArn=change.id, Tags=tag_list(tags))
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the policy with all its versions; nothing may have it attached."""
        del inputs, outputs
        iam = cloud.client("iam")
        for version in self._versions(cloud, resource_id):
            iam.delete_policy_version(PolicyArn=resource_id, VersionId=version)
        iam.delete_policy(PolicyArn=resource_id)

    @staticmethod
    def _versions(cloud: Cloud, arn: str) -> list[str]:
        """Ids of the versions that are not the default, oldest first."""
        versions = cloud.client("iam").list_policy_versions(PolicyArn=arn)["Versions"]
        spare = [each["VersionId"] for each in versions if not each["IsDefaultVersion"]]
        return sorted(spare, key=lambda version: int(version.removeprefix("v")))
