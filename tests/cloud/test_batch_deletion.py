"""Job queues and compute environments that are deleted under jobs."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

WAIT = "import time; time.sleep(60)"


def on_ec2(fleet):
    """A job queue on machines of its own."""
    ec2 = fleet.cloud.client("ec2")
    environment = fleet.batch.create_compute_environment(
        computeEnvironmentName="machines",
        type="MANAGED",
        state="ENABLED",
        computeResources={
            "type": "EC2",
            "minvCpus": 0,
            "maxvCpus": 4,
            "instanceTypes": ["optimal"],
            "instanceRole": fleet.cloud.client("iam").create_instance_profile(
                InstanceProfileName="machines"
            )["InstanceProfile"]["Arn"],
            "subnets": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
            "securityGroupIds": [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]],
        },
        serviceRole=fleet.role,
    )["computeEnvironmentArn"]
    return fleet.batch.create_job_queue(
        jobQueueName="on-machines",
        state="ENABLED",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
    )["jobQueueArn"]


def elsewhere(fleet, job_queue):
    """Turns a job queue to another compute environment and disables the first."""
    found = fleet.batch.describe_compute_environments(computeEnvironments=["environment"])
    other = fleet.batch.create_compute_environment(
        computeEnvironmentName="other",
        type="MANAGED",
        computeResources=found["computeEnvironments"][0]["computeResources"],
        serviceRole=fleet.role,
    )["computeEnvironmentArn"]
    fleet.batch.update_job_queue(
        jobQueue=job_queue, computeEnvironmentOrder=[{"order": 1, "computeEnvironment": other}]
    )


def status(fleet, name):
    found = fleet.batch.describe_compute_environments(computeEnvironments=[name])
    return [each["status"] for each in found["computeEnvironments"]]


def test_a_job_queue_that_is_deleted_takes_its_jobs_along(fleet):
    running = fleet.submit(fleet.define("wait", WAIT, vcpus="4"))
    fleet.wait(running, "RUNNING")
    waiting = fleet.submit(fleet.define("wait", WAIT))
    with pytest.raises(ClientError, match="is ENABLED"):
        fleet.batch.delete_job_queue(jobQueue="job-queue")
    fleet.batch.update_job_queue(jobQueue="job-queue", state="DISABLED")
    fleet.batch.delete_job_queue(jobQueue="job-queue")
    for job_id in (running, waiting):
        assert fleet.wait(job_id)["statusReason"] == "Job queue deleted"


def test_a_compute_environment_is_deleted_when_it_is_disabled_and_no_job_queue_names_it(fleet):
    with pytest.raises(ClientError, match="is ENABLED"):
        fleet.batch.delete_compute_environment(computeEnvironment="environment")
    fleet.batch.update_compute_environment(computeEnvironment="environment", state="DISABLED")
    with pytest.raises(ClientError, match="existing JobQueue relationship"):
        fleet.batch.delete_compute_environment(computeEnvironment="environment")
    elsewhere(fleet, "job-queue")
    fleet.batch.delete_compute_environment(computeEnvironment="environment")
    assert status(fleet, "environment") == []


def test_an_environment_on_fargate_becomes_invalid_when_it_is_deleted_under_a_job(fleet):
    job_id = fleet.submit(fleet.define("wait", WAIT))
    fleet.wait(job_id, "RUNNING")
    elsewhere(fleet, "job-queue")
    fleet.batch.update_compute_environment(computeEnvironment="environment", state="DISABLED")
    fleet.batch.delete_compute_environment(computeEnvironment="environment")
    assert status(fleet, "environment") == ["INVALID"]
    assert fleet.job(job_id)["status"] == "RUNNING"


def test_an_environment_on_ec2_takes_its_jobs_along(fleet):
    job_queue = on_ec2(fleet)
    job_id = fleet.submit(fleet.define("wait", WAIT), jobQueue=job_queue)
    fleet.wait(job_id, "RUNNING")
    elsewhere(fleet, job_queue)
    fleet.batch.update_compute_environment(computeEnvironment="machines", state="DISABLED")
    fleet.batch.delete_compute_environment(computeEnvironment="machines")
    assert fleet.wait(job_id)["statusReason"] == "Host EC2 terminated"


def test_a_job_that_runs_names_the_cluster_of_its_compute_environment(fleet):
    job_id = fleet.submit(fleet.define("wait", WAIT))
    fleet.wait(job_id, "RUNNING")
    found = fleet.batch.describe_compute_environments(computeEnvironments=["environment"])
    cluster = found["computeEnvironments"][0]["ecsClusterArn"]
    task = fleet.job(job_id)["container"]["taskArn"]
    assert task.rpartition("/")[0] == cluster.replace(":cluster/", ":task/")
