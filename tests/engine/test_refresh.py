"""Drift: refresh records it, up repairs it."""

from __future__ import annotations

from local.engine import Action
from tests.engine.conftest import urn

QUEUE = "aws:sqs/queue:Queue"
PROGRAM = """
queue = aws.sqs.Queue("work", visibility_timeout_seconds=60, tags={"a": "1"})
other = aws.sqs.Queue("other", tags={"of": queue.arn})
pulumi.export("url", queue.url)
"""


def test_drift_is_recorded_by_refresh_and_repaired_by_up(project):
    engine = project.write(PROGRAM)
    url = engine.up().outputs["url"]
    sqs = project.client("sqs")
    sqs.set_queue_attributes(
        QueueUrl=url, Attributes={"VisibilityTimeout": "5", "DelaySeconds": "9"}
    )
    sqs.tag_queue(QueueUrl=url, Tags={"b": "2"})
    assert not engine.up().changed  # nobody looked
    drift = engine.refresh().changes[urn(QUEUE, "work")]
    assert drift.action is Action.UPDATED
    assert drift.properties == ("delaySeconds", "tags", "visibilityTimeoutSeconds")
    assert not engine.refresh().changed
    (repaired,) = engine.up().changed
    assert repaired.properties == drift.properties
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (answer["VisibilityTimeout"], answer["DelaySeconds"]) == ("60", "0")
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "1"}
    assert not engine.refresh().changed


def test_what_somebody_deleted_is_forgotten_by_refresh_and_made_again_by_up(project):
    engine = project.write(PROGRAM)
    url = engine.up().outputs["url"]
    project.client("sqs").delete_queue(QueueUrl=url)
    refreshed = engine.refresh()
    assert [(str(change.action), change.urn) for change in refreshed.changed] == [
        ("deleted", urn(QUEUE, "work"))
    ]
    summary = engine.up()
    assert summary.changes[urn(QUEUE, "work")].action is Action.CREATED
    assert summary.changes[urn(QUEUE, "other")].action is Action.UPDATED
    assert len(project.client("sqs").list_queues()["QueueUrls"]) == 2


def test_destroy_takes_what_is_gone_already_for_deleted(project):
    engine = project.write(PROGRAM)
    url = engine.up().outputs["url"]
    project.client("sqs").delete_queue(QueueUrl=url)
    assert engine.destroy().counts == {Action.DELETED: 3}


def test_a_table_under_a_key_of_your_own_has_not_drifted(project):
    key = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    engine = project.write(f"""
aws.dynamodb.Table(
    "it",
    hash_key="id",
    attributes=[{{"name": "id", "type": "S"}}],
    billing_mode="PAY_PER_REQUEST",
    server_side_encryption={{"enabled": True, "kms_key_arn": "{key}"}},
)
""")
    engine.up()
    assert not engine.refresh().changed
