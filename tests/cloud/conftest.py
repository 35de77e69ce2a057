"""A cloud for a test, and what is deployed into it: with boto3 alone, as anyone would."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from local.cloud import JobChanged, LocalCloud

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass
class Fleet:
    """A compute environment, its job queue, and a way to run Python code as jobs."""

    cloud: LocalCloud
    role: str
    environment: str
    job_queue: str

    @property
    def batch(self) -> Any:
        return self.cloud.client("batch")

    def define(self, name: str, code: str, *, vcpus: str = "1", **definition: Any) -> str:
        """Registers a job definition that runs Python code; returns its ARN."""
        container: dict[str, Any] = {
            "image": "worker:1",
            "command": ["python", "-c", code],
            "executionRoleArn": self.role,
            "resourceRequirements": [
                {"type": "VCPU", "value": vcpus},
                {"type": "MEMORY", "value": "2048"},
            ],
        } | definition.pop("container", {})
        return self.batch.register_job_definition(
            jobDefinitionName=name,
            type="container",
            platformCapabilities=["FARGATE"],
            containerProperties=container,
            **definition,
        )["jobDefinitionArn"]

    def submit(self, definition: str, **request: Any) -> str:
        return self.batch.submit_job(
            **{"jobName": "test", "jobQueue": self.job_queue, "jobDefinition": definition} | request
        )["jobId"]

    def job(self, job_id: str) -> dict[str, Any]:
        [job] = self.batch.describe_jobs(jobs=[job_id])["jobs"]
        return job

    def wait(self, job_id: str, *statuses: str, seconds: float = 60) -> dict[str, Any]:
        """Waits for a job to enter one of the statuses; describes it."""
        wanted = statuses or ("SUCCEEDED", "FAILED")
        self.cloud.events.wait_for(
            lambda event: (
                isinstance(event, JobChanged) and event.job_id == job_id and event.status in wanted
            ),
            seconds=seconds,
        )
        return self.job(job_id)

    def log(self, job_id: str, group: str = "/aws/batch/job") -> list[str]:
        """Returns what a job printed, from CloudWatch Logs."""
        stream = self.job(job_id)["container"]["logStreamName"]
        logs = self.cloud.client("logs")
        events = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
        return [event["message"] for event in events["events"]]


@contextmanager
def started(folder: Path) -> Iterator[LocalCloud]:
    program = folder / "program"
    program.mkdir()
    with LocalCloud(folder / "work", program_folder=program, pace=600, max_running_jobs=8) as cloud:
        yield cloud


def deployed(cloud: LocalCloud, max_vcpus: int = 4) -> Fleet:
    role = cloud.client("iam").create_role(
        RoleName="role",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}),
    )["Role"]["Arn"]
    ec2 = cloud.client("ec2")
    batch = cloud.client("batch")
    environment = batch.create_compute_environment(
        computeEnvironmentName="environment",
        type="MANAGED",
        state="ENABLED",
        computeResources={
            "type": "FARGATE",
            "maxvCpus": max_vcpus,
            "subnets": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
            "securityGroupIds": [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]],
        },
        serviceRole=role,
    )["computeEnvironmentArn"]
    job_queue = batch.create_job_queue(
        jobQueueName="job-queue",
        state="ENABLED",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
    )["jobQueueArn"]
    return Fleet(cloud, role, environment, job_queue)


@pytest.fixture(scope="session")
def deploy_fleet() -> Callable[[LocalCloud], Fleet]:
    """For a test that opens its own cloud."""
    return deployed


@pytest.fixture(scope="module")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """For tests that leave nothing behind which disturbs the next."""
    with started(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with started(tmp_path) as cloud:
        yield cloud


@pytest.fixture
def fleet(cloud: LocalCloud) -> Fleet:
    return deployed(cloud)
