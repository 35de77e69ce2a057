"""Systems Manager: parameters."""

from __future__ import annotations

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
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_KIND: Final = "Parameter"


class Parameter(Handler):
    """A parameter. Its id is its name. pulumi-aws marks `value` as secret, always."""

    resource_type = "aws:ssm/parameter:Parameter"
    auto_name = AutoName(max_length=1011)
    volatile = frozenset({"version"})
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(replaces=True),
        "allowedPattern": Property(default=""),
        "dataType": Property(replaces=True, default="text"),
        "description": Property(default=""),
        "insecureValue": Property(api="Value"),
        "keyId": Property(),
        "overwrite": Property(engine_only=True),
        "tier": Property(default="Standard"),
        "type": Property(),
        "value": Property(),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Puts the parameter; one of the same name is refused, unless it may be overwritten."""
        tags = tag_list(inputs.get("tags"))
        cloud.client("ssm").put_parameter(
            **self.api(without(inputs, "tags")),
            Overwrite=bool(inputs.get("overwrite")),
            # AWS takes tags for a new parameter only
            **({"Tags": tags} if tags and not inputs.get("overwrite") else {}),
        )
        return inputs["name"]

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Sets the tags of one that was overwritten."""
        if inputs.get("overwrite") and (tags := tag_list(inputs.get("tags"))):
            cloud.client("ssm").add_tags_to_resource(
                ResourceType=_KIND, ResourceId=resource_id, Tags=tags
            )

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads value, description and tags."""
        ssm = cloud.client("ssm")
        found = ssm.get_parameter(Name=resource_id, WithDecryption=True)["Parameter"]
        described = ssm.describe_parameters(
            ParameterFilters=[{"Key": "Name", "Option": "Equals", "Values": [resource_id]}]
        )["Parameters"]
        tags = ssm.list_tags_for_resource(ResourceType=_KIND, ResourceId=resource_id)["TagList"]
        values = self.wire({**(described[0] if described else {}), **found})
        if "insecureValue" not in inputs:
            values.pop("insecureValue", None)
        return {
            **values,
            **tagged(tag_map(tags)),
            "arn": found["ARN"],
            "value": found["Value"],
            "version": found["Version"],
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Puts a new version of the parameter; settles the tags."""
        ssm = cloud.client("ssm")
        if change.changed - {"tags"}:
            ssm.put_parameter(**self.api(without(change.new, "tags")), Overwrite=True)
        if "tags" in change.changed:
            where = {"ResourceType": _KIND, "ResourceId": change.id}
            if dropped := dropped_tags(change):
                ssm.remove_tags_from_resource(**where, TagKeys=dropped)
            if tags := change.new.get("tags"):
                ssm.add_tags_to_resource(**where, Tags=tag_list(tags))
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the parameter."""
        del inputs, outputs
        cloud.client("ssm").delete_parameter(Name=resource_id)
