"""IAM: roles, what is attached to them, managed policies and instance profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Resource,
    Tagging,
    Update,
    Values,
    ignoring_missing,
    tag_list,
    tag_map,
    tagged,
    without,
)
from local.engine.properties import TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_VERSIONS_MAX: Final = 5
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""


class Role(Handler):
    """A role. Its id is its name."""

    resource_type = "aws:iam/role:Role"
    service = "iam"
    auto_name = AutoName(max_length=64)
    tagging = Tagging(noun="role", subject="roleName")
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="RoleName", replaces=True),
        "assumeRolePolicy": Property(api="AssumeRolePolicyDocument", json=True, exact=True),
        "description": Property(default=""),
        "maxSessionDuration": Property(default=3600),
        "path": Property(replaces=True, default="/"),
        "tags": TAGS,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        parameters = self.api(without(inputs, "tags"))
        cloud.client("iam").create_role(**parameters, Tags=tag_list(inputs.get("tags")))
        return inputs["name"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        role = cloud.client("iam").get_role(RoleName=resource.id)["Role"]
        return {**self.wire(role), **tagged(tag_map(role.get("Tags"))), "arn": role["Arn"]}

    def modify(self, cloud: Cloud, change: Update) -> None:
        iam, new = cloud.client("iam"), change.new
        if "assumeRolePolicy" in change.changed:
            trust = new["assumeRolePolicy"]
            iam.update_assume_role_policy(RoleName=change.id, PolicyDocument=trust)
        if change.changed & {"description", "maxSessionDuration"}:
            both = self.wanted(new, ("description", "maxSessionDuration"))  # one resets the other
            iam.update_role(RoleName=change.id, **both)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("iam").delete_role(RoleName=resource.id)


class RolePolicyAttachment(Handler):
    """A managed policy on a role. Its id is `role/policy ARN`."""

    resource_type = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    service = "iam"
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "role": Property(api="RoleName", replaces=True),
        "policyArn": Property(replaces=True),
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        cloud.client("iam").attach_role_policy(**self.api(inputs))
        return f"{inputs['role']}/{inputs['policyArn']}"

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        pages = cloud.client("iam").get_paginator("list_attached_role_policies")
        for page in pages.paginate(RoleName=resource.inputs["role"]):
            for policy in page["AttachedPolicies"]:
                if policy["PolicyArn"] == resource.inputs["policyArn"]:
                    return dict(resource.inputs)
        return None

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("iam").detach_role_policy(**self.api(resource.inputs))


class Policy(Handler):
    """A managed policy. Its id is its ARN."""

    resource_type = "aws:iam/policy:Policy"
    service = "iam"
    auto_name = AutoName(max_length=128)
    tagging = Tagging(noun="policy", subject="policyArn")
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="PolicyName", replaces=True),
        "description": Property(replaces=True, default=""),
        "path": Property(replaces=True, default="/"),
        "policy": Property(api="PolicyDocument", json=True, exact=True),
        "tags": TAGS,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        answer = cloud.client("iam").create_policy(
            **self.api(without(inputs, "tags")), Tags=tag_list(inputs.get("tags"))
        )
        return answer["Policy"]["Arn"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        iam = cloud.client("iam")
        found = iam.get_policy(PolicyArn=resource.id)["Policy"]
        version = iam.get_policy_version(
            PolicyArn=resource.id, VersionId=found["DefaultVersionId"]
        )["PolicyVersion"]
        return {
            **self.wire({**found, "PolicyDocument": version["Document"]}),
            **tagged(tag_map(found.get("Tags"))),
            "arn": resource.id,
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        """Makes a version that counts from now on; the oldest gives way to it."""
        iam = cloud.client("iam")
        spare = self._versions(cloud, change.id)
        if len(spare) + 1 >= _VERSIONS_MAX:
            iam.delete_policy_version(PolicyArn=change.id, VersionId=spare[0])
        iam.create_policy_version(
            PolicyArn=change.id, PolicyDocument=change.new["policy"], SetAsDefault=True
        )

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        iam = cloud.client("iam")
        for version in self._versions(cloud, resource.id):
            iam.delete_policy_version(PolicyArn=resource.id, VersionId=version)
        iam.delete_policy(PolicyArn=resource.id)

    @staticmethod
    def _versions(cloud: Cloud, arn: str) -> list[str]:
        """Ids of the versions that are not the default, oldest first."""
        versions = cloud.client("iam").list_policy_versions(PolicyArn=arn)["Versions"]
        spare = [each["VersionId"] for each in versions if not each["IsDefaultVersion"]]
        return sorted(spare, key=lambda version: int(version.removeprefix("v")))


class InstanceProfile(Handler):
    """Gives an EC2 instance its role. Its id is its name."""

    resource_type = "aws:iam/instanceProfile:InstanceProfile"
    service = "iam"
    auto_name = AutoName(max_length=128)
    tagging = Tagging(noun="instance_profile", subject="instanceProfileName")
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="InstanceProfileName", replaces=True),
        "path": Property(replaces=True, default="/"),
        "role": Property(),
        "tags": TAGS,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        cloud.client("iam").create_instance_profile(
            **self.api(without(inputs, "role", "tags")), Tags=tag_list(inputs.get("tags"))
        )
        return inputs["name"]

    def configure(self, cloud: Cloud, resource: Resource) -> None:
        if role := resource.inputs.get("role"):
            cloud.client("iam").add_role_to_instance_profile(
                InstanceProfileName=resource.id, RoleName=role
            )

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        answer = cloud.client("iam").get_instance_profile(InstanceProfileName=resource.id)
        profile = answer["InstanceProfile"]
        roles = [role["RoleName"] for role in profile["Roles"]]
        return {
            **self.wire(profile),
            "role": roles[0] if roles else "",
            **tagged(tag_map(profile.get("Tags"))),
            "arn": profile["Arn"],
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        self._empty(cloud, change.id)
        self.configure(cloud, change.resource)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        self._empty(cloud, resource.id)
        cloud.client("iam").delete_instance_profile(InstanceProfileName=resource.id)

    @staticmethod
    def _empty(cloud: Cloud, name: str) -> None:
        iam = cloud.client("iam")
        profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        for role in profile["Roles"]:
            parameters = {"InstanceProfileName": name, "RoleName": role["RoleName"]}
            ignoring_missing(
                lambda given=parameters: iam.remove_role_from_instance_profile(**given)
            )
