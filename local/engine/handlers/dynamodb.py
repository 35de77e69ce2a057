"""DynamoDB: tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Resource,
    Tagging,
    Update,
    Values,
    only,
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
    service = "dynamodb"
    auto_name = AutoName(max_length=255)
    tagging = Tagging(arn="table/")
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="TableName", replaces=True),
        "attributes": Property(
            api="AttributeDefinitions",
            replaces=True,
            unordered=True,
            fields={"name": Property(api="AttributeName"), "type": Property(api="AttributeType")},
        ),
        "billingMode": Property(default="PROVISIONED"),
        "hashKey": Property(replaces=True),
        "rangeKey": Property(replaces=True),
        "serverSideEncryption": Property(
            default={"enabled": False},
            fields={"enabled": Property(), "kmsKeyArn": Property(api="KMSMasterKeyId")},
        ),
        "ttl": Property(
            default={"enabled": False, "attributeName": ""},
            fields={"enabled": Property(), "attributeName": Property()},
        ),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        keys = {"HASH": inputs.get("hashKey"), "RANGE": inputs.get("rangeKey")}
        given = _encryption(inputs)
        # moto makes a key of AWS's own for whatever is said of encryption, also that there is none
        encryption = {"SSESpecification": given} if given["Enabled"] else {}
        cloud.client("dynamodb").create_table(
            **self.api(only(inputs, ("name", "attributes", "billingMode"))),
            KeySchema=[
                {"AttributeName": name, "KeyType": kind} for kind, name in keys.items() if name
            ],
            **encryption,
            Tags=tag_list(inputs.get("tags")),
        )
        return inputs["name"]

    def configure(self, cloud: Cloud, resource: Resource) -> None:
        if (resource.inputs.get("ttl") or {}).get("enabled"):
            self._set_expiry(cloud, resource.id, resource.inputs["ttl"])

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        dynamodb = cloud.client("dynamodb")
        table = dynamodb.describe_table(TableName=resource.id)["Table"]
        keys = {key["KeyType"]: key["AttributeName"] for key in table["KeySchema"]}
        encryption = table.get("SSEDescription")
        key_arn = (encryption or {}).get("KMSMasterKeyArn")
        expiry = dynamodb.describe_time_to_live(TableName=resource.id)["TimeToLiveDescription"]
        tags = dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
        return {
            **self.wire(table),
            "billingMode": table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED"),
            "hashKey": keys["HASH"],
            **({"rangeKey": keys["RANGE"]} if "RANGE" in keys else {}),
            "serverSideEncryption": {
                "enabled": encryption is not None,
                **({"kmsKeyArn": key_arn} if key_arn else {}),
            },
            "ttl": {
                "enabled": expiry.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"),
                "attributeName": expiry.get("AttributeName", ""),
            },
            **tagged(tag_map(tags)),
            "arn": table["TableArn"],
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        dynamodb, new = cloud.client("dynamodb"), change.new
        if "billingMode" in change.changed:
            dynamodb.update_table(TableName=change.id, **self.wanted(new, ["billingMode"]))
        if "serverSideEncryption" in change.changed:
            dynamodb.update_table(TableName=change.id, SSESpecification=_encryption(new))
        if "ttl" in change.changed:
            gone = {**(change.old.get("ttl") or {}), "enabled": False}
            wanted = new.get("ttl") or gone
            if wanted.get("attributeName"):
                self._set_expiry(cloud, change.id, wanted)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("dynamodb").delete_table(TableName=resource.id)

    def _set_expiry(self, cloud: Cloud, name: str, ttl: Mapping[str, Any]) -> None:
        cloud.client("dynamodb").update_time_to_live(
            TableName=name, TimeToLiveSpecification=self.api({"ttl": ttl})["Ttl"]
        )


def _encryption(inputs: Mapping[str, Any]) -> Values:
    given = inputs.get("serverSideEncryption") or {}
    if not given.get("enabled"):
        return {"Enabled": False}
    key = given.get("kmsKeyArn")
    return {"Enabled": True, "SSEType": "KMS", **({"KMSMasterKeyId": key} if key else {})}
