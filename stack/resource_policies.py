"""Who may reach a queue, a topic, a bucket or a key: their own policies, as pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stack.policies import CLOUDWATCH, EVENTS, allow, document

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def publish_notices(topic_arn: str, account_id: str, partition: str) -> dict[str, Any]:
    """Lets the alarms and the rules of this account publish to the topic, over TLS only."""
    region = topic_arn.split(":")[3]
    sources = (
        (CLOUDWATCH, f"arn:{partition}:cloudwatch:{region}:{account_id}:alarm:*"),
        (EVENTS, f"arn:{partition}:events:{region}:{account_id}:rule/*"),
    )
    return document(
        [
            *(
                allow(
                    ["sns:Publish"],
                    [topic_arn],
                    Principal={"Service": service},
                    Condition={"ArnLike": {"aws:SourceArn": source}},
                )
                for service, source in sources
            ),
            _refuse_plain_http("sns:Publish", [topic_arn]),
        ]
    )


def notices_key(account_id: str, partition: str) -> dict[str, Any]:
    """A KMS key whose use the account's own IAM policies settle, and that SNS's senders may use.

    In a key's policy the resource "*" is the key itself:
    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
    The services' statement has no condition on the source: who may publish is settled by the
    topic's policy, and a notice that KMS refuses would be lost without a word.
    """
    return document(
        [
            allow(["kms:*"], ["*"], Principal={"AWS": f"arn:{partition}:iam::{account_id}:root"}),
            allow(
                ["kms:Decrypt", "kms:GenerateDataKey*"],
                ["*"],
                Principal={"Service": [CLOUDWATCH, EVENTS]},
            ),
        ]
    )
