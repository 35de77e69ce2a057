"""EC2: launch templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import AutoName, Update, Values, tag_list, tag_map, tagged
from local.engine.handlers.network import Described, retag, tags_at_birth
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_BESIDE: Final = frozenset(
    {"name", "description", "defaultVersion", "updateDefaultVersion", "tags", "region"}
)
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


class LaunchTemplate(Described):
    """How instances start. Its id is AWS's."""

    resource_type = "aws:ec2/launchTemplate:LaunchTemplate"
    auto_name = AutoName(max_length=125)
    volatile = frozenset({"latestVersion", "defaultVersion"})
    describe = ("describe_launch_templates", "LaunchTemplateIds", "LaunchTemplates")
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
                        "iops": Property(),
                        "kmsKeyId": Property(),
                        "snapshotId": Property(),
                        "throughput": Property(),
                        "volumeSize": Property(),
                        "volumeType": Property(),
                    },
                ),
                "noDevice": Property(),
                "virtualName": Property(),
            },
        ),
        "defaultVersion": Property(engine_only=True),
        "description": Property(api="VersionDescription", default=""),
        "ebsOptimized": Property(),
        "iamInstanceProfile": Property(fields={"arn": Property(), "name": Property()}),
        "imageId": Property(),
        "instanceType": Property(),
        "keyName": Property(),
        "metadataOptions": Property(
            fields={
                "httpEndpoint": Property(),
                "httpProtocolIpv6": Property(),
                "httpPutResponseHopLimit": Property(),
                "httpTokens": Property(),
                "instanceMetadataTags": Property(),
            },
        ),
        "monitoring": Property(fields={"enabled": Property()}),
        "tagSpecifications": Property(
            fields={"resourceType": Property(), "tags": Property()},
        ),
        "updateDefaultVersion": Property(engine_only=True, default=False),
        "userData": Property(),
        "vpcSecurityGroupIds": Property(api="SecurityGroupIds"),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the template with its first version."""
        named = {name: inputs[name] for name in ("name", "description") if name in inputs}
        answer = cloud.client("ec2").create_launch_template(
            **self.api(named),
            LaunchTemplateData=self._data(inputs),
            **tags_at_birth(self.kind, inputs),
        )
        return answer["LaunchTemplate"]["LaunchTemplateId"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the template and its latest version."""
        values = super().read(cloud, resource_id, inputs)
        found = self.described(cloud, resource_id)
        if values is None or found is None:
            return None
        versions = cloud.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=resource_id, Versions=["$Latest"]
        )["LaunchTemplateVersions"]
        data = versions[0]["LaunchTemplateData"]
        data["TagSpecifications"] = [
            {**specification, "Tags": tag_map(specification.get("Tags"))}
            for specification in data.get("TagSpecifications", ())
            if specification["ResourceType"] != self.kind  # moto puts the template's own here
        ]
        tags = cloud.client("ec2").describe_tags(
            Filters=[{"Name": "resource-id", "Values": [resource_id]}]
        )["Tags"]  # those that moto shows with the template are the first ones for ever
        return {
            **values,
            **tagged(tag_map(tags)),
            **self.wire(data),
            "description": versions[0].get("VersionDescription") or "",
            "latestVersion": found["LatestVersionNumber"],
            "defaultVersion": found["DefaultVersionNumber"],
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Makes a new version, and has it be the default if it says so; settles the tags."""
        ec2 = cloud.client("ec2")
        if change.changed - {"tags"}:
            version = ec2.create_launch_template_version(
                LaunchTemplateId=change.id,
                VersionDescription=change.new.get("description", ""),
                LaunchTemplateData=self._data(change.new),
            )["LaunchTemplateVersion"]["VersionNumber"]
            if change.new.get("updateDefaultVersion"):
                ec2.modify_launch_template(LaunchTemplateId=change.id, DefaultVersion=str(version))
        retag(cloud, change)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the template with all its versions."""
        del inputs, outputs
        cloud.client("ec2").delete_launch_template(LaunchTemplateId=resource_id)

    def _data(self, inputs: Mapping[str, Any]) -> Values:
        given = {name: value for name, value in inputs.items() if name not in _BESIDE}
        if "blockDeviceMappings" in given:
            given["blockDeviceMappings"] = _mappings(given["blockDeviceMappings"])
        data = self.api(given)
        for specification in data.get("TagSpecifications", ()):
            specification["Tags"] = tag_list(specification.get("Tags"))
        return data
