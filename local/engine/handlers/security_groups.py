"""EC2's security groups and their rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.handlers.base import AutoName, Resource, Values, tag_map, tagged
from local.engine.handlers.network import Ec2
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class SecurityGroup(Ec2):
    """A security group. As with pulumi-aws, it lets nothing out until a rule says so."""

    resource_type = "aws:ec2/securityGroup:SecurityGroup"
    auto_name = AutoName(max_length=255)
    kind = "security-group"
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="GroupName", replaces=True),
        "description": Property(replaces=True, default="Managed by Pulumi"),
        "vpcId": Property(replaces=True),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        given = {"description": self.properties["description"].default, **self.birth(inputs)}
        answer = cloud.client("ec2").create_security_group(
            **self.api(given), **self.tags_at_birth(inputs)
        )
        return answer["GroupId"]

    def configure(self, cloud: Cloud, resource: Resource) -> None:
        """Takes AWS's own outward rule away."""
        group = self.described(cloud, resource.id)
        if present := group["IpPermissionsEgress"]:
            cloud.client("ec2").revoke_security_group_egress(
                GroupId=resource.id, IpPermissions=present
            )

    def described(self, cloud: Cloud, resource_id: str) -> Values:
        answer = cloud.client("ec2").describe_security_groups(GroupIds=[resource_id])
        return answer["SecurityGroups"][0]

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("ec2").delete_security_group(GroupId=resource.id)


class _Rule(Ec2):
    """One rule of a security group."""

    direction: ClassVar[str]
    """In EC2's words: ingress or egress."""
    kind = "security-group-rule"
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "securityGroupId": Property(api="GroupId", replaces=True),
        "cidrIpv4": Property(replaces=True),
        "description": Property(replaces=True),
        "fromPort": Property(replaces=True),
        "ipProtocol": Property(replaces=True),
        "referencedSecurityGroupId": Property(replaces=True),
        "toPort": Property(replaces=True),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        authorize = getattr(cloud.client("ec2"), f"authorize_security_group_{self.direction}")
        answer = authorize(
            GroupId=inputs["securityGroupId"],
            IpPermissions=[_as_permission(inputs)],
            **self.tags_at_birth(inputs),
        )
        return answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        """Moto finds rules by their group only."""
        group = {"Name": "group-id", "Values": [resource.inputs["securityGroupId"]]}
        answer = cloud.client("ec2").describe_security_group_rules(Filters=[group])
        for rule in answer["SecurityGroupRules"]:
            if rule["SecurityGroupRuleId"] == resource.id:
                return {
                    "securityGroupId": rule["GroupId"],
                    "ipProtocol": rule["IpProtocol"],
                    **({"cidrIpv4": rule["CidrIpv4"]} if rule.get("CidrIpv4") else {}),
                    **tagged(tag_map(rule.get("Tags"))),
                    "securityGroupRuleId": resource.id,
                    "arn": cloud.arn("ec2", f"security-group-rule/{resource.id}"),
                }
        return None

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        revoke = getattr(cloud.client("ec2"), f"revoke_security_group_{self.direction}")
        revoke(GroupId=resource.inputs["securityGroupId"], SecurityGroupRuleIds=[resource.id])


def _as_permission(rule: Mapping[str, Any]) -> Values:
    about = {"Description": rule["description"]} if rule.get("description") else {}
    permission: Values = {"IpProtocol": str(rule["ipProtocol"])}
    if cidr := rule.get("cidrIpv4"):
        permission["IpRanges"] = [{"CidrIp": cidr, **about}]
    if group := rule.get("referencedSecurityGroupId"):
        permission["UserIdGroupPairs"] = [{"GroupId": group, **about}]
    if permission["IpProtocol"] != "-1":
        permission |= {"FromPort": rule["fromPort"], "ToPort": rule["toPort"]}
    return permission


class SecurityGroupEgressRule(_Rule):
    """One outward rule."""

    resource_type = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
    direction = "egress"


class SecurityGroupIngressRule(_Rule):
    """One inward rule."""

    resource_type = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
    direction = "ingress"
