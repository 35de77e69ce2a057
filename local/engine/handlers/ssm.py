"""Systems Manager: parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Resource,
    Update,
    Values,
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
    service = "ssm"
    auto_name = AutoName(max_length=1011)
    volatile = frozenset({"version"})
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(replaces=True),
        "description": Property(default=""),
        "insecureValue": Property(api="Value"),
        "keyId": Property(),
        "tier": Property(default="Standard"),
        "type": Property(),
        "value": Property(),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        """One of the same name is refused."""
        cloud.client("ssm").put_parameter(
            **self.api(without(inputs, "tags")), Tags=tag_list(inputs.get("tags"))
        )
        return inputs["name"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        ssm = cloud.client("ssm")
        found = ssm.get_parameter(Name=resource.id, WithDecryption=True)["Parameter"]
        described = ssm.describe_parameters(
            ParameterFilters=[{"Key": "Name", "Option": "Equals", "Values": [resource.id]}]
        )["Parameters"]
        tags = ssm.list_tags_for_resource(ResourceType=_KIND, ResourceId=resource.id)["TagList"]
        values = self.wire({**(described[0] if described else {}), **found})
        if "insecureValue" not in resource.inputs:
            values.pop("insecureValue", None)
        return {
            **values,
            **tagged(tag_map(tags)),
            "arn": found["ARN"],
            "value": found["Value"],
            "version": found["Version"],
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        cloud.client("ssm").put_parameter(**self.api(without(change.new, "tags")), Overwrite=True)

    def retag(self, cloud: Cloud, change: Update) -> None:
        ssm, where = cloud.client("ssm"), {"ResourceType": _KIND, "ResourceId": change.id}
        if dropped := change.dropped_tags:
            ssm.remove_tags_from_resource(**where, TagKeys=dropped)
        if tags := change.new.get("tags"):
            ssm.add_tags_to_resource(**where, Tags=tag_list(tags))

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("ssm").delete_parameter(Name=resource.id)
