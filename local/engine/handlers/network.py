"""EC2's network: VPCs, subnets and gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.cloud import ACCOUNT_ID
from local.engine.handlers.base import (
    Handler,
    Update,
    Values,
    dropped_tags,
    tag_list,
    tag_map,
    tagged,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


def tags_at_birth(kind: str, inputs: Mapping[str, Any]) -> Values:
    """The parameter by which EC2 takes tags for what a call makes."""
    tags = tag_list(inputs.get("tags"))
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]} if tags else {}


def retag(cloud: Cloud, change: Update) -> None:
    """Settles the tags if they changed."""
    if "tags" in change.changed:
        ec2 = cloud.client("ec2")
        if dropped := dropped_tags(change):
            ec2.delete_tags(Resources=[change.id], Tags=[{"Key": key} for key in dropped])
        if tags := change.new.get("tags"):
            ec2.create_tags(Resources=[change.id], Tags=tag_list(tags))


class Described(Handler):
    """A thing that EC2 describes by id, with its tags beside it."""

    describe: ClassVar[tuple[str, str, str]]
    """boto3's method, the parameter that takes ids, the list in the answer."""
    kind: ClassVar[str]
    """EC2's word for it, in tag specifications and ARNs."""

    def described(self, cloud: Cloud, resource_id: str) -> Values | None:
        """EC2's own words for the thing."""
        method, ids, answer = self.describe
        found: list[Values] = getattr(cloud.client("ec2"), method)(**{ids: [resource_id]})[answer]
        return found[0] if found else None

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the thing."""
        del inputs
        found = self.described(cloud, resource_id)
        if found is None:
            return None
        return {
            **self.wire(found),
            **tagged(tag_map(found.get("Tags"))),
            "arn": cloud.arn("ec2", f"{self.kind}/{resource_id}"),
            "ownerId": found.get("OwnerId") or ACCOUNT_ID,
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Settles the tags, which is all that most of them can change."""
        retag(cloud, change)
        return change.id


