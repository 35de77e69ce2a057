"""Lambda: functions, and who may call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.assets import content_hash, zip_of
from local.engine.errors import CloudError
from local.engine.handlers.base import AutoName, Handler, Update, Values, dropped_tags, tagged
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_CODE: Final = frozenset({"code", "sourceCodeHash", "architectures"})
_BESIDE: Final = frozenset({"reservedConcurrentExecutions", "tags"})
_UNLIMITED: Final = -1


class Function(Handler):
    """A function whose code is an archive of the program. Its id is its name."""

    resource_type = "aws:lambda/function:Function"
    auto_name = AutoName(max_length=64)
    volatile = frozenset({"codeSha256", "lastModified", "sourceCodeHash", "sourceCodeSize"})
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="FunctionName", replaces=True),
        "architectures": Property(default=["x86_64"]),
        "code": Property(asset=True, normalise=content_hash),
        "deadLetterConfig": Property(default={"targetArn": ""}, fields={"targetArn": Property()}),
        "description": Property(default=""),
        "environment": Property(
            default={"variables": {}}, fields={"variables": Property(exact=True)}
        ),
        "ephemeralStorage": Property(default={"size": 512}, fields={"size": Property()}),
        "handler": Property(),
        "kmsKeyArn": Property(api="KMSKeyArn", default=""),
        "loggingConfig": Property(
            fields={
                "applicationLogLevel": Property(),
                "logFormat": Property(),
                "logGroup": Property(),
                "systemLogLevel": Property(),
            },
        ),
        "memorySize": Property(default=128),
        "packageType": Property(replaces=True, default="Zip"),
        "publish": Property(engine_only=True, default=False),
        "reservedConcurrentExecutions": Property(default=_UNLIMITED),
        "role": Property(),
        "runtime": Property(),
        "skipDestroy": Property(engine_only=True, default=False),
        "sourceCodeHash": Property(engine_only=True),
        "timeout": Property(default=3),
        "tracingConfig": Property(default={"mode": "PassThrough"}, fields={"mode": Property()}),
        "vpcConfig": Property(
            default={"subnetIds": [], "securityGroupIds": []},
            fields={"securityGroupIds": Property(), "subnetIds": Property()},
        ),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the function with its code."""
        given = {name: value for name, value in inputs.items() if name not in _CODE | _BESIDE}
        if "architectures" in inputs:
            given["architectures"] = inputs["architectures"]
        cloud.client("lambda").create_function(
            **self.api(given),
            Code={"ZipFile": _zipped(inputs)},
            **({"Tags": inputs["tags"]} if inputs.get("tags") else {}),
        )
        return inputs["name"]

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Sets aside concurrency, if it says so."""
        reserved = inputs.get("reservedConcurrentExecutions", _UNLIMITED)
        if reserved != _UNLIMITED:
            cloud.client("lambda").put_function_concurrency(
                FunctionName=resource_id, ReservedConcurrentExecutions=reserved
            )

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads the configuration; the code shows by its hash only."""
        answer = cloud.client("lambda").get_function(FunctionName=resource_id)
        found = answer["Configuration"]
        values = self.wire(found)
        if "vpcConfig" not in inputs:
            values.pop("vpcConfig", None)  # AWS answers with an empty one
        reserved = answer.get("Concurrency", {}).get("ReservedConcurrentExecutions", _UNLIMITED)
        arn = found["FunctionArn"]
        return {
            **values,
            **tagged(answer.get("Tags", {})),
            "reservedConcurrentExecutions": reserved,
            "arn": arn,
            "codeSha256": found["CodeSha256"],
            "invokeArn": cloud.arn("apigateway", f"lambda:path/2015-03-31/functions/{arn}").replace(
                f":{arn.split(':')[4]}:lambda:path", ":lambda:path"
            )
            + "/invocations",
            "lastModified": found["LastModified"],
            "sourceCodeHash": inputs.get("sourceCodeHash") or found["CodeSha256"],
            "sourceCodeSize": found["CodeSize"],
            "version": found["Version"],
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Code, configuration, concurrency and tags each have a call."""
        client, new = cloud.client("lambda"), change.new
        if change.changed & _CODE:
            client.update_function_code(
                FunctionName=change.id,
                ZipFile=_zipped(new),
                Architectures=new.get("architectures", self.properties["architectures"].default),
            )
        if names := change.changed - _CODE - _BESIDE:
            client.update_function_configuration(
                FunctionName=change.id, **self.api(self.wanted(new, names))
            )
        if "reservedConcurrentExecutions" in change.changed:
            if new.get("reservedConcurrentExecutions", _UNLIMITED) == _UNLIMITED:
                client.delete_function_concurrency(FunctionName=change.id)
            self.configure(cloud, change.id, dict(new))
        if "tags" in change.changed:
            arn = change.outputs.get("arn") or cloud.arn("lambda", f"function:{change.id}")
            if dropped := dropped_tags(change):
                client.untag_resource(Resource=arn, TagKeys=dropped)
            if tags := new.get("tags"):
                client.tag_resource(Resource=arn, Tags=tags)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the function, unless it is to be left."""
        del outputs
        if not inputs.get("skipDestroy"):
            cloud.client("lambda").delete_function(FunctionName=resource_id)


def _zipped(inputs: Mapping[str, Any]) -> bytes:
    if "code" not in inputs:
        raise CloudError(
            f"the function '{inputs['name']}' has no code; give code=pulumi.FileArchive(...) or "
            "an AssetArchive (code in S3 or in an image cannot be run here)."
        )
    return zip_of(inputs["code"], f"the function '{inputs['name']}', property 'code'")
