"""EC2's routes: tables, what stands in them, and which subnet uses which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from zlib import crc32

from local.engine.handlers.base import Handler, Update, Values, ignoring_missing
from local.engine.handlers.network import Described, tags_at_birth
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class RouteTable(Described):
    """Where a subnet's packets go. Its routes are resources of their own. Its id is AWS's."""

    resource_type = "aws:ec2/routeTable:RouteTable"
    describe = ("describe_route_tables", "RouteTableIds", "RouteTables")
    kind = "route-table"
    properties: ClassVar[Mapping[str, Property]] = {
        "vpcId": Property(replaces=True),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the table."""
        answer = cloud.client("ec2").create_route_table(
            VpcId=inputs["vpcId"], **tags_at_birth(self.kind, inputs)
        )
        return answer["RouteTable"]["RouteTableId"]

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the table, which no subnet may use any more."""
        del inputs, outputs
        cloud.client("ec2").delete_route_table(RouteTableId=resource_id)


class Route(Handler):
    """One route. AWS has no id for it; the id is made of table and destination."""

    resource_type = "aws:ec2/route:Route"
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "routeTableId": Property(replaces=True),
        "destinationCidrBlock": Property(replaces=True),
        "destinationIpv6CidrBlock": Property(replaces=True),
        "gatewayId": Property(),
        "natGatewayId": Property(),
        "vpcPeeringConnectionId": Property(),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the route."""
        cloud.client("ec2").create_route(**self.api(inputs))
        return f"r-{inputs['routeTableId']}{crc32(_destination(inputs).encode())}"

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Finds the route in its table."""
        del resource_id
        tables = cloud.client("ec2").describe_route_tables(RouteTableIds=[inputs["routeTableId"]])
        for route in tables["RouteTables"][0]["Routes"]:
            values = self.wire(route)
            if _destination(values) == _destination(inputs):
                return {
                    **values,
                    "routeTableId": inputs["routeTableId"],
                    "state": route.get("State", ""),
                    "origin": route.get("Origin", ""),
                }
        return None

    def update(self, cloud: Cloud, change: Update) -> str:
        """Points the route elsewhere."""
        cloud.client("ec2").replace_route(**self.api(change.new))
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the route."""
        del resource_id, outputs
        key = {name: inputs[name] for name in self.replaces & inputs.keys()}
        cloud.client("ec2").delete_route(**self.api(key))


def _destination(values: Mapping[str, Any]) -> str:
    return values.get("destinationCidrBlock") or values.get("destinationIpv6CidrBlock") or ""


class RouteTableAssociation(Handler):
    """Which table a subnet uses. Its id is AWS's."""

    resource_type = "aws:ec2/routeTableAssociation:RouteTableAssociation"
    delete_before_replace = True
    volatile = frozenset({"id"})
    properties: ClassVar[Mapping[str, Property]] = {
        "subnetId": Property(replaces=True),
        "routeTableId": Property(),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the association."""
        return cloud.client("ec2").associate_route_table(**self.api(inputs))["AssociationId"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Finds the association."""
        del inputs
        tables = cloud.client("ec2").describe_route_tables(
            Filters=[
                {"Name": "association.route-table-association-id", "Values": [resource_id]},
            ]
        )["RouteTables"]
        for table in tables:
            for association in table["Associations"]:
                if association["RouteTableAssociationId"] == resource_id:
                    return self.wire(association)
        return None

    def update(self, cloud: Cloud, change: Update) -> str:
        """Gives the subnet another table."""
        answer = cloud.client("ec2").replace_route_table_association(
            AssociationId=change.id, RouteTableId=change.new["routeTableId"]
        )
        return answer["NewAssociationId"]

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Ends the association."""
        del inputs, outputs
        ec2 = cloud.client("ec2")
        ignoring_missing(lambda: ec2.disassociate_route_table(AssociationId=resource_id))
