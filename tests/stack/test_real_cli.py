"""One life of one stack with the real engine: the program as it is, a cloud on this machine."""

import re

import pytest
from pulumi import automation

from tests.stack.engines import RealStack
from tests.stack.inventory import STORES, inventory

pytestmark = pytest.mark.timeout(600)


def settings(packs):
    return {"aws:region": "us-east-1", "taskpacks:egress": "public", "taskpacks:packs": packs}


def packs(**scaling):
    return {
        "pi": {"scaling": {"mode": "controller"}},
        "pi-small": {"pack": "pi", "scaling": {"mode": "alarms", **scaling}},
    }


@pytest.fixture
def stack(tmp_path, cloud):
    made = RealStack(tmp_path, "real", cloud.endpoint_url)
    made.select(settings(packs()))
    return made


def start_a_job(stack, told, seconds):
    return stack.client("batch").submit_job(
        jobName="worker",
        jobQueue=told["job_queue"],
        jobDefinition=told["job_definition"],
        containerOverrides={"command": ["python", "-c", f"import time; time.sleep({seconds})"]},
    )["jobId"]


def urns(stack):
    return {each["urn"] for each in stack.stack.export_stack().deployment["resources"]}


def gone_by_refused_destroy(stack):
    """Names what a `destroy` has deleted that was refused because of a message."""
    url = stack.outputs()["deployments"]["pi"]["queue_url"]
    stack.client("sqs").send_message(QueueUrl=url, MessageBody="work")
    deployed = urns(stack)
    with pytest.raises(automation.errors.CommandError, match=r"holds 1 visible"):
        stack.destroy()
    stack.client("sqs").purge_queue(QueueUrl=url)
    return {each.rpartition("::")[2] for each in deployed - urns(stack)}


def test_the_real_engine_makes_keeps_changes_and_ends_a_stack(stack):
    before = inventory(stack.client)
    expected = stack.preview()
    made = stack.up()
    assert sorted(made) == sorted(expected)
    assert {each.split()[0] for each in made} == {"create"}
    assert {kind.partition("/")[0] for kind, _ in inventory(stack.client) - before} >= {
        "aws:batch",
        "aws:lambda",
        "aws:sfn",
        "aws:sqs",
    }
    assert stack.up() == []

    stack.select(settings(packs(low_depth=7)))
    assert stack.up() == ["update MetricAlarm pi-small-depth-low"]
    alarms = stack.client("cloudwatch").describe_alarms(AlarmNamePrefix="pi-small-depth-low")
    assert [alarm["Threshold"] for alarm in alarms["MetricAlarms"]] == [7]
    assert stack.refresh() == []

    sqs = stack.client("sqs")
    told = stack.outputs()["deployments"]["pi-small"]
    url = told["queue_url"]
    sqs.send_message(QueueUrl=url, MessageBody="work")
    stack.select(settings({"pi": packs()["pi"]}))
    with pytest.raises(automation.errors.CommandError, match=r"holds 1 visible"):
        stack.up()
    assert [each for each in inventory(stack.client) if "pi-small-depth-low" in each[1]]
    sqs.purge_queue(QueueUrl=url)
    job_id = start_a_job(stack, told, seconds=30)  # longer than the program takes to start
    stack.up()
    (job,) = stack.client("batch").describe_jobs(jobs=[job_id])["jobs"]
    assert job["status"] == "SUCCEEDED"
    assert re.search(rf"deployment pi-small: waits up to \d+ s for {job_id}", "".join(stack.log))
    # Its bucket stays.
    assert {kind for kind, name in inventory(stack.client) if "pi-small" in name} < STORES

    with pytest.raises(automation.errors.CommandError, match="run-program"):
        stack.destroy(run_program=False)
    iam, policy = stack.client("iam"), stack.outputs()["producer_policy"]
    iam.create_role(RoleName="shop", AssumeRolePolicyDocument="{}")
    iam.attach_role_policy(RoleName="shop", PolicyArn=policy)
    deployed = {each for each in inventory(stack.client) if "pi-" in each[1]}
    with pytest.raises(
        automation.errors.CommandError, match=r"detach-role-policy --role-name shop"
    ):
        stack.destroy()
    assert deployed <= inventory(stack.client)
    iam.detach_role_policy(RoleName="shop", PolicyArn=policy)
    iam.delete_role(RoleName="shop")
    # The policy that no application has any more is deleted before messages are asked about.
    assert gone_by_refused_destroy(stack) == {"producer-policy"}
    ended = stack.destroy()
    assert {each.split()[0] for each in ended} == {"delete"}
    left = inventory(stack.client) - before
    said = "".join(stack.log)
    assert {kind for kind, _ in left} == STORES
    assert [name for _, name in left if f"The bucket {name} is kept" in said]
    assert [name for _, name in left if f"delete-table --table-name {name} " in said]
