"""The worker's role allows what a real worker does: moto checks no permissions, this does."""

from fnmatch import fnmatchcase

import pytest
from celery import Celery
from celery.result import AsyncResult

from stack.documents import policies
from taskpacks import Permissions
from taskpacks.contract import ExitCode, attempts_key, cancels_key
from tests.stack.contexts import CONTEXT

TABLE = "arn:table"


def policy_of(deployment):
    return policies.worker(
        "arn:queue",
        TABLE,
        "arn:data",
        Permissions(),
        deployment=deployment,
        context=CONTEXT,
    )


def may_use(document, key, action="dynamodb:GetItem"):
    """Whether a policy lets its role at an item of the result table."""
    return any(
        fnmatchcase(key, pattern)
        for each in document["Statement"]
        if each["Resource"] == [TABLE] and action in each["Action"]
        for pattern in each["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
    )


def test_the_workers_role_allows_every_call_of_a_real_worker(site, proxy, tmp_path):
    site.send("add", left=1, right=1)
    site.send("refuse", value=1)
    site.send("fail")
    site.send("nonsense")
    site.send("again", journal=str(tmp_path / "journal"), times=2)
    with site.worker(**site.through(proxy), TASKPACKS_IDLE_SECONDS="4") as worker:
        assert worker.wait(60) == ExitCode.DRAINED
    # SQS asks for the same permission, whether one message is deleted or several:
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    asked = {action.removesuffix("Batch") for action in proxy.actions}
    document = policy_of(site.name)
    allowed = {action for each in document["Statement"] for action in each["Action"]}
    assert asked <= {action.partition(":")[2] for action in allowed}
    # It retried a task, counted attempts, and stored why it refused one.
    assert {"SendMessage", "UpdateItem", "ConditionCheckItem"} <= asked
    assert proxy.keys
    assert [key for key in proxy.keys if not may_use(document, key)] == []
    attempts = {key for key in proxy.keys if not key.startswith("b'")}
    assert attempts
    assert not [key for key in attempts if may_use(policy_of("another"), key)]


@pytest.mark.parametrize("other", ["pi-urgent", "p", "pi_2"])
def test_no_deployment_reaches_what_another_counts(other):
    assert may_use(policy_of("pi"), attempts_key("pi", "id"))
    assert not may_use(policy_of("pi"), attempts_key(other, "id"))
    assert not may_use(policy_of(other), attempts_key("pi", "id"))


def test_a_producer_reads_results_and_no_counts():
    document = policies.producer(["arn:queue"], TABLE, deployments="pi", context=CONTEXT)
    assert may_use(document, "b'celery-task-meta-id'")
    assert not may_use(document, attempts_key("pi", "id"))


def test_a_producer_writes_the_marks_of_its_own_deployment_alone():
    document = policies.producer(["arn:queue"], TABLE, deployments="pi", context=CONTEXT)
    update = "dynamodb:UpdateItem"
    assert may_use(document, attempts_key("pi", "id"), update)
    assert may_use(document, cancels_key("pi"), update)
    assert not may_use(document, attempts_key("pi-urgent", "id"), update)
    assert not may_use(document, "b'celery-task-meta-id'", update)
    (statement,) = [each for each in document["Statement"] if update in each["Action"]]
    attributes = statement["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"]
    assert attributes == ["id", "cancelled", "latest", "ttl"]


def test_results_under_a_deployments_own_keys_would_be_found_by_no_application(site):
    """Why the keys of results carry no deployment: docs/adr/0016-one-result-table.md."""
    backend = site.producer.conf.result_backend
    deployment = Celery("worker", set_as_current=False)
    deployment.conf.update(
        result_backend=backend, result_backend_transport_options={"global_keyprefix": "pi."}
    )
    deployment.backend.store_result("id", 42, "SUCCESS")
    assert AsyncResult("id", app=deployment).state == "SUCCESS"
    assert AsyncResult("id", app=site.producer).state == "PENDING"
