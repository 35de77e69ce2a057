"""EC2's security groups and their outward rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.cloud import ACCOUNT_ID
from local.engine.handlers.base import AutoName, Handler, Update, Values, tag_map, tagged, without
from local.engine.handlers.network import retag, tags_at_birth
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.engine.cloud import Cloud

_RULE: Final = {
    "cidrBlocks": Property(),
    "description": Property(),
    "fromPort": Property(),
    "ipv6CidrBlocks": Property(),
    "prefixListIds": Property(),
    "protocol": Property(),
    "securityGroups": Property(),
    "self": Property(),
    "toPort": Property(),
}
_DIRECTIONS: Final = {"ingress": "IpPermissions", "egress": "IpPermissionsEgress"}


class SecurityGroup(Handler):
    """A security group. Its id is AWS's.

    As with pulumi-aws, a new group lets nothing out until a rule says so, and rules written
    inside it are managed only when the program writes any.
    """

    resource_type = "aws:ec2/securityGroup:SecurityGroup"
    auto_name = AutoName(max_length=255)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="GroupName", replaces=True),
        "description": Property(replaces=True, default="Managed by Pulumi"),
        "vpcId": Property(replaces=True),
        "egress": Property(fields=_RULE, unordered=True),
        "ingress": Property(fields=_RULE, unordered=True),
        "revokeRulesOnDelete": Property(engine_only=True, default=False),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the group; its rules come after."""
        given = without(inputs, "egress", "ingress", "tags")
        given.setdefault("description", self.properties["description"].default)
        answer = cloud.client("ec2").create_security_group(
            **self.api(given), **tags_at_birth("security-group", inputs)
        )
        return answer["GroupId"]

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Takes away AWS's own outward rule and makes the program's."""
        self._set_rules(cloud, resource_id, "egress", inputs.get("egress", ()))
        if "ingress" in inputs:
            self._set_rules(cloud, resource_id, "ingress", inputs["ingress"])

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the group; rules only if the program writes some inside it."""
        group = self._described(cloud, resource_id)
        values = self.wire(without(group, "Tags"))
        for direction, permissions in _DIRECTIONS.items():
            if isinstance(inputs.get(direction), list):
                actual = [_as_rule(permission) for permission in group.get(permissions, ())]
                agree = _effect(actual, resource_id) == _effect(inputs[direction], resource_id)
                values[direction] = inputs[direction] if agree else actual
        return {
            **values,
            **tagged(tag_map(group.get("Tags"))),
            "arn": cloud.arn("ec2", f"security-group/{resource_id}"),
            "ownerId": group.get("OwnerId", ACCOUNT_ID),
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces the rules, and settles the tags."""
        for direction in _DIRECTIONS:
            if direction in change.changed:
                self._set_rules(cloud, change.id, direction, change.new.get(direction, ()))
        retag(cloud, change)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the group."""
        del outputs
        if inputs.get("revokeRulesOnDelete"):
            for direction in _DIRECTIONS:
                self._set_rules(cloud, resource_id, direction, ())
        cloud.client("ec2").delete_security_group(GroupId=resource_id)

    @staticmethod
    def _described(cloud: Cloud, resource_id: str) -> Values:
        answer = cloud.client("ec2").describe_security_groups(GroupIds=[resource_id])
        return answer["SecurityGroups"][0]

    def _set_rules(self, cloud: Cloud, group_id: str, direction: str, rules: Any) -> None:
        ec2 = cloud.client("ec2")
        present = self._described(cloud, group_id).get(_DIRECTIONS[direction], [])
        if present:
            revoke = getattr(ec2, f"revoke_security_group_{direction}")
            revoke(GroupId=group_id, IpPermissions=present)
        if rules:
            authorize = getattr(ec2, f"authorize_security_group_{direction}")
            permissions = [_as_permission(rule, group_id) for rule in rules]
            authorize(GroupId=group_id, IpPermissions=permissions)


def _as_permission(rule: Mapping[str, Any], group_id: str) -> Values:
    about = {"Description": rule["description"]} if rule.get("description") else {}
    groups = [*rule.get("securityGroups", ()), *([group_id] if rule.get("self") else [])]
    permission: Values = {
        "IpProtocol": str(rule["protocol"]),
        "IpRanges": [{"CidrIp": cidr, **about} for cidr in rule.get("cidrBlocks", ())],
        "Ipv6Ranges": [{"CidrIpv6": cidr, **about} for cidr in rule.get("ipv6CidrBlocks", ())],
        "PrefixListIds": [
            {"PrefixListId": name, **about} for name in rule.get("prefixListIds", ())
        ],
        "UserIdGroupPairs": [{"GroupId": group, **about} for group in groups],
    }
    if permission["IpProtocol"] != "-1":
        permission |= {"FromPort": rule["fromPort"], "ToPort": rule["toPort"]}
    return {name: value for name, value in permission.items() if value != []}


def _as_rule(permission: Mapping[str, Any]) -> Values:
    groups = [item["GroupId"] for item in permission.get("UserIdGroupPairs", ())]
    return {
        "protocol": permission["IpProtocol"],
        "fromPort": permission.get("FromPort", 0),
        "toPort": permission.get("ToPort", 0),
        "cidrBlocks": [item["CidrIp"] for item in permission.get("IpRanges", ())],
        "ipv6CidrBlocks": [item["CidrIpv6"] for item in permission.get("Ipv6Ranges", ())],
        "prefixListIds": [item["PrefixListId"] for item in permission.get("PrefixListIds", ())],
        "securityGroups": groups,
    }


def _effect(rules: Sequence[Mapping[str, Any]], group_id: str) -> set[tuple[Any, ...]]:
    """Returns what rules allow, peer by peer: AWS joins rules that differ in their peers only."""
    effect: set[tuple[Any, ...]] = set()
    for rule in rules:
        everything = str(rule["protocol"]) == "-1"
        ports = (0, 0) if everything else (rule.get("fromPort"), rule.get("toPort"))
        peers = [group_id] if rule.get("self") else []
        for name in ("cidrBlocks", "ipv6CidrBlocks", "prefixListIds", "securityGroups"):
            peers += rule.get(name) or []
        effect |= {(str(rule["protocol"]), *ports, peer) for peer in peers}
    return effect


class _Rule(Handler):
    """One rule of a security group. Its id is AWS's."""

    direction: ClassVar[str]
    """In EC2's words: ingress or egress."""
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "securityGroupId": Property(replaces=True),
        "cidrIpv4": Property(replaces=True),
        "cidrIpv6": Property(replaces=True),
        "description": Property(replaces=True),
        "fromPort": Property(replaces=True),
        "ipProtocol": Property(replaces=True),
        "prefixListId": Property(replaces=True),
        "referencedSecurityGroupId": Property(replaces=True),
        "toPort": Property(replaces=True),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the rule."""
        renamed = {
            "protocol": inputs["ipProtocol"],
            "fromPort": inputs.get("fromPort"),
            "toPort": inputs.get("toPort"),
            "description": inputs.get("description"),
            "cidrBlocks": _listed(inputs.get("cidrIpv4")),
            "ipv6CidrBlocks": _listed(inputs.get("cidrIpv6")),
            "prefixListIds": _listed(inputs.get("prefixListId")),
            "securityGroups": _listed(inputs.get("referencedSecurityGroupId")),
        }
        authorize = getattr(cloud.client("ec2"), f"authorize_security_group_{self.direction}")
        answer = authorize(
            GroupId=inputs["securityGroupId"],
            IpPermissions=[_as_permission(renamed, inputs["securityGroupId"])],
            **tags_at_birth("security-group-rule", inputs),
        )
        return answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the rule."""
        rules = cloud.client("ec2").describe_security_group_rules(
            Filters=[{"Name": "group-id", "Values": [inputs["securityGroupId"]]}]
        )["SecurityGroupRules"]
        for rule in rules:
            if rule["SecurityGroupRuleId"] == resource_id:
                return {
                    "securityGroupId": rule["GroupId"],
                    "ipProtocol": rule["IpProtocol"],
                    **({"cidrIpv4": rule["CidrIpv4"]} if rule.get("CidrIpv4") else {}),
                    **tagged(tag_map(rule.get("Tags"))),
                    "securityGroupRuleId": resource_id,
                    "arn": cloud.arn("ec2", f"security-group-rule/{resource_id}"),
                }
        return None

    def update(self, cloud: Cloud, change: Update) -> str:
        """Settles the tags."""
        retag(cloud, change)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the rule."""
        del outputs
        revoke = getattr(cloud.client("ec2"), f"revoke_security_group_{self.direction}")
        revoke(GroupId=inputs["securityGroupId"], SecurityGroupRuleIds=[resource_id])


class SecurityGroupEgressRule(_Rule):
    """One outward rule."""

    resource_type = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
    direction = "egress"


class SecurityGroupIngressRule(_Rule):
    """One inward rule."""

    resource_type = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
    direction = "ingress"


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [value]
