"""Lambda: functions, and who may invoke them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.assets import content_hash, zip_of
from local.engine.errors import CloudError
from local.engine.handlers.base import (
    AutoName,
    Handler,
    Resource,
    Tagging,
    Update,
    Values,
    tagged,
    without,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_CODE: Final = frozenset({"code", "architectures"})


class Function(Handler):
    """A function whose code is an archive of the program. Its id is its name."""

    resource_type = "aws:lambda/function:Function"
    service = "lambda"
    auto_name = AutoName(max_length=64)
    volatile = frozenset({"codeSha256"})
    tagging = Tagging(subject="resource", arn="function:", shape=dict)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="FunctionName", replaces=True),
        "architectures": Property(default=["x86_64"]),
        "code": Property(asset=True, normalise=content_hash),
        "description": Property(default=""),
        "environment": Property(
            default={"variables": {}}, fields={"variables": Property(exact=True)}
        ),
        "handler": Property(),
        "kmsKeyArn": Property(api="KMSKeyArn", default=""),
        "loggingConfig": Property(fields={"logFormat": Property(), "logGroup": Property()}),
        "memorySize": Property(default=128),
        "role": Property(),
        "runtime": Property(),
        "timeout": Property(default=3),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        cloud.client("lambda").create_function(
            **self.api(without(inputs, "code", "tags")),
            Code={"ZipFile": _zipped(inputs)},
            Tags=inputs.get("tags", {}),
        )
        return inputs["name"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        """The code shows by its hash only."""
        answer = cloud.client("lambda").get_function(FunctionName=resource.id)
        found = answer["Configuration"]
        return {
            **self.wire(found),
            **tagged(answer.get("Tags", {})),
            "arn": found["FunctionArn"],
            "codeSha256": found["CodeSha256"],
            "version": found["Version"],
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        client = cloud.client("lambda")
        if change.changed & _CODE:
            client.update_function_code(
                FunctionName=change.id,
                ZipFile=_zipped(change.new),
                **self.wanted(change.new, ["architectures"]),
            )
        if names := change.changed - _CODE:
            client.update_function_configuration(
                FunctionName=change.id, **self.wanted(change.new, names)
            )

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("lambda").delete_function(FunctionName=resource.id)


class Permission(Handler):
    """A statement in a function's own policy. Its id is the statement's."""

    resource_type = "aws:lambda/permission:Permission"
    service = "lambda"
    auto_name = AutoName(property="statementId", max_length=100)
    properties: ClassVar[Mapping[str, Property]] = {
        "statementId": Property(replaces=True),
        "action": Property(replaces=True),
        "function": Property(api="FunctionName", replaces=True),
        "principal": Property(replaces=True),
        "sourceArn": Property(replaces=True),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        cloud.client("lambda").add_permission(**self.api(inputs))
        return inputs["statementId"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        function = resource.inputs["function"]
        policy = json.loads(cloud.client("lambda").get_policy(FunctionName=function)["Policy"])
        for statement in policy["Statement"]:
            if statement["Sid"] == resource.id:
                return {
                    "statementId": resource.id,
                    "action": statement["Action"],
                    "function": function,
                    "principal": statement["Principal"]["Service"],
                    "sourceArn": statement["Condition"]["ArnLike"]["AWS:SourceArn"],
                }
        return None

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("lambda").remove_permission(
            FunctionName=resource.inputs["function"], StatementId=resource.id
        )


def _zipped(inputs: Mapping[str, Any]) -> bytes:
    if "code" not in inputs:
        raise CloudError(
            f"the function '{inputs['name']}' has no code; give code=pulumi.FileArchive(...) or "
            "an AssetArchive (code in S3 or in an image cannot be run here)."
        )
    return zip_of(inputs["code"], f"the function '{inputs['name']}', property 'code'")
