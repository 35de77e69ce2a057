"""DynamoDB: tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Update,
    Values,
    dropped_tags,
    tag_list,
    tag_map,
    tagged,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class Table(Handler):
    """A table. Its id is its name."""

    resource_type = "aws:dynamodb/table:Table"
    auto_name = AutoName(max_length=255)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="TableName", replaces=True),
        "attributes": Property(
            replaces=True,
            unordered=True,
            fields={
                "name": Property(api="AttributeName"),
                "type": Property(api="AttributeType"),
            },
        ),
        "billingMode": Property(default="PROVISIONED"),
        "deletionProtectionEnabled": Property(default=False),
        "hashKey": Property(replaces=True),
        "pointInTimeRecovery": Property(default={"enabled": False}, fields={"enabled": Property()}),
        "rangeKey": Property(replaces=True),
        "readCapacity": Property(),
        "serverSideEncryption": Property(
            default={"enabled": False},
            fields={"enabled": Property(), "kmsKeyArn": Property(api="KMSMasterKeyId")},
        ),
        "ttl": Property(
            default={"enabled": False, "attributeName": ""},
            fields={"enabled": Property(), "attributeName": Property()},
        ),
        "writeCapacity": Property(),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the table; recovery and expiry come after."""
        keys = [{"AttributeName": inputs.get("hashKey"), "KeyType": "HASH"}]
        if "rangeKey" in inputs:
            keys.append({"AttributeName": inputs["rangeKey"], "KeyType": "RANGE"})
        parameters: Values = {
            "TableName": inputs["name"],
            "AttributeDefinitions": self.api({"attributes": inputs.get("attributes", [])})[
                "Attributes"
            ],
            "KeySchema": keys,
            "DeletionProtectionEnabled": inputs.get("deletionProtectionEnabled", False),
            "Tags": tag_list(inputs.get("tags")),
            **_billing(inputs),
        }
        if (inputs.get("serverSideEncryption") or {}).get("enabled"):
            parameters["SSESpecification"] = _encryption(inputs)
        cloud.client("dynamodb").create_table(**parameters)
        return inputs["name"]

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Switches recovery and expiry on."""
        if (inputs.get("pointInTimeRecovery") or {}).get("enabled"):
            _set_recovery(cloud, resource_id, inputs)
        if (inputs.get("ttl") or {}).get("enabled"):
            _set_expiry(cloud, resource_id, inputs["ttl"])

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the table and what stands beside it."""
        del inputs
        dynamodb = cloud.client("dynamodb")
        table = dynamodb.describe_table(TableName=resource_id)["Table"]
        keys = {key["KeyType"]: key["AttributeName"] for key in table["KeySchema"]}
        backups = dynamodb.describe_continuous_backups(TableName=resource_id)[
            "ContinuousBackupsDescription"
        ]
        recovery = backups.get("PointInTimeRecoveryDescription", {})
        expiry = dynamodb.describe_time_to_live(TableName=resource_id)["TimeToLiveDescription"]
        tags = dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
        return {
            "name": table["TableName"],
            **self.wire({"Attributes": table["AttributeDefinitions"]}),
            "billingMode": table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED"),
            "deletionProtectionEnabled": table.get("DeletionProtectionEnabled", False),
            "hashKey": keys["HASH"],
            **({"rangeKey": keys["RANGE"]} if "RANGE" in keys else {}),
            "serverSideEncryption": _encryption_as_given(table.get("SSEDescription")),
            "pointInTimeRecovery": {
                "enabled": recovery.get("PointInTimeRecoveryStatus") == "ENABLED"
            },
            "ttl": {
                "enabled": expiry.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"),
                "attributeName": expiry.get("AttributeName", ""),
            },
            **tagged(tag_map(tags)),
            "arn": table["TableArn"],
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Each kind of setting has a call of its own, and AWS takes one at a time."""
        dynamodb, name, new = cloud.client("dynamodb"), change.id, change.new
        if change.changed & {"billingMode", "readCapacity", "writeCapacity"}:
            dynamodb.update_table(TableName=name, **_billing(new))
        if "deletionProtectionEnabled" in change.changed:
            protected = new.get("deletionProtectionEnabled", False)
            dynamodb.update_table(TableName=name, DeletionProtectionEnabled=protected)
        if "serverSideEncryption" in change.changed:
            dynamodb.update_table(TableName=name, SSESpecification=_encryption(new))
        if "pointInTimeRecovery" in change.changed:
            _set_recovery(cloud, name, new)
        if "ttl" in change.changed:
            gone = {**(change.old.get("ttl") or {}), "enabled": False}
            wanted = new.get("ttl") or gone
            if wanted.get("attributeName"):
                _set_expiry(cloud, name, wanted)
        if "tags" in change.changed:
            arn = change.outputs.get("arn") or cloud.arn("dynamodb", f"table/{name}")
            if dropped := dropped_tags(change):
                dynamodb.untag_resource(ResourceArn=arn, TagKeys=dropped)
            if tags := new.get("tags"):
                dynamodb.tag_resource(ResourceArn=arn, Tags=tag_list(tags))
        return name

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the table; one that is protected in AWS, AWS refuses."""
        del inputs, outputs
        cloud.client("dynamodb").delete_table(TableName=resource_id)


def _billing(inputs: Mapping[str, Any]) -> Values:
    mode = inputs.get("billingMode", "PROVISIONED")
    if mode == "PAY_PER_REQUEST":
        return {"BillingMode": mode}
    return {
        "BillingMode": mode,
        "ProvisionedThroughput": {
            "ReadCapacityUnits": inputs.get("readCapacity", 1),
            "WriteCapacityUnits": inputs.get("writeCapacity", 1),
        },
    }


def _encryption(inputs: Mapping[str, Any]) -> Values:
    given = inputs.get("serverSideEncryption") or {}
    if not given.get("enabled"):
        return {"Enabled": False}
    key = given.get("kmsKeyArn")
    return {"Enabled": True, "SSEType": "KMS", **({"KMSMasterKeyId": key} if key else {})}


def _encryption_as_given(described: Mapping[str, Any] | None) -> Values:
    if described is None:
        return {"enabled": False}
    key = described.get("KMSMasterKeyArn")
    return {"enabled": True, **({"kmsKeyArn": key} if key else {})}


def _set_recovery(cloud: Cloud, name: str, inputs: Mapping[str, Any]) -> None:
    enabled = bool((inputs.get("pointInTimeRecovery") or {}).get("enabled"))
    cloud.client("dynamodb").update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": enabled}
    )


def _set_expiry(cloud: Cloud, name: str, ttl: Mapping[str, Any]) -> None:
    cloud.client("dynamodb").update_time_to_live(
        TableName=name,
        TimeToLiveSpecification={
            "Enabled": bool(ttl.get("enabled")),
            "AttributeName": ttl["attributeName"],
        },
    )
