"""IAM: roles, their policies, and instance profiles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Update,
    Values,
    dropped_tags,
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


class Role(Handler):
    """A role. Its id is its name."""

    resource_type = "aws:iam/role:Role"
    auto_name = AutoName(max_length=64)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="RoleName", replaces=True),
        "assumeRolePolicy": Property(api="AssumeRolePolicyDocument", json=True, exact=True),
        "description": Property(default=""),
        "forceDetachPolicies": Property(engine_only=True, default=False),
        "maxSessionDuration": Property(default=3600),
        "path": Property(replaces=True, default="/"),
        "permissionsBoundary": Property(),
        "tags": TAGS,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the role."""
        parameters = self.api(without(inputs, "tags"))
        cloud.client("iam").create_role(**parameters, Tags=tag_list(inputs.get("tags")))
        return inputs["name"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads the role."""
        del inputs
        role = cloud.client("iam").get_role(RoleName=resource_id)["Role"]
        boundary = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
        return {
            **self.wire(without(role, "PermissionsBoundary")),
            **({"permissionsBoundary": boundary} if boundary else {}),
            "assumeRolePolicy": json.dumps(role["AssumeRolePolicyDocument"]),
            **tagged(tag_map(role.get("Tags"))),
            "arn": role["Arn"],
            "createDate": role["CreateDate"].isoformat(),
            "uniqueId": role["RoleId"],
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Trust policy, description, duration, boundary and tags each have a call."""
        iam, name, new = cloud.client("iam"), change.id, change.new
        if "assumeRolePolicy" in change.changed:
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=new["assumeRolePolicy"])
        if change.changed & {"description", "maxSessionDuration"}:
            both = self.wanted(new, ("description", "maxSessionDuration"))  # one resets the other
            iam.update_role(RoleName=name, **self.api(both))
        if "permissionsBoundary" in change.changed:
            if boundary := new.get("permissionsBoundary"):
                iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=boundary)
            else:
                iam.delete_role_permissions_boundary(RoleName=name)
        if "tags" in change.changed:
            if dropped := dropped_tags(change):
                iam.untag_role(RoleName=name, TagKeys=dropped)
            if tags := new.get("tags"):
                iam.tag_role(RoleName=name, Tags=tag_list(tags))
        return name

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the role; policies that others attached go first if it says so."""
        del outputs
        iam = cloud.client("iam")
        if inputs.get("forceDetachPolicies"):
            attached = iam.list_attached_role_policies(RoleName=resource_id)["AttachedPolicies"]
            for policy in attached:
                iam.detach_role_policy(RoleName=resource_id, PolicyArn=policy["PolicyArn"])
            for inline in iam.list_role_policies(RoleName=resource_id)["PolicyNames"]:
                iam.delete_role_policy(RoleName=resource_id, PolicyName=inline)
        iam.delete_role(RoleName=resource_id)


class RolePolicy(Handler):
    """A policy inside a role. Its id is `role:name`."""

    resource_type = "aws:iam/rolePolicy:RolePolicy"
    auto_name = AutoName(max_length=128)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="PolicyName", replaces=True),
        "role": Property(api="RoleName", replaces=True),
        "policy": Property(api="PolicyDocument", json=True, exact=True),
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Puts the policy."""
        cloud.client("iam").put_role_policy(**self.api(inputs))
        return f"{inputs['role']}:{inputs['name']}"

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads the policy."""
        role, _, name = resource_id.rpartition(":")
        del inputs
        answer = cloud.client("iam").get_role_policy(RoleName=role, PolicyName=name)
        return {"role": role, "name": name, "policy": json.dumps(answer["PolicyDocument"])}

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces the policy."""
        return self.create(cloud, dict(change.new))

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the policy."""
        del inputs, outputs
        role, _, name = resource_id.rpartition(":")
        cloud.client("iam").delete_role_policy(RoleName=role, PolicyName=name)


class RolePolicyAttachment(Handler):
    """A managed policy on a role. Its id is `role/policy ARN`."""

    resource_type = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "role": Property(api="RoleName", replaces=True),
        "policyArn": Property(replaces=True),
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Attaches the policy."""
        cloud.client("iam").attach_role_policy(**self.api(inputs))
        return f"{inputs['role']}/{inputs['policyArn']}"

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Looks for the policy among the role's."""
        del resource_id
        pages = cloud.client("iam").get_paginator("list_attached_role_policies")
        for page in pages.paginate(RoleName=inputs["role"]):
            for policy in page["AttachedPolicies"]:
                if policy["PolicyArn"] == inputs["policyArn"]:
                    return {"role": inputs["role"], "policyArn": inputs["policyArn"]}
        return None

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Detaches the policy."""
        del resource_id, outputs
        cloud.client("iam").detach_role_policy(
            RoleName=inputs["role"], PolicyArn=inputs["policyArn"]
        )


class InstanceProfile(Handler):
    """Gives an EC2 instance its role. Its id is its name."""

    resource_type = "aws:iam/instanceProfile:InstanceProfile"
    auto_name = AutoName(max_length=128)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="InstanceProfileName", replaces=True),
        "path": Property(replaces=True, default="/"),
        "role": Property(),
        "tags": TAGS,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the profile; its role comes after."""
        cloud.client("iam").create_instance_profile(
            **self.api(without(inputs, "role", "tags")), Tags=tag_list(inputs.get("tags"))
        )
        return inputs["name"]

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Puts the role in."""
        if role := inputs.get("role"):
            cloud.client("iam").add_role_to_instance_profile(
                InstanceProfileName=resource_id, RoleName=role
            )

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads the profile."""
        del inputs
        profile = cloud.client("iam").get_instance_profile(InstanceProfileName=resource_id)[
            "InstanceProfile"
        ]
        roles = [role["RoleName"] for role in profile["Roles"]]
        return {
            **self.wire(profile),
            "role": roles[0] if roles else "",
            **tagged(tag_map(profile.get("Tags"))),
            "arn": profile["Arn"],
            "createDate": profile["CreateDate"].isoformat(),
            "uniqueId": profile["InstanceProfileId"],
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Exchanges the role, and settles the tags."""
        iam, name = cloud.client("iam"), change.id
        if "role" in change.changed:
            self._empty(cloud, name)
            self.configure(cloud, name, dict(change.new))
        if "tags" in change.changed:
            if dropped := dropped_tags(change):
                iam.untag_instance_profile(InstanceProfileName=name, TagKeys=dropped)
            if tags := change.new.get("tags"):
                iam.tag_instance_profile(InstanceProfileName=name, Tags=tag_list(tags))
        return name

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Takes the role out, then deletes the profile."""
        del inputs, outputs
        self._empty(cloud, resource_id)
        cloud.client("iam").delete_instance_profile(InstanceProfileName=resource_id)

    @staticmethod
    def _empty(cloud: Cloud, name: str) -> None:
        iam = cloud.client("iam")
        profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        for role in profile["Roles"]:
            parameters = {"InstanceProfileName": name, "RoleName": role["RoleName"]}
            ignoring_missing(
                lambda given=parameters: iam.remove_role_from_instance_profile(**given)
            )
