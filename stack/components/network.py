"""Where workers run: the operator's own subnets, or a small network made for them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pulumi
import pulumi_aws as aws

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stack.model import Egress, StackContext
    from taskpacks.types import PackSpec

ANYWHERE_V4: Final = "0.0.0.0/0"
CIDR: Final = "10.42.0.0/16"
ZONES: Final = 2
EXCLUDED_ZONE_IDS: Final = ("use1-az3", "usw1-az2", "apne1-az3")
"""Where no subnet is made. Fargate is not in the last two; in the first it has no Graviton, and
EC2 no instances of the families that workers get.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AWS_Fargate-Regions.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-arm64.html"""
HTTPS: Final = 443

# Free of charge, and image layers come from S3, so that NAT never bills for pulling them:
# https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html
GATEWAY_SERVICES: Final = ("s3", "dynamodb")
# What a job on Fargate and the worker in it call:
# https://docs.aws.amazon.com/batch/latest/userguide/vpc-endpoint-considerations.html
_WORKER_SERVICES: Final = ("ecr.api", "ecr.dkr", "logs", "sqs")
# What the ECS agent of an EC2 instance calls beside them:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html
_INSTANCE_SERVICES: Final = ("ecs", "ecs-agent", "ecs-telemetry")
_SECRET_SERVICES: Final = ("secretsmanager", "ssm")


def subnet_cidr(index: int) -> str:
    """The /20 block of the index-th subnet (0 to 15) inside `CIDR`."""
    return f"10.42.{index * 16}.0/20"


def interface_services(specs: Iterable[PackSpec]) -> tuple[str, ...]:
    """The AWS services that these deployments' workers need an interface endpoint for."""
    specs = tuple(specs)
    secrets = [arn for spec in specs for arn in spec.secrets.values()]
    on_ec2 = any(spec.resources.platform == "ec2" for spec in specs)
    # A worker that sends to other deployments reads their addresses in the producer document.
    reads = any(spec.sends_to or spec.queue.escalate_to for spec in specs)
    return (
        *_WORKER_SERVICES,
        *(_INSTANCE_SERVICES if on_ec2 else ()),
        *(
            service
            for service in _SECRET_SERVICES
            if any(f":{service}:" in arn for arn in secrets) or (service == "ssm" and reads)
        ),
    )


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """The operator's subnets and groups, or both empty to have a network made.

    Attributes:
        assign_public_ip: Workers on Fargate get public addresses in the operator's subnets.
        egress: How workers in a made network reach AWS.
        interface_services: The interface endpoints that egress "endpoints" makes.
        endpoint_policies: What passes through which endpoint; everything, where it is not there.
        context: The stack's.
    """

    subnet_ids: tuple[str, ...] = field(default=())
    security_group_ids: tuple[str, ...] = field(default=())
    assign_public_ip: bool
    egress: Egress
    interface_services: tuple[str, ...]
    endpoint_policies: Mapping[str, Mapping[str, Any]]
    context: StackContext


