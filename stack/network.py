"""Where workers run: the operator's own subnets, or a small network made for them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

ANYWHERE_V4 = "0.0.0.0/0"
CIDR = "10.42.0.0/16"


def subnet_cidr(index: int) -> str:
    """The /20 block of the index-th subnet (0 to 15) inside `CIDR`."""
    return f"10.42.{index * 16}.0/20"


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """Both given, or both empty to have a network made."""

    subnet_ids: tuple[str, ...] = field(default=())
    security_group_ids: tuple[str, ...] = field(default=())


class Network(pulumi.ComponentResource):
    """Subnets and security groups for workers, which call out and are never called.

    Consists of: nothing, when the operator's own are given; else a VPC with two public
    subnets in two zones, an internet gateway, a route table, and a security group that lets
    nothing in. Public subnets because they cost nothing at rest, where NAT does.
    """

    subnet_ids: pulumi.Output[list[str]]
    security_group_ids: pulumi.Output[list[str]]
    assign_public_ip: bool
    connections: list[pulumi.Resource]
    """What machines need to be reachable by AWS: depend on it, so that it is deleted last."""

    def __init__(
        self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:Network", name, None, opts)
        self.assign_public_ip = not args.subnet_ids
        self.connections = []
        if args.subnet_ids:
            self.subnet_ids = pulumi.Output.from_input(list(args.subnet_ids))
            self.security_group_ids = pulumi.Output.from_input(list(args.security_group_ids))
        else:
            self._make(name)
        self.register_outputs(
            {"subnet_ids": self.subnet_ids, "security_group_ids": self.security_group_ids}
        )

    def _make(self, name: str) -> None:
        child = pulumi.ResourceOptions(parent=self)
        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=CIDR,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": name},
            opts=child,
        )
        gateway = aws.ec2.InternetGateway(f"{name}-gateway", vpc_id=vpc.id, opts=child)
        routes = aws.ec2.RouteTable(f"{name}-routes", vpc_id=vpc.id, opts=child)
        route = aws.ec2.Route(
            f"{name}-out",
            route_table_id=routes.id,
            destination_cidr_block=ANYWHERE_V4,
            gateway_id=gateway.id,
            opts=child,
        )
        zones = aws.get_availability_zones_output(
            state="available",
            # Not the Local Zones that an account may have opted into: Fargate is not there.
            filters=[{"name": "opt-in-status", "values": ["opt-in-not-required"]}],
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        subnets: list[aws.ec2.Subnet] = []
        for index in range(2):
            subnet = aws.ec2.Subnet(
                f"{name}-subnet-{index}",
                vpc_id=vpc.id,
                cidr_block=subnet_cidr(index),
                availability_zone=zones.names[index],
                # Fargate is told per job; EC2 instances get their address from the subnet.
                map_public_ip_on_launch=True,
                tags={"Name": f"{name}-{index}"},
                opts=child,
            )
            association = aws.ec2.RouteTableAssociation(
                f"{name}-routed-{index}",
                subnet_id=subnet.id,
                route_table_id=routes.id,
                opts=child,
            )
            subnets.append(subnet)
            self.connections.append(association)
        group = aws.ec2.SecurityGroup(
            f"{name}-workers",
            vpc_id=vpc.id,
            description="Taskpacks workers: nothing in",
            opts=child,
        )
        # A rule of its own: AWS's default "allow all out" is removed by the provider.
        egress = aws.vpc.SecurityGroupEgressRule(
            f"{name}-egress",
            security_group_id=group.id,
            ip_protocol="-1",
            cidr_ipv4=ANYWHERE_V4,
            description="Workers call AWS and pull their image",
            opts=child,
        )
        self.connections += [route, egress]
        self.subnet_ids = pulumi.Output.all(*[subnet.id for subnet in subnets])
        self.security_group_ids = pulumi.Output.all(group.id)
