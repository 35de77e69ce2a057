"""EC2's network: VPCs, subnets and internet gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from botocore import xform_name

from local.engine.cloud import ACCOUNT_ID
from local.engine.handlers.base import (
    Handler,
    Resource,
    Update,
    Values,
    only,
    tag_list,
    tag_map,
    tagged,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_GONE: Final = ("deleting", "deleted")
"""States of a deleted resource that EC2 still lists for a while."""
_DNS: Final = ("enableDnsSupport", "enableDnsHostnames")


class Ec2(Handler):
    """A resource that EC2 makes, describes and deletes under one noun. Its id is AWS's."""

    service = "ec2"
    noun: ClassVar[str]
    """As in CreateRouteTable, RouteTableId and RouteTables."""
    kind: ClassVar[str]
    """EC2's word for it in tag specifications and ARNs."""

    def birth(self, inputs: Mapping[str, Any]) -> Values:
        """Returns the inputs that the creating call takes, but for tags."""
        return only(inputs, self.replaces)

    def tags_at_birth(self, inputs: Mapping[str, Any]) -> Values:
        """Returns the parameter by which EC2 tags what a call makes."""
        tags = tag_list(inputs.get("tags"))
        return {"TagSpecifications": [{"ResourceType": self.kind, "Tags": tags}]} if tags else {}

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        make = self._call(cloud, "create_{}")
        answer = make(**self.api(self.birth(inputs)), **self.tags_at_birth(inputs))
        return answer[self.noun][f"{self.noun}Id"]

    def described(self, cloud: Cloud, resource_id: str) -> Values | None:
        """Returns EC2's description; None if there is no such resource."""
        answer = self._call(cloud, "describe_{}s")(**{f"{self.noun}Ids": [resource_id]})
        found: list[Values] = answer[f"{self.noun}s"]
        return found[0] if found and found[0].get("State") not in _GONE else None

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        found = self.described(cloud, resource.id)
        if found is None:
            return None
        return {
            **self.wire(found),
            **tagged(tag_map(found.get("Tags"))),
            "arn": cloud.arn("ec2", f"{self.kind}/{resource.id}"),
            "ownerId": found.get("OwnerId") or ACCOUNT_ID,
            **self.details(cloud, found),
        }

    def details(self, cloud: Cloud, found: Values) -> Values:
        """Returns what is not in EC2's description under the same name."""
        del cloud, found
        return {}

    def retag(self, cloud: Cloud, change: Update) -> None:
        ec2 = cloud.client("ec2")
        if dropped := change.dropped_tags:
            ec2.delete_tags(Resources=[change.id], Tags=[{"Key": key} for key in dropped])
        if tags := change.new.get("tags"):
            ec2.create_tags(Resources=[change.id], Tags=tag_list(tags))

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        self._call(cloud, "delete_{}")(**{f"{self.noun}Id": resource.id})

    def _call(self, cloud: Cloud, pattern: str) -> Any:
        return getattr(cloud.client("ec2"), pattern.format(xform_name(self.noun)))


class Vpc(Ec2):
    """A network."""

    resource_type = "aws:ec2/vpc:Vpc"
    noun = "Vpc"
    kind = "vpc"
    properties: ClassVar[Mapping[str, Property]] = {
        "cidrBlock": Property(replaces=True),
        "enableDnsHostnames": Property(default=False),
        "enableDnsSupport": Property(default=True),
        "tags": TAGS,
        "region": REGION,
    }

    def configure(self, cloud: Cloud, resource: Resource) -> None:
        """Each flag has a call of its own."""
        for name, value in self.wanted(resource.inputs, _DNS).items():
            cloud.client("ec2").modify_vpc_attribute(VpcId=resource.id, **{name: {"Value": value}})

    def details(self, cloud: Cloud, found: Values) -> Values:
        describe = cloud.client("ec2").describe_vpc_attribute
        answers = {name: describe(VpcId=found["VpcId"], Attribute=name) for name in _DNS}
        return {name: answer[self.casing(name)]["Value"] for name, answer in answers.items()}

    def modify(self, cloud: Cloud, change: Update) -> None:
        self.configure(cloud, change.resource)


class Subnet(Ec2):
    """A part of a network in one zone."""

    resource_type = "aws:ec2/subnet:Subnet"
    noun = "Subnet"
    kind = "subnet"
    properties: ClassVar[Mapping[str, Property]] = {
        "vpcId": Property(replaces=True),
        "availabilityZone": Property(replaces=True),
        "cidrBlock": Property(replaces=True),
        "mapPublicIpOnLaunch": Property(default=False),
        "tags": TAGS,
        "region": REGION,
    }

    def configure(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("ec2").modify_subnet_attribute(
            SubnetId=resource.id,
            MapPublicIpOnLaunch={"Value": resource.inputs.get("mapPublicIpOnLaunch", False)},
        )

    def modify(self, cloud: Cloud, change: Update) -> None:
        self.configure(cloud, change.resource)


class InternetGateway(Ec2):
    """A network's way out."""

    resource_type = "aws:ec2/internetGateway:InternetGateway"
    noun = "InternetGateway"
    kind = "internet-gateway"
    properties: ClassVar[Mapping[str, Property]] = {
        "vpcId": Property(),
        "tags": TAGS,
        "region": REGION,
    }

    def configure(self, cloud: Cloud, resource: Resource) -> None:
        if vpc := resource.inputs.get("vpcId"):
            cloud.client("ec2").attach_internet_gateway(InternetGatewayId=resource.id, VpcId=vpc)

    def details(self, cloud: Cloud, found: Values) -> Values:
        del cloud
        attached = [place["VpcId"] for place in found.get("Attachments", ())]
        return {"vpcId": attached[0] if attached else ""}

    def modify(self, cloud: Cloud, change: Update) -> None:
        self._detach(cloud, change.id)
        self.configure(cloud, change.resource)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        self._detach(cloud, resource.id)
        super().delete(cloud, resource)

    def _detach(self, cloud: Cloud, resource_id: str) -> None:
        found = self.described(cloud, resource_id) or {}
        for place in found.get("Attachments", ()):
            cloud.client("ec2").detach_internet_gateway(
                InternetGatewayId=resource_id, VpcId=place["VpcId"]
            )
