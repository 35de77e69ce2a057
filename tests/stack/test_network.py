import json

import pytest
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend, Zone

from stack.components import network
from taskpacks import PackSpec, Queue, Resources
from tests.stack.iam import allows

ARN = "arn:aws:{}:us-east-1:111122223333:{}"


def spec(platform="fargate", **secrets):
    return PackSpec(resources=Resources(platform=platform), secrets=secrets)


@pytest.mark.parametrize(
    ("specs", "services"),
    [
        ([spec()], ["ecr.api", "ecr.dkr", "logs", "sqs"]),
        (
            [spec(), spec("ec2")],
            ["ecr.api", "ecr.dkr", "logs", "sqs", "ecs", "ecs-agent", "ecs-telemetry"],
        ),
        (
            [spec(KEY=ARN.format("secretsmanager", "secret:a"))],
            ["ecr.api", "ecr.dkr", "logs", "sqs", "secretsmanager"],
        ),
        (
            [spec(KEY=ARN.format("ssm", "parameter/a"))],
            ["ecr.api", "ecr.dkr", "logs", "sqs", "ssm"],
        ),
        # The addresses of other deployments are read in a parameter.
        ([PackSpec(sends_to=("other",))], ["ecr.api", "ecr.dkr", "logs", "sqs", "ssm"]),
        (
            [PackSpec(queue=Queue(escalate_to="other"))],
            ["ecr.api", "ecr.dkr", "logs", "sqs", "ssm"],
        ),
    ],
)
def test_only_the_endpoints_that_the_deployments_need_are_made(specs, services):
    assert list(network.interface_services(specs)) == services


def zones_are(monkeypatch, *ids):
    """us-east-1 has zones a, b, ... with these ids."""
    zones = [
        Zone(f"us-east-1{letter}", "us-east-1", each)
        for letter, each in zip("abcdef", ids, strict=False)
    ]
    monkeypatch.setitem(RegionsAndZonesBackend.zones, "us-east-1", zones)


def zones_of_subnets(project):
    subnets = project.client("ec2").describe_subnets(
        Filters=[{"Name": "tag:Name", "Values": ["network-0", "network-1"]}]
    )["Subnets"]
    return sorted(each["AvailabilityZone"] for each in subnets)


@pytest.mark.parametrize("unfit", ["use1-az3", "usw1-az2", "apne1-az3"])
def test_no_subnet_is_made_in_a_zone_without_what_workers_need(unfit, project, monkeypatch):
    zones_are(monkeypatch, unfit, "use1-az1", "use1-az2")
    project.select({"small": {}}).up()
    assert zones_of_subnets(project) == ["us-east-1b", "us-east-1c"]


def test_subnets_stay_when_the_zones_of_a_region_change(project, monkeypatch):
    zones_are(monkeypatch, "use1-az3", "use1-az1", "use1-az2")
    project.select({"small": {}}).up()
    zones_are(monkeypatch, "use1-az6", "use1-az1", "use1-az2")
    assert not project.engine().up().changed
    assert zones_of_subnets(project) == ["us-east-1b", "us-east-1c"]


def gateway_policies(project):
    found = project.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
    return {
        each["ServiceName"].rpartition(".")[2]: json.loads(each["PolicyDocument"])
        for each in found
        if each["VpcEndpointType"] == "Gateway" and each["State"] != "deleted"
    }


@pytest.mark.timeout(180)
def test_an_egress_that_changes_opens_the_gateways_and_closes_them_again(project):
    theirs = ("s3:PutObject", "arn:aws:s3:::theirs/loot")
    for egress, passes in (("endpoints", False), ("nat", True), ("endpoints", False)):
        engine = project.select({"small": {}}, egress=egress)
        engine.up()
        found = gateway_policies(project)
        assert set(found) == set(network.GATEWAY_SERVICES)
        assert allows(found["s3"], *theirs, ResourceAccount="999999999999") is passes
        assert engine.up().changed == ()