class Network(pulumi.ComponentResource):
    """Subnets and security groups for workers, which call out and are never called.

    Consists of: nothing, when the operator's own are given; else a VPC with two subnets in two
    zones, gateway endpoints for S3 and DynamoDB, a security group that lets nothing in, and
    the way out: interface endpoints, or a NAT gateway in a public subnet, or an internet
    gateway for public subnets.
    """

    subnet_ids: pulumi.Output[list[str]]
    security_group_ids: pulumi.Output[list[str]]
    assign_public_ip: bool
    connections: list[pulumi.Resource]
    """The ways from machines to AWS: depend on them, so that they are deleted last."""

    def __init__(
        self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:Network", name, None, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        self.assign_public_ip = (
            args.assign_public_ip if args.subnet_ids else args.egress == "public"
        )
        self.connections = []
        if args.subnet_ids:
            self.subnet_ids = pulumi.Output.from_input(list(args.subnet_ids))
            self.security_group_ids = pulumi.Output.from_input(list(args.security_group_ids))
        else:
            self._make(name, args)
        self.register_outputs(
            {"subnet_ids": self.subnet_ids, "security_group_ids": self.security_group_ids}
        )

    def _make(self, name: str, args: NetworkArgs) -> None:
        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=CIDR,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": name},
            opts=self._child,
        )
        zones = aws.get_availability_zones_output(
            state="available",
            exclude_zone_ids=list(EXCLUDED_ZONE_IDS),
            # Not the Local Zones that an account may have opted into: Fargate is not there.
            filters=[{"name": "opt-in-status", "values": ["opt-in-not-required"]}],
            opts=pulumi.InvokeOutputOptions(parent=self),
        ).names
        routes = aws.ec2.RouteTable(f"{name}-routes", vpc_id=vpc.id, opts=self._child)
        subnets = [
            self._subnet(name, str(index), vpc, zones[index], index, public=self.assign_public_ip)
            for index in range(ZONES)
        ]
        for index, subnet in enumerate(subnets):
            self._routed(f"{name}-routed-{index}", subnet, routes)
        group = self._workers_group(name, vpc)
        for service in GATEWAY_SERVICES:
            self.connections.append(
                aws.ec2.VpcEndpoint(
                    f"{name}-{service}",
                    vpc_id=vpc.id,
                    vpc_endpoint_type="Gateway",
                    service_name=f"com.amazonaws.{args.context.region}.{service}",
                    policy=self._endpoint_policy(service, args),
                    route_table_ids=[routes.id],
                    opts=self._child,
                )
            )
        if args.egress == "endpoints":
            self._interface_endpoints(name, args, vpc, subnets, group)
        elif args.egress == "nat":
            self._nat(name, vpc, zones[0], routes)
        else:
            self._out(f"{name}-out", routes, gateway_id=self._internet_gateway(name, vpc).id)
        self.subnet_ids = pulumi.Output.all(*[subnet.id for subnet in subnets])
        self.security_group_ids = pulumi.Output.all(group.id)

    def _subnet(
        self,
        name: str,
        suffix: str,
        vpc: aws.ec2.Vpc,
        zone: pulumi.Input[str],
        block: int,
        *,
        public: bool,
    ) -> aws.ec2.Subnet:
        return aws.ec2.Subnet(
            f"{name}-subnet-{suffix}",
            vpc_id=vpc.id,
            cidr_block=subnet_cidr(block),
            availability_zone=zone,
            # On Fargate each job says it; EC2 instances get their address from the subnet.
            map_public_ip_on_launch=public,
            tags={"Name": f"{name}-{suffix}"},
            # A zone that comes to a region, or is not available today, moves no subnet: machines
            # cannot follow in place.
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["availabilityZone"]),
        )

    def _routed(self, name: str, subnet: aws.ec2.Subnet, routes: aws.ec2.RouteTable) -> None:
        self.connections.append(
            aws.ec2.RouteTableAssociation(
                name, subnet_id=subnet.id, route_table_id=routes.id, opts=self._child
            )
        )

    def _out(self, name: str, routes: aws.ec2.RouteTable, **target: pulumi.Input[str]) -> None:
        self.connections.append(
            aws.ec2.Route(
                name,
                route_table_id=routes.id,
                destination_cidr_block=ANYWHERE_V4,
                opts=self._child,
                **target,
            )
        )

    def _internet_gateway(self, name: str, vpc: aws.ec2.Vpc) -> aws.ec2.InternetGateway:
        return aws.ec2.InternetGateway(f"{name}-gateway", vpc_id=vpc.id, opts=self._child)

    def _nat(
        self,
        name: str,
        vpc: aws.ec2.Vpc,
        zone: pulumi.Input[str],
        routes: aws.ec2.RouteTable,
    ) -> None:
        """One gateway for both zones: a second would double what the network costs at rest."""
        edge = self._subnet(name, "edge", vpc, zone, ZONES, public=False)
        edge_routes = aws.ec2.RouteTable(f"{name}-edge", vpc_id=vpc.id, opts=self._child)
        self._routed(f"{name}-routed-edge", edge, edge_routes)
        self._out(f"{name}-edge-out", edge_routes, gateway_id=self._internet_gateway(name, vpc).id)
        address = aws.ec2.Eip(f"{name}-nat", domain="vpc", opts=self._child)
        nat = aws.ec2.NatGateway(
            f"{name}-nat",
            allocation_id=address.id,
            subnet_id=edge.id,
            # Without its subnet's way out, AWS makes a gateway that leads nowhere.
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self.connections)),
        )
        self._out(f"{name}-out", routes, nat_gateway_id=nat.id)

    def _interface_endpoints(
        self,
        name: str,
        args: NetworkArgs,
        vpc: aws.ec2.Vpc,
        subnets: Sequence[aws.ec2.Subnet],
        workers: aws.ec2.SecurityGroup,
    ) -> None:
        group = aws.ec2.SecurityGroup(
            f"{name}-endpoints",
            vpc_id=vpc.id,
            description="AWS endpoints, for Taskpacks workers only",
            opts=self._child,
        )
        self.connections.append(
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-endpoints",
                security_group_id=group.id,
                referenced_security_group_id=workers.id,
                ip_protocol="tcp",
                from_port=HTTPS,
                to_port=HTTPS,
                description="Workers call AWS",
                opts=self._child,
            )
        )
        for service in args.interface_services:
            self.connections.append(
                aws.ec2.VpcEndpoint(
                    f"{name}-{service}",
                    vpc_id=vpc.id,
                    vpc_endpoint_type="Interface",
                    service_name=f"com.amazonaws.{args.context.region}.{service}",
                    policy=self._endpoint_policy(service, args),
                    subnet_ids=[subnet.id for subnet in subnets],
                    security_group_ids=[group.id],
                    private_dns_enabled=True,
                    opts=self._child,
                )
            )

    @staticmethod
    def _endpoint_policy(service: str, args: NetworkArgs) -> str | None:
        policy = args.endpoint_policies.get(service)
        return json.dumps(policy) if policy else None

    def _workers_group(self, name: str, vpc: aws.ec2.Vpc) -> aws.ec2.SecurityGroup:
        group = aws.ec2.SecurityGroup(
            f"{name}-workers",
            vpc_id=vpc.id,
            description="Taskpacks workers: nothing in",
            opts=self._child,
        )
        # A rule of its own: AWS's default "allow all out" is removed by the provider.
        egress = aws.vpc.SecurityGroupEgressRule(
            f"{name}-egress",
            security_group_id=group.id,
            ip_protocol="-1",
            cidr_ipv4=ANYWHERE_V4,
            description="Workers call AWS and pull their image",
            opts=self._child,
        )
        self.connections.append(egress)
        return group
