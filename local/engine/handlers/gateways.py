"""EC2: ways from a private subnet to elsewhere: addresses, NAT gateways and endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import Resource, Update, Values, without
from local.engine.handlers.network import Ec2
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_MEMBERS: Final = {
    "routeTableIds": "RouteTableIds",
    "securityGroupIds": "SecurityGroupIds",
    "subnetIds": "SubnetIds",
}


class Eip(Ec2):
    """A fixed public address. Its id is the allocation's."""

    resource_type = "aws:ec2/eip:Eip"
    kind = "elastic-ip"
    properties: ClassVar[Mapping[str, Property]] = {
        "domain": Property(replaces=True, default="vpc"),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        answer = cloud.client("ec2").allocate_address(
            **self.wanted(inputs, ["domain"]), **self.tags_at_birth(inputs)
        )
        return answer["AllocationId"]

    def described(self, cloud: Cloud, resource_id: str) -> Values | None:
        return cloud.client("ec2").describe_addresses(AllocationIds=[resource_id])["Addresses"][0]

    def details(self, cloud: Cloud, found: Values) -> Values:
        del cloud
        return {"allocationId": found["AllocationId"], "publicIp": found["PublicIp"]}

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("ec2").release_address(AllocationId=resource.id)


class NatGateway(Ec2):
    """The way out of a private subnet."""

    resource_type = "aws:ec2/natGateway:NatGateway"
    noun = "NatGateway"
    kind = "natgateway"
    properties: ClassVar[Mapping[str, Property]] = {
        "allocationId": Property(replaces=True),
        "subnetId": Property(replaces=True),
        "tags": TAGS,
        "region": REGION,
    }

    def details(self, cloud: Cloud, found: Values) -> Values:
        del cloud
        address = found["NatGatewayAddresses"][0]
        return {"allocationId": address["AllocationId"], "publicIp": address.get("PublicIp", "")}


class VpcEndpoint(Ec2):
    """A way to an AWS service that stays inside."""

    resource_type = "aws:ec2/vpcEndpoint:VpcEndpoint"
    noun = "VpcEndpoint"
    kind = "vpc-endpoint"
    properties: ClassVar[Mapping[str, Property]] = {
        "vpcId": Property(replaces=True),
        "policy": Property(api="PolicyDocument", json=True),
        "privateDnsEnabled": Property(default=False),
        "routeTableIds": Property(unordered=True, exact=True, default=[]),
        "securityGroupIds": Property(unordered=True, exact=True, default=[]),
        "serviceName": Property(replaces=True),
        "subnetIds": Property(unordered=True, exact=True, default=[]),
        "vpcEndpointType": Property(replaces=True, default="Gateway"),
        "tags": TAGS,
        "region": REGION,
    }

    def birth(self, inputs: Mapping[str, Any]) -> Values:
        return without(inputs, "tags")

    def details(self, cloud: Cloud, found: Values) -> Values:
        del cloud
        return {"securityGroupIds": [group["GroupId"] for group in found.get("Groups", ())]}

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        values = super().read(cloud, resource)
        # What AWS has of these by itself depends on the service.
        beside = {"policy", "privateDnsEnabled"} - resource.inputs.keys()
        return None if values is None else without(values, *beside)

    def modify(self, cloud: Cloud, change: Update) -> None:
        parameters: Values = {}
        for name, word in _MEMBERS.items():
            old, new = change.old.get(name) or (), change.new.get(name) or ()
            parameters[f"Add{word}"] = [each for each in new if each not in old]
            parameters[f"Remove{word}"] = [each for each in old if each not in new]
        if "policy" in change.changed:
            policy = change.new.get("policy")
            parameters |= {"PolicyDocument": policy} if policy else {"ResetPolicy": True}
        if "privateDnsEnabled" in change.changed:
            parameters |= self.wanted(change.new, ["privateDnsEnabled"])
        wanted = {name: value for name, value in parameters.items() if value != []}
        cloud.client("ec2").modify_vpc_endpoint(VpcEndpointId=change.id, **wanted)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[resource.id])
