"""Machines, job queues and deployments are not deleted under workers that run."""

import asyncio
import re

import pytest

from local.engine import HookError
from stack.before_delete import workers
from stack.before_delete.workers import Job

EC2 = {"platform": "ec2", "vcpus": 2, "memory_mib": 4096}
CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/AWSBatch-small-1"

# A worker that holds a message for a while and settles it.
WORK = """
import json, os, time, boto3
sqs, url = boto3.client("sqs", region_name="us-east-1"), os.environ["TASKPACKS_QUEUE_URL"]
held = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5, VisibilityTimeout=600)["Messages"][0]
print("holds", flush=True)
time.sleep(SECONDS)
sqs.delete_message(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"])
"""


@pytest.fixture
def up(project, network):
    """Deploys `small` and `other`, which no test changes."""

    def up(resources, *, drain=900, without=(), **settings):
        packs = {
            name: {"scaling": {"mode": "alarms"}, "resources": resources if name == "small" else {}}
            for name in ("small", "other")
            if name not in without
        }
        settings |= {"drain_on_delete_seconds": drain}
        return project.select(packs, **network, **settings).up()

    return up


@pytest.fixture
def start(project):
    """Starts a worker of `small` that works for some seconds; returns its job's id."""
    started = []

    def start(seconds):
        told = project.engine().outputs()["deployments"]["small"]
        project.client("sqs").send_message(QueueUrl=told["queue_url"], MessageBody="work")
        job_id = project.client("batch").submit_job(
            jobName="small-worker",
            jobQueue=told["job_queue"],
            jobDefinition=told["job_definition"],
            containerOverrides={"command": ["python", "-c", WORK.replace("SECONDS", str(seconds))]},
        )["jobId"]
        project.cloud.events.wait_for(
            lambda event: (
                (getattr(event, "job_id", ""), getattr(event, "line", "")) == (job_id, "holds")
            ),
            seconds=60,
        )
        started.append(job_id)
        return job_id

    yield start
    for job_id in started:
        project.client("batch").terminate_job(jobId=job_id, reason="the test is over")


def job(project, job_id):
    (found,) = project.client("batch").describe_jobs(jobs=[job_id])["jobs"]
    return found


def machines(project):
    """Names and states of all job queues and compute environments."""
    batch = project.client("batch")
    queues = batch.describe_job_queues()["jobQueues"]
    environments = batch.describe_compute_environments()["computeEnvironments"]
    return {each["jobQueueName"]: each["state"] for each in queues} | {
        each["computeEnvironmentName"]: (each["state"], each["status"]) for each in environments
    }


CHANGES = pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param((EC2, {}), ({**EC2, "architecture": "arm64"}, {}), id="architecture"),
        pytest.param(({}, {}), (EC2, {}), id="platform"),
        pytest.param(({"purchase": "spot"}, {}), ({"purchase": "on_demand"}, {}), id="purchase"),
        pytest.param(({}, {}), ({}, {"share_compute_environments": True}), id="sharing machines"),
        pytest.param(({}, {"share_compute_environments": True}), ({}, {}), id="sharing no more"),
        pytest.param(({}, {}), ({}, {"without": ("small",)}), id="removed deployment"),
    ],
)


@CHANGES
def test_a_change_waits_for_the_worker_that_runs_on_what_it_deletes(
    project, up, start, before, after
):
    up(before[0], **before[1])
    old = machines(project)
    job_id = start(3)
    up(after[0], **after[1])
    assert job(project, job_id)["status"] == "SUCCEEDED"
    new = machines(project)
    assert [name for name in old if name not in new]
    assert {str(state) for state in new.values()} == {"ENABLED", "('ENABLED', 'VALID')"}


@CHANGES
def test_a_worker_that_does_not_end_in_time_keeps_what_it_runs_on_and_is_named(
    project, up, start, before, after
):
    up(before[0], **before[1])
    # Those of `other` go when it shares: no worker runs on them.
    old = {name: state for name, state in machines(project).items() if "other" not in name}
    job_id = start(600)
    for _ in range(2):  # refused again, when the command is repeated
        with pytest.raises(HookError) as refused:
            up(after[0], drain=0, **after[1])
        said = str(refused.value)
        assert f"{job_id} (small-worker, RUNNING)" in said
        assert f"for job in {job_id}; do aws batch terminate-job --region us-east-1" in said
        assert old.items() <= machines(project).items()
        assert job(project, job_id)["status"] == "RUNNING"
    project.client("batch").terminate_job(jobId=job_id, reason="its machines go")
    told = project.engine().outputs()["deployments"]["small"]
    project.client("sqs").purge_queue(QueueUrl=told["queue_url"])
    up(after[0], **after[1])
    assert [name for name in old if name not in machines(project)]
    assert job(project, job_id)["status"] == "FAILED"


