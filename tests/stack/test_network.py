import pytest

from stack import network
from taskpacks import PackSpec, Resources

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
    ],
)
def test_only_the_endpoints_that_the_deployments_need_are_made(specs, services):
    assert list(network.interface_services(specs)) == services
