"""KMS: keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.cloud import ACCOUNT_ID
from local.engine.handlers.base import Handler, Resource, Tagging, Update, Values, only, tagged
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_GONE: Final = ("PendingDeletion", "PendingReplicaDeletion")
_ACCOUNTS_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
    ],
}
"""The policy that KMS gives a key without one: the account decides through IAM."""


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"TagKey": key, "TagValue": value} for key, value in tags.items()]


class Key(Handler):
    """A key. Its id is AWS's."""

    resource_type = "aws:kms/key:Key"
    service = "kms"
    tagging = Tagging(subject="keyId", shape=_tags)
    properties: ClassVar[Mapping[str, Property]] = {
        "deletionWindowInDays": Property(engine_only=True, default=30),
        "description": Property(default=""),
        "enableKeyRotation": Property(default=False),
        "policy": Property(json=True),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        answer = cloud.client("kms").create_key(
            **self.api(only(inputs, ("description", "policy"))), Tags=_tags(inputs.get("tags", {}))
        )
        return answer["KeyMetadata"]["KeyId"]

    def configure(self, cloud: Cloud, resource: Resource) -> None:
        if resource.inputs.get("enableKeyRotation"):
            cloud.client("kms").enable_key_rotation(KeyId=resource.id)

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        """A key that is waiting for its deletion counts as gone."""
        kms, key = cloud.client("kms"), resource.id
        found = kms.describe_key(KeyId=key)["KeyMetadata"]
        if found["KeyState"] in _GONE:
            return None
        values = self.wire(found)
        if "policy" in resource.inputs:
            values["policy"] = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
        tags = kms.list_resource_tags(KeyId=key)["Tags"]
        return {
            **values,
            **tagged({tag["TagKey"]: tag["TagValue"] for tag in tags}),
            "enableKeyRotation": kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"],
            "arn": found["Arn"],
            "keyId": found["KeyId"],
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        kms, key = cloud.client("kms"), change.id
        if "description" in change.changed:
            kms.update_key_description(KeyId=key, Description=change.new.get("description", ""))
        if "policy" in change.changed:
            policy = change.new.get("policy") or json.dumps(_ACCOUNTS_POLICY)
            kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)
        if "enableKeyRotation" in change.changed and not change.new.get("enableKeyRotation"):
            kms.disable_key_rotation(KeyId=key)
        self.configure(cloud, change.resource)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("kms").schedule_key_deletion(
            KeyId=resource.id, PendingWindowInDays=resource.inputs.get("deletionWindowInDays", 30)
        )