def test_the_end_of_a_stack_waits_for_its_workers_and_says_so(project, up, start, caplog):
    caplog.set_level("INFO", "local.engine.program")
    up({})
    job_id = start(20)  # longer than the program takes to start on a busy machine
    project.engine().destroy(run_program=True)
    assert job(project, job_id)["status"] == "SUCCEEDED"
    assert re.search(
        rf"deployment small: waits up to \d+ s for {job_id} \(small-worker, RUNNING\)",
        caplog.text,
    )
    assert machines(project) == {}


def test_a_deployment_whose_messages_wait_is_refused_without_waiting_for_its_workers(
    project, up, start
):
    up({})
    start(600)
    told = project.engine().outputs()["deployments"]["small"]
    project.client("sqs").send_message(QueueUrl=told["queue_url"], MessageBody="more")
    with pytest.raises(HookError, match="holds 1 visible"):
        up({}, without=("small",))
    project.client("sqs").purge_queue(QueueUrl=told["queue_url"])


def test_children_of_an_array_job_are_found_on_their_machines(project, up):
    up({})
    batch = project.client("batch")
    told = project.engine().outputs()["deployments"]["small"]
    parent = batch.submit_job(
        jobName="small-worker",
        jobQueue=told["job_queue"],
        jobDefinition=told["job_definition"],
        arrayProperties={"size": 2},
        containerOverrides={"command": ["python", "-c", "import time; time.sleep(60)"]},
    )["jobId"]
    for child in range(2):
        project.cloud.events.wait_for(
            lambda event, child=child: (
                getattr(event, "job_id", "") == f"{parent}:{child}"
                and getattr(event, "status", "") == "RUNNING"
            ),
            seconds=60,
        )
    clusters = {
        each["computeEnvironmentName"].rpartition("-")[0]: each["ecsClusterArn"]
        for each in batch.describe_compute_environments()["computeEnvironments"]
    }
    mine = next(arn for name, arn in clusters.items() if name.startswith("small"))
    others = next(arn for name, arn in clusters.items() if name.startswith("other"))
    assert {each.id for each in workers.jobs_on(batch, mine)} == {f"{parent}:0", f"{parent}:1"}
    assert list(workers.jobs_on(batch, others)) == []
    assert [each.id for each in workers.jobs_in(batch, told["job_queue"])] == [parent]
    batch.terminate_job(jobId=parent, reason="the test is over")


# Decisions


@pytest.mark.parametrize(
    ("container", "runs"),
    [
        ({"taskArn": "arn:aws:ecs:us-east-1:123456789012:task/AWSBatch-small-1/ab"}, True),
        ({"taskArn": "arn:aws:ecs:us-east-1:123456789012:task/AWSBatch-small-11/ab"}, False),
        (
            {
                "containerInstanceArn": (
                    "arn:aws:ecs:us-east-1:123456789012:container-instance/AWSBatch-small-1/ab"
                )
            },
            True,
        ),
        ({}, False),
    ],
)
def test_a_job_runs_where_its_task_or_its_container_instance_says(container, runs):
    assert workers.runs_in(CLUSTER, {"container": container}) is runs


def test_a_job_without_a_container_runs_nowhere():
    assert workers.runs_in(CLUSTER, {}) is False


@pytest.mark.parametrize(
    ("counts", "waits"),
    [
        ({"visible": 1, "in flight": 0, "delayed": 0}, True),
        ({"visible": 0, "in flight": 0, "delayed": 1}, True),
        ({"visible": 0, "in flight": 2, "delayed": 0}, False),
        ({}, False),
    ],
)
def test_messages_that_a_worker_holds_do_not_count_as_waiting(counts, waits):
    assert workers.waits(counts) is waits


def test_a_refusal_names_twenty_jobs_and_counts_the_others():
    jobs = [Job(f"job-{number}", "small-worker", "RUNNING") for number in range(25)]
    said = workers.refusal("job queue small", jobs, 900, "eu-west-1")
    assert "after 900 s (taskpacks:drain_on_delete_seconds)" in said
    assert "job-19 (small-worker, RUNNING) and 5 more." in said
    assert "job-18 job-19; do aws batch terminate-job --region eu-west-1" in said
    assert "job-20" not in said


def test_waiting_ends_when_nothing_is_found_and_gives_what_is_left_when_time_is_over():
    looks = iter([["a", "b"], ["a"], []])
    told = []
    left = asyncio.run(workers.still(lambda: next(looks), 60, lambda *found: told.append(found)))
    assert left == []
    assert [found for found, _ in told] == [["a", "b"]]
    assert asyncio.run(workers.still(lambda: ["a"], 0)) == ["a"]
