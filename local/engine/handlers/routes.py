"""EC2's routes: tables, what stands in them, and which subnet uses which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from zlib import crc32

from local.engine.handlers.base import Handler, Resource, Update, Values, ignoring_missing, only
from local.engine.handlers.network import Ec2
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class RouteTable(Ec2):
    """A table of routes, each a resource of its own."""

    resource_type = "aws:ec2/routeTable:RouteTable"
    noun = "RouteTable"
    kind = "route-table"
    properties: ClassVar[Mapping[str, Property]] = {
        "vpcId": Property(replaces=True),
        "tags": TAGS,
        "region": REGION,
    }


class Route(Handler):
    """One route. AWS has no id for it; the id is made of table and destination."""

    resource_type = "aws:ec2/route:Route"
    service = "ec2"
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "routeTableId": Property(replaces=True),
        "destinationCidrBlock": Property(replaces=True),
        "gatewayId": Property(),
        "natGatewayId": Property(),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        cloud.client("ec2").create_route(**self.api(inputs))
        return f"r-{inputs['routeTableId']}{crc32(inputs['destinationCidrBlock'].encode())}"

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        table = resource.inputs["routeTableId"]
        answer = cloud.client("ec2").describe_route_tables(RouteTableIds=[table])
        for route in answer["RouteTables"][0]["Routes"]:
            values = self.wire(route)
            if values.get("destinationCidrBlock") == resource.inputs["destinationCidrBlock"]:
                return {**values, "routeTableId": table}
        return None

    def modify(self, cloud: Cloud, change: Update) -> None:
        cloud.client("ec2").replace_route(**self.api(change.new))

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("ec2").delete_route(**self.api(only(resource.inputs, self.replaces)))


class RouteTableAssociation(Handler):
    """The table that a subnet uses. Its id is AWS's, and a new one for each table."""

    resource_type = "aws:ec2/routeTableAssociation:RouteTableAssociation"
    service = "ec2"
    delete_before_replace = True
    volatile = frozenset({"id"})
    properties: ClassVar[Mapping[str, Property]] = {
        "subnetId": Property(replaces=True),
        "routeTableId": Property(),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        return cloud.client("ec2").associate_route_table(**self.api(inputs))["AssociationId"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        here = {"Name": "association.route-table-association-id", "Values": [resource.id]}
        answer = cloud.client("ec2").describe_route_tables(Filters=[here])
        for table in answer["RouteTables"]:
            for association in table["Associations"]:
                if association["RouteTableAssociationId"] == resource.id:
                    return self.wire(association)
        return None

    def update(self, cloud: Cloud, change: Update) -> str:
        answer = cloud.client("ec2").replace_route_table_association(
            AssociationId=change.id, RouteTableId=change.new["routeTableId"]
        )
        return answer["NewAssociationId"]

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        ec2 = cloud.client("ec2")
        ignoring_missing(lambda: ec2.disassociate_route_table(AssociationId=resource.id))
