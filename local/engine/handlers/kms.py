"""KMS: keys and their names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import Handler, Update, Values, dropped_tags, tagged
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_GONE: Final = ("PendingDeletion", "PendingReplicaDeletion")
_AT_BIRTH: Final = (
    "bypassPolicyLockoutSafetyCheck",
    "customerMasterKeySpec",
    "description",
    "keyUsage",
    "multiRegion",
    "policy",
)


class Key(Handler):
    """A key. Its id is AWS's."""

    resource_type = "aws:kms/key:Key"
    properties: ClassVar[Mapping[str, Property]] = {
        "bypassPolicyLockoutSafetyCheck": Property(default=False),
        "customerMasterKeySpec": Property(
            api="KeySpec", replaces=True, default="SYMMETRIC_DEFAULT"
        ),
        "deletionWindowInDays": Property(engine_only=True, default=30),
        "description": Property(default=""),
        "enableKeyRotation": Property(default=False),
        "isEnabled": Property(default=True),
        "keyUsage": Property(replaces=True, default="ENCRYPT_DECRYPT"),
        "multiRegion": Property(replaces=True, default=False),
        "policy": Property(json=True),
        "rotationPeriodInDays": Property(default=365),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the key; rotation comes after."""
        given = {name: inputs[name] for name in _AT_BIRTH if name in inputs}
        answer = cloud.client("kms").create_key(
            **self.api(given),
            Tags=_tags(inputs.get("tags", {})),
        )
        return answer["KeyMetadata"]["KeyId"]

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Sets rotation, and disables the key if it says so."""
        kms = cloud.client("kms")
        if inputs.get("enableKeyRotation"):
            period = {"RotationPeriodInDays": inputs.get("rotationPeriodInDays", 365)}
            kms.enable_key_rotation(KeyId=resource_id, **period)
        if not inputs.get("isEnabled", True):
            kms.disable_key(KeyId=resource_id)

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the key; one that is waiting for its deletion counts as gone."""
        kms = cloud.client("kms")
        found = kms.describe_key(KeyId=resource_id)["KeyMetadata"]
        if found["KeyState"] in _GONE:
            return None
        rotation = kms.get_key_rotation_status(KeyId=resource_id)
        tags = kms.list_resource_tags(KeyId=resource_id)["Tags"]
        values = self.wire(found)
        if "policy" in inputs:
            values["policy"] = kms.get_key_policy(KeyId=resource_id, PolicyName="default")["Policy"]
        return {
            **values,
            **tagged({tag["TagKey"]: tag["TagValue"] for tag in tags}),
            "isEnabled": found["Enabled"],
            "enableKeyRotation": rotation["KeyRotationEnabled"],
            "arn": found["Arn"],
            "keyId": found["KeyId"],
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Description, policy, rotation, state and tags each have a call."""
        kms, key, new = cloud.client("kms"), change.id, change.new
        if "description" in change.changed:
            kms.update_key_description(KeyId=key, Description=new.get("description", ""))
        if "policy" in change.changed:
            policy = new.get("policy") or json.dumps(_account_policy(cloud))
            kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)
        if "isEnabled" in change.changed and new.get("isEnabled", True):
            kms.enable_key(KeyId=key)
        if change.changed & {"enableKeyRotation", "rotationPeriodInDays"} and not new.get(
            "enableKeyRotation"
        ):
            kms.disable_key_rotation(KeyId=key)
        self.configure(cloud, key, dict(new))
        if "tags" in change.changed:
            if dropped := dropped_tags(change):
                kms.untag_resource(KeyId=key, TagKeys=dropped)
            if tags := new.get("tags"):
                kms.tag_resource(KeyId=key, Tags=_tags(tags))
        return key

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Has KMS delete the key when its window has passed."""
        del outputs
        cloud.client("kms").schedule_key_deletion(
            KeyId=resource_id, PendingWindowInDays=inputs.get("deletionWindowInDays", 30)
        )


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"TagKey": key, "TagValue": value} for key, value in tags.items()]


def _account_policy(cloud: Cloud) -> Values:
    """Returns the policy that KMS gives a key without one: the account decides through IAM."""
    account = cloud.client("sts").get_caller_identity()["Account"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Enable IAM User Permissions",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    }