class Vpc(Described):
    """A network. Its id is AWS's."""

    resource_type = "aws:ec2/vpc:Vpc"
    describe = ("describe_vpcs", "VpcIds", "Vpcs")
    kind = "vpc"
    properties: ClassVar[Mapping[str, Property]] = {
        "cidrBlock": Property(replaces=True),
        "enableDnsHostnames": Property(default=False),
        "enableDnsSupport": Property(default=True),
        "instanceTenancy": Property(replaces=True, default="default"),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the network; DNS comes after."""
        given = {name: inputs[name] for name in ("cidrBlock", "instanceTenancy") if name in inputs}
        answer = cloud.client("ec2").create_vpc(**self.api(given), **tags_at_birth("vpc", inputs))
        return answer["Vpc"]["VpcId"]

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Sets both DNS flags, each with a call of its own."""
        for name in ("enableDnsSupport", "enableDnsHostnames"):
            value = inputs.get(name, self.properties[name].default)
            cloud.client("ec2").modify_vpc_attribute(
                VpcId=resource_id, **{self.casing(name): {"Value": value}}
            )

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the network and what AWS made with it."""
        values = super().read(cloud, resource_id, inputs)
        if values is None:
            return None
        ec2 = cloud.client("ec2")
        for name in ("enableDnsSupport", "enableDnsHostnames"):
            answer = ec2.describe_vpc_attribute(VpcId=resource_id, Attribute=name)
            values[name] = answer[self.casing(name)]["Value"]
        here = {"Name": "vpc-id", "Values": [resource_id]}
        main = ec2.describe_route_tables(
            Filters=[here, {"Name": "association.main", "Values": ["true"]}]
        )["RouteTables"]
        group = ec2.describe_security_groups(
            Filters=[here, {"Name": "group-name", "Values": ["default"]}]
        )["SecurityGroups"]
        lists = ec2.describe_network_acls(Filters=[here, {"Name": "default", "Values": ["true"]}])[
            "NetworkAcls"
        ]
        table = main[0]["RouteTableId"] if main else ""
        return {
            **values,
            "mainRouteTableId": table,
            "defaultRouteTableId": table,
            "defaultSecurityGroupId": group[0]["GroupId"] if group else "",
            "defaultNetworkAclId": lists[0]["NetworkAclId"] if lists else "",
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Sets DNS and tags."""
        if change.changed - {"tags"}:
            self.configure(cloud, change.id, dict(change.new))
        retag(cloud, change)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the network, which must be empty."""
        del inputs, outputs
        cloud.client("ec2").delete_vpc(VpcId=resource_id)


class Subnet(Described):
    """A part of a network in one zone. Its id is AWS's."""

    resource_type = "aws:ec2/subnet:Subnet"
    describe = ("describe_subnets", "SubnetIds", "Subnets")
    kind = "subnet"
    properties: ClassVar[Mapping[str, Property]] = {
        "vpcId": Property(replaces=True),
        "availabilityZone": Property(replaces=True),
        "availabilityZoneId": Property(replaces=True),
        "cidrBlock": Property(replaces=True),
        "mapPublicIpOnLaunch": Property(default=False),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the subnet; public addresses come after."""
        given = {name: inputs[name] for name in self.replaces & inputs.keys()}
        answer = cloud.client("ec2").create_subnet(
            **self.api(given), **tags_at_birth("subnet", inputs)
        )
        return answer["Subnet"]["SubnetId"]

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Sets whether instances get public addresses."""
        cloud.client("ec2").modify_subnet_attribute(
            SubnetId=resource_id,
            MapPublicIpOnLaunch={"Value": inputs.get("mapPublicIpOnLaunch", False)},
        )

    def update(self, cloud: Cloud, change: Update) -> str:
        """Sets public addresses and tags."""
        if "mapPublicIpOnLaunch" in change.changed:
            self.configure(cloud, change.id, dict(change.new))
        retag(cloud, change)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the subnet."""
        del inputs, outputs
        cloud.client("ec2").delete_subnet(SubnetId=resource_id)


class InternetGateway(Described):
    """A network's way out. Its id is AWS's."""

    resource_type = "aws:ec2/internetGateway:InternetGateway"
    describe = ("describe_internet_gateways", "InternetGatewayIds", "InternetGateways")
    kind = "internet-gateway"
    properties: ClassVar[Mapping[str, Property]] = {
        "vpcId": Property(),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the gateway; its network comes after."""
        answer = cloud.client("ec2").create_internet_gateway(**tags_at_birth(self.kind, inputs))
        return answer["InternetGateway"]["InternetGatewayId"]

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Attaches the gateway."""
        if vpc := inputs.get("vpcId"):
            cloud.client("ec2").attach_internet_gateway(InternetGatewayId=resource_id, VpcId=vpc)

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the gateway and where it is attached."""
        values = super().read(cloud, resource_id, inputs)
        if values is None:
            return None
        attached = self._attached(cloud, resource_id)
        return {**values, "vpcId": attached[0] if attached else ""}

    def update(self, cloud: Cloud, change: Update) -> str:
        """Moves the gateway, and settles the tags."""
        if "vpcId" in change.changed:
            self._detach(cloud, change.id)
            self.configure(cloud, change.id, dict(change.new))
        retag(cloud, change)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Detaches the gateway, then deletes it."""
        del inputs, outputs
        self._detach(cloud, resource_id)
        cloud.client("ec2").delete_internet_gateway(InternetGatewayId=resource_id)

    def _attached(self, cloud: Cloud, resource_id: str) -> list[str]:
        found = self.described(cloud, resource_id) or {}
        return [place["VpcId"] for place in found.get("Attachments", ())]

    def _detach(self, cloud: Cloud, resource_id: str) -> None:
        for vpc in self._attached(cloud, resource_id):
            cloud.client("ec2").detach_internet_gateway(InternetGatewayId=resource_id, VpcId=vpc)
