"""Who may reach a queue, a topic or a bucket: their own policies, as pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stack.documents.iam import allow, document
from stack.documents.trust import CLOUDWATCH, EVENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.model import StackContext


def _refuse_plain_http(actions: str, arns: Sequence[str]) -> dict[str, Any]:
    """Denies everybody whatever comes without TLS, whoever else allows it."""
    return {
        "Effect": "Deny",
        "Principal": "*",
        "Action": [actions],
        "Resource": list(arns),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def queue(queue_arn: str, allowed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A queue's own policy: nobody without TLS, and whom the statements let in."""
    return document([_refuse_plain_http("sqs:*", [queue_arn]), *allowed])


def undelivered_events(queue_arn: str, rule_arns: Sequence[str]) -> dict[str, Any]:
    """Lets EventBridge put into a dead-letter queue what these rules could not deliver."""
    return allow(
        ["sqs:SendMessage"],
        [queue_arn],
        Principal={"Service": EVENTS},
        Condition={"ArnEquals": {"aws:SourceArn": list(rule_arns)}},
    )


def data_bucket(bucket_arn: str) -> dict[str, Any]:
    """The data bucket's own policy: nobody without TLS."""
    return document([_refuse_plain_http("s3:*", [bucket_arn, f"{bucket_arn}/*"])])


def publish_notices(topic_arn: str, context: StackContext) -> dict[str, Any]:
    """Lets the alarms and the rules of this account publish to the topic, over TLS only.

    CloudWatch says which alarm publishes, whose ARN has the account:
    https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
    EventBridge's documentation says that conditions on the source do not work in a topic's policy,
    so that another account that it names is refused, and a call that names none is allowed:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-troubleshooting.html
    """
    alarms = context.arn("cloudwatch", "alarm:*")
    rules = context.arn("events", "rule/*")
    return document(
        [
            allow(
                ["sns:Publish"],
                [topic_arn],
                Principal={"Service": CLOUDWATCH},
                Condition={"ArnLike": {"aws:SourceArn": alarms}},
            ),
            allow(
                ["sns:Publish"],
                [topic_arn],
                Principal={"Service": EVENTS},
                Condition={
                    "StringEqualsIfExists": {"aws:SourceAccount": context.account_id},
                    "ArnLikeIfExists": {"aws:SourceArn": rules},
                },
            ),
            _refuse_plain_http("sns:Publish", [topic_arn]),
        ]
    )
