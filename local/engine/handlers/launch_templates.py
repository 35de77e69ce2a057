"""EC2: launch templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import AutoName, Update, Values, only, tag_map, tagged, without
from local.engine.handlers.network import Ec2
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_FLAGS: Final = ("deleteOnTermination", "encrypted")


def _as_flag(value: Any) -> Any:
    """pulumi-aws writes these flags as text."""
    return value == "true" if isinstance(value, str) else value


def _mappings(mappings: Any) -> Any:
    return [
        {
            **mapping,
            "ebs": {
                name: _as_flag(value) if name in _FLAGS else value
                for name, value in mapping.get("ebs", {}).items()
            },
        }
        for mapping in mappings
    ]


class LaunchTemplate(Ec2):
    """How instances start. A change makes a new version, which is not the default one."""

    resource_type = "aws:ec2/launchTemplate:LaunchTemplate"
    auto_name = AutoName(max_length=125)
    volatile = frozenset({"latestVersion"})
    noun = "LaunchTemplate"
    kind = "launch-template"
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="LaunchTemplateName", replaces=True),
        "blockDeviceMappings": Property(
            normalise=_mappings,
            fields={
                "deviceName": Property(),
                "ebs": Property(
                    fields={
                        "deleteOnTermination": Property(),
                        "encrypted": Property(),
                        "kmsKeyId": Property(),
                        "volumeSize": Property(),
                        "volumeType": Property(),
                    }
                ),
            },
        ),
        "description": Property(api="VersionDescription", default=""),
        "metadataOptions": Property(
            fields={
                "httpEndpoint": Property(),
                "httpPutResponseHopLimit": Property(),
                "httpTokens": Property(),
            }
        ),
        "monitoring": Property(fields={"enabled": Property()}),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        answer = cloud.client("ec2").create_launch_template(
            **self.api(only(inputs, ("name", "description"))),
            LaunchTemplateData=self._data(inputs),
            **self.tags_at_birth(inputs),
        )
        return answer["LaunchTemplate"]["LaunchTemplateId"]

    def details(self, cloud: Cloud, found: Values) -> Values:
        """Shows the latest version."""
        ec2, template = cloud.client("ec2"), found["LaunchTemplateId"]
        version = ec2.describe_launch_template_versions(
            LaunchTemplateId=template, Versions=["$Latest"]
        )["LaunchTemplateVersions"][0]
        tags = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [template]}])["Tags"]
        return {
            **tagged(tag_map(tags)),  # those that moto shows with the template are its first ones
            **self.wire(version["LaunchTemplateData"]),
            "description": version.get("VersionDescription") or "",
            "latestVersion": found["LatestVersionNumber"],
            "defaultVersion": found["DefaultVersionNumber"],
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        cloud.client("ec2").create_launch_template_version(
            LaunchTemplateId=change.id,
            VersionDescription=change.new.get("description", ""),
            LaunchTemplateData=self._data(change.new),
        )

    def _data(self, inputs: Mapping[str, Any]) -> Values:
        given = without(inputs, "name", "description", "tags")
        if "blockDeviceMappings" in given:
            given["blockDeviceMappings"] = _mappings(given["blockDeviceMappings"])
        return self.api(given)
