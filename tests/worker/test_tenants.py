"""A message's tenant (MessageGroupId) is that of what its task sends, and of its dead letter."""

import json
import time

import boto3
import pytest
from celery import chain, chord, signature

from taskpacks.cancel import cancel
from taskpacks.contract import ExitCode

TENANT = "customer-7"
NOTES = "notes"


@pytest.fixture
def notes(site):
    """The address of the queue of another deployment, whose worker never comes."""
    return site.sqs.create_queue(QueueName=f"{site.name}-notes")["QueueUrl"]


@pytest.fixture
def start(site, notes):
    """Starts a worker that may send there."""
    parameter = f"/{site.name}/producer"
    document = {"broker_transport_options": {"predefined_queues": {NOTES: {"url": notes}}}}
    boto3.client("ssm").put_parameter(Name=parameter, Value=json.dumps(document), Type="String")
    routes = json.dumps({site.name: ["probe.*"], NOTES: ["notes.*"]})

    def start(**changes):
        return site.start(TASKPACKS_ROUTES=routes, TASKPACKS_ADDRESSES=parameter, **changes)

    return start


def sent(site, url):
    """The tasks whose messages are in a queue, each with its tenant."""
    found = []
    while messages := site.sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["MessageGroupId"]
    ).get("Messages", []):
        for message in messages:
            task = json.loads(message["Body"])["headers"]["task"]
            found.append((task, message["Attributes"].get("MessageGroupId")))
    return sorted(found, key=str)


def task(site, name, *args, **options):
    return signature(name, args=args, app=site.producer, **options)


@pytest.mark.parametrize("tenant", [TENANT, None])
def test_what_follows_a_task_belongs_to_its_tenant(site, notes, start, journal, tenant):
    group = {"MessageGroupId": tenant} if tenant else {}
    note = [task(site, "notes.note", name) for name in ("chain", "link", "chord", "error")]
    chain(task(site, "probe.add", 1, 1), note[0]).apply_async(**group)
    task(site, "probe.add", 1, 1, link=note[1]).apply_async(**group)
    chord([task(site, "probe.add", 1, 1).set(**group)] * 2, note[2]).apply_async()
    task(site, "probe.refuse", "x", link_error=note[3]).apply_async(**group)
    assert start().wait() == ExitCode.DRAINED
    assert sent(site, notes) == [("notes.note", tenant)] * 4
    assert sent(site, site.dead_url) == [("probe.refuse", tenant)]


def test_a_retry_belongs_to_the_tasks_tenant(site, start, proxy, journal):
    retried = task(site, "probe.again", str(journal), 2).apply_async(MessageGroupId=TENANT)
    worker = start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="4")
    assert worker.wait() == ExitCode.DRAINED
    assert retried.get(timeout=10) == 2
    sends = [call.parameters for call in proxy.calls if call.action == "SendMessage"]
    assert [each.get("MessageGroupId") for each in sends] == [TENANT, TENANT]


def test_a_tenant_that_a_task_names_itself_is_left_as_it_is(site, notes, start):
    other = task(site, "notes.note", "x").set(MessageGroupId="another")
    chain(task(site, "probe.add", 1, 1), other).apply_async(MessageGroupId=TENANT)
    assert start().wait() == ExitCode.DRAINED
    assert sent(site, notes) == [("notes.note", "another")]


def test_a_body_that_names_a_tenant_is_not_believed(site, notes, start):
    body = chain(task(site, "probe.add", 1, 1), task(site, "notes.note", "x"))
    body.apply_async(MessageGroupId=TENANT)
    (message,) = site.sqs.receive_message(QueueUrl=site.url)["Messages"]
    site.sqs.delete_message(QueueUrl=site.url, ReceiptHandle=message["ReceiptHandle"])
    assert json.loads(message["Body"])["properties"]["MessageGroupId"] == TENANT
    site.send_text(message["Body"])
    assert start().wait() == ExitCode.DRAINED
    assert sent(site, notes) == [("notes.note", None)]


def test_the_errback_of_a_task_whose_process_was_killed_belongs_to_its_tenant(site, notes, start):
    killed = task(site, "probe.kill", link_error=task(site, "notes.note", "error"))
    killed.apply_async(MessageGroupId=TENANT)
    assert start(TASKPACKS_MAX_ATTEMPTS="1").wait() == ExitCode.DRAINED
    assert sent(site, notes) == [("notes.note", TENANT)]


@pytest.mark.parametrize("runs", [False, True])
def test_the_errback_of_a_chord_belongs_to_the_tenant_of_its_cancelled_part(
    site, notes, start, journal, runs
):
    site.configure_queue(lease_seconds=10)
    part = task(site, "probe.sleep", 40, str(journal), "s")
    body = task(site, "notes.body").on_error(task(site, "notes.error"))
    chord([part.set(MessageGroupId=TENANT, task_id="part")], body).apply_async()
    if runs:
        worker = start()
        while not journal.lines("begin"):
            time.sleep(0.1)
    cancel(boto3.client("dynamodb"), f"{site.name}-results", site.name, "part")
    if not runs:
        worker = start()
    assert worker.wait() == ExitCode.DRAINED
    assert sent(site, notes) == [("notes.error", TENANT)]
