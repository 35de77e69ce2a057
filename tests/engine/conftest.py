"""One moto server for all tests of the engine, emptied before each; programs are made as text."""

from __future__ import annotations

import http.client
import textwrap
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3.session
import pytest
from moto.server import ThreadedMotoServer

from local.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

with warnings.catch_warnings():
    # Its generated modules warn of each other when they are imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    import pulumi_aws

    IMPORTED = (  # a package is imported when one of its classes is touched
        pulumi_aws.batch.JobQueue,
        pulumi_aws.cloudwatch.LogGroup,
        pulumi_aws.dynamodb.Table,
        pulumi_aws.ec2.Vpc,
        pulumi_aws.ecr.Repository,
        pulumi_aws.iam.Role,
        pulumi_aws.kms.Key,
        pulumi_aws.lambda_.Function,
        pulumi_aws.s3.Bucket,
        pulumi_aws.sfn.StateMachine,
        pulumi_aws.sns.Topic,
        pulumi_aws.sqs.Queue,
        pulumi_aws.ssm.Parameter,
        pulumi_aws.vpc.SecurityGroupEgressRule,
    )

SESSION = boto3.session.Session()

PRELUDE = """
import json
import pulumi
import pulumi_aws as aws
"""


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def endpoint(server: str) -> str:
    reset = http.client.HTTPConnection(server.removeprefix("http://"), timeout=10)
    reset.request("POST", "/moto-api/reset")
    assert reset.getresponse().status == 200
    reset.close()
    return server


@dataclass
class Project:
    """A Pulumi project in a folder of its own, whose program a test writes as text."""

    folder: Path
    endpoint: str

    @property
    def state_file(self) -> Path:
        return self.folder / "state" / "dev.json"

    def write(self, program: str, config: Mapping[str, str] | None = None) -> Engine:
        settings = {"aws:region": "us-east-1", **(config or {})}
        lines = "\n".join(f"  {key}: {value}" for key, value in settings.items())
        (self.folder / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
        (self.folder / "Pulumi.dev.yaml").write_text(f"config:\n{lines}\n")
        (self.folder / "__main__.py").write_text(PRELUDE + textwrap.dedent(program))
        return self.engine()

    def engine(self, **options: Any) -> Engine:
        return Engine(
            self.folder, "dev", endpoint_url=self.endpoint, state_file=self.state_file, **options
        )

    def client(self, service: str, region: str = "us-east-1") -> Any:
        return SESSION.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


@pytest.fixture
def project(tmp_path: Path, endpoint: str) -> Project:
    return Project(tmp_path, endpoint)


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:dev::shop::{kind}::{name}"
