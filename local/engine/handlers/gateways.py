"""EC2: ways from a private subnet to elsewhere: addresses, NAT gateways and endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import Update, Values, without
from local.engine.handlers.network import Described, retag, tags_at_birth
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.engine.cloud import Cloud

_GONE: Final = ("deleting", "deleted")


class Eip(Described):
    """A fixed public address. Its id is the allocation's."""

    resource_type = "aws:ec2/eip:Eip"
    describe = ("describe_addresses", "AllocationIds", "Addresses")
    kind = "elastic-ip"
    properties: ClassVar[Mapping[str, Property]] = {
        "domain": Property(replaces=True, default="vpc"),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Takes an address."""
        answer = cloud.client("ec2").allocate_address(
            Domain=inputs.get("domain", "vpc"), **tags_at_birth(self.kind, inputs)
        )
        return answer["AllocationId"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the address."""
        values = super().read(cloud, resource_id, inputs)
        found = self.described(cloud, resource_id)
        if values is None or found is None:
            return None
        return {**values, "allocationId": resource_id, "publicIp": found["PublicIp"]}

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Gives the address back."""
        del inputs, outputs
        cloud.client("ec2").release_address(AllocationId=resource_id)


class _Lingering(Described):
    """A resource that EC2 still lists for a while after it is deleted."""

    def described(self, cloud: Cloud, resource_id: str) -> Values | None:
        """EC2's own words for what is there."""
        found = super().described(cloud, resource_id)
        return None if found is None or found.get("State") in _GONE else found


class NatGateway(_Lingering):
    """The way out of a private subnet. Its id is AWS's."""

    resource_type = "aws:ec2/natGateway:NatGateway"
    describe = ("describe_nat_gateways", "NatGatewayIds", "NatGateways")
    kind = "natgateway"
    properties: ClassVar[Mapping[str, Property]] = {
        "allocationId": Property(replaces=True),
        "connectivityType": Property(replaces=True, default="public"),
        "privateIp": Property(replaces=True),
        "subnetId": Property(replaces=True),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the gateway."""
        answer = cloud.client("ec2").create_nat_gateway(
            **self.api(without(inputs, "tags")), **tags_at_birth(self.kind, inputs)
        )
        return answer["NatGateway"]["NatGatewayId"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the gateway and its first address."""
        values = super().read(cloud, resource_id, inputs)
        found = self.described(cloud, resource_id)
        if values is None or found is None:
            return None
        address = (found.get("NatGatewayAddresses") or [{}])[0]
        return {
            **values,
            **({"allocationId": address["AllocationId"]} if "AllocationId" in address else {}),
            "networkInterfaceId": address.get("NetworkInterfaceId", ""),
            "publicIp": address.get("PublicIp", ""),
        }

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the gateway."""
        del inputs, outputs
        cloud.client("ec2").delete_nat_gateway(NatGatewayId=resource_id)


class VpcEndpoint(_Lingering):
    """A way to an AWS service that stays inside. Its id is AWS's."""

    resource_type = "aws:ec2/vpcEndpoint:VpcEndpoint"
    describe = ("describe_vpc_endpoints", "VpcEndpointIds", "VpcEndpoints")
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

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the endpoint."""
        answer = cloud.client("ec2").create_vpc_endpoint(
            **self.api(without(inputs, "tags")), **tags_at_birth(self.kind, inputs)
        )
        return answer["VpcEndpoint"]["VpcEndpointId"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the endpoint."""
        values = super().read(cloud, resource_id, inputs)
        found = self.described(cloud, resource_id)
        if values is None or found is None:
            return None
        values["securityGroupIds"] = [group["GroupId"] for group in found.get("Groups", ())]
        for name in {"policy", "privateDnsEnabled"} - inputs.keys():
            values.pop(name, None)  # what AWS has by itself depends on the service
        return {**values, "state": found.get("State", "")}

    def update(self, cloud: Cloud, change: Update) -> str:
        """Adds and takes away what changed."""
        parameters: Values = {}
        for name, word in _MEMBERS.items():
            if name in change.changed:
                old, new = _members(change.old, name), _members(change.new, name)
                parameters[f"Add{word}"] = [each for each in new if each not in old]
                parameters[f"Remove{word}"] = [each for each in old if each not in new]
        if "policy" in change.changed:
            policy = change.new.get("policy")
            parameters |= {"PolicyDocument": policy} if policy else {"ResetPolicy": True}
        if "privateDnsEnabled" in change.changed:
            parameters["PrivateDnsEnabled"] = change.new.get("privateDnsEnabled", False)
        if wanted := {name: value for name, value in parameters.items() if value != []}:
            cloud.client("ec2").modify_vpc_endpoint(VpcEndpointId=change.id, **wanted)
        retag(cloud, change)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the endpoint."""
        del inputs, outputs
        cloud.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[resource_id])


_MEMBERS: Final = {
    "routeTableIds": "RouteTableIds",
    "securityGroupIds": "SecurityGroupIds",
    "subnetIds": "SubnetIds",
}


def _members(inputs: Mapping[str, Any], name: str) -> Sequence[str]:
    return inputs.get(name) or ()
