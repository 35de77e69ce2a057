"""The rights of the doorman, and of those who may wake it."""

import pytest

from stack.documents import policies, scaling_policies
from taskpacks.contract import SENT_DETAIL_TYPE, sent_source
from tests.stack.contexts import CONTEXT
from tests.stack.iam import allows

OURS = {"taskpacks:stack": CONTEXT.stack}
LOG = CONTEXT.arn("logs", "log-group:doorman")
QUEUE = CONTEXT.arn("sqs", "pi-tasks-0123abc")
MACHINE = CONTEXT.arn("states", "stateMachine:pi-controller-0123abc")
JOB_QUEUE = CONTEXT.arn("batch", "job-queue/pi-jobs-fargate-0123abc")
DEFINITION = CONTEXT.arn("batch", "job-definition/pi-worker-0123abc")
RECORDS = CONTEXT.arn("ssm", f"parameter/taskpacks/{CONTEXT.stack}/deployments")


def doorman(*modes):
    return scaling_policies.doorman(LOG, modes, context=CONTEXT)


def tagged(document, action, resource, **tags):
    context = {f"ResourceTag/{key}": value for key, value in (tags or OURS).items()}
    return allows(document, action, resource, **context)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("sqs:GetQueueAttributes", QUEUE),
        ("states:ListExecutions", MACHINE),
        ("states:StartExecution", MACHINE),
    ],
)
def test_it_counts_and_starts_what_has_the_stacks_tag_and_nothing_else(action, resource):
    document = doorman("controller")
    assert tagged(document, action, resource)
    assert not allows(document, action, resource)
    assert not tagged(document, action, resource, **{"taskpacks:stack": "another"})


def test_it_reads_the_records_of_this_stack_and_no_other_parameter():
    document = doorman("controller")
    assert allows(document, "ssm:GetParametersByPath", RECORDS)
    for other in (f"{RECORDS}-of-another", CONTEXT.producer_parameter_arn):
        assert not allows(document, "ssm:GetParametersByPath", other)


def test_it_submits_jobs_only_where_a_deployment_is_in_mode_alarms():
    both = doorman("controller", "alarms")
    for resource in (JOB_QUEUE, DEFINITION):
        assert tagged(both, "batch:SubmitJob", resource)
        assert not allows(both, "batch:SubmitJob", resource)
        assert not tagged(doorman("controller"), "batch:SubmitJob", resource)
    assert not tagged(doorman("alarms"), "states:StartExecution", MACHINE)


def test_it_may_do_all_that_it_does_and_no_more():
    asked = {
        action
        for statement in doorman("controller", "alarms")["Statement"]
        for action in statement["Action"]
    }
    assert asked == {
        "ssm:GetParametersByPath",
        "ssm:GetParameters",
        "sqs:GetQueueAttributes",
        "states:ListExecutions",
        "states:StartExecution",
        "batch:ListJobs",
        "batch:SubmitJob",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }


BUS = CONTEXT.arn("events", "event-bus/sends-0123abc")


def may_put(source, detail_type=SENT_DETAIL_TYPE, *, deployments="pi", bus=BUS):
    document = policies.producer(
        [QUEUE], "table", deployments=deployments, bus_arn=bus, context=CONTEXT
    )
    context = {"source": source, "detail-type": detail_type}
    return allows(document, "events:PutEvents", BUS, **context)


def test_a_sender_may_say_that_it_has_sent_to_its_own_deployment_and_nothing_else():
    assert may_put(sent_source("pi"))
    assert not may_put(sent_source("sort"))
    assert not may_put(sent_source("pi"), "Order Placed")
    assert not may_put("aws.events")
    assert not may_put(sent_source("pi"), bus=None)


def test_a_sender_to_all_deployments_may_say_so_of_each():
    assert may_put(sent_source("sort"), deployments="*")
    assert not may_put("shop.orders", deployments="*")
