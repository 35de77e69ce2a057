"""SQS: queues and their policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskpacks import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.preflight.rules.findings import Finding, Registration

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html
_NAME: Final = r"[A-Za-z0-9_-]+(\.fifo)?"
NAME_LENGTH: Final = 80
_DELAY_SECONDS_MAX: Final = 900
_WAIT_SECONDS_MAX: Final = 20
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_MESSAGE_BYTES_MIN: Final = 1024
_MESSAGE_BYTES_MAX: Final = 1024 * 1024
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
_POLICY_BYTES_MAX: Final = 8192
_POLICY_STATEMENTS_MAX: Final = 20
_POLICY_ACTIONS_MAX: Final = 7


def queue(each: Registration) -> Iterator[Finding]:
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html."""
    yield from each.named("name", _NAME, NAME_LENGTH, "a queue's name")
    yield from each.within("delaySeconds", 0, _DELAY_SECONDS_MAX, "a delay")
    yield from each.within(
        "maxMessageSize", _MESSAGE_BYTES_MIN, _MESSAGE_BYTES_MAX, "a message's size in bytes"
    )
    yield from each.within(
        "messageRetentionSeconds",
        limits.MESSAGE_RETENTION_SECONDS_MIN,
        limits.MESSAGE_RETENTION_SECONDS_MAX,
        "how long SQS keeps a message, in seconds,",
    )
    yield from each.within("receiveWaitTimeSeconds", 0, _WAIT_SECONDS_MAX, "a long poll")
    yield from each.within(
        "visibilityTimeoutSeconds", 0, limits.VISIBILITY_SECONDS_MAX, "a visibility time-out"
    )
    yield from each.json_object("redrivePolicy", None, "a redrive policy")
    redrive = each.document("redrivePolicy")
    if redrive is not None:
        receives = redrive.get("maxReceiveCount")
        if not redrive.get("deadLetterTargetArn") or not (
            isinstance(receives, int) and 1 <= receives <= limits.MAX_RECEIVES_MAX
        ):
            yield each.finding(
                "redrivePolicy",
                redrive,
                f"it names a dead-letter queue and 1 to {limits.MAX_RECEIVES_MAX} receives",
                "give both",
            )
    if each.get("sqsManagedSseEnabled") is False and each.get("kmsMasterKeyId") is None:
        yield each.finding(
            "sqsManagedSseEnabled", False, "messages are encrypted at rest", "switch it on"
        )


def queue_policy(policy: Registration) -> Iterator[Finding]:
    """Checks what SQS takes as a queue's policy."""
    yield from policy.json_object("policy", _POLICY_BYTES_MAX, "a queue's policy")
    given = (policy.document("policy") or {}).get("Statement", [])
    statements: list[dict[str, Any]] = given if isinstance(given, list) else [given]
    if len(statements) > _POLICY_STATEMENTS_MAX:
        yield policy.finding(
            "policy",
            f"{len(statements)} statements",
            f"SQS takes at most {_POLICY_STATEMENTS_MAX}",
            "merge some",
        )
    for statement in statements:
        actions = statement.get("Action", [])
        if isinstance(actions, list) and len(actions) > _POLICY_ACTIONS_MAX:
            yield policy.finding(
                "policy",
                f"{len(actions)} actions in one statement",
                f"SQS takes at most {_POLICY_ACTIONS_MAX}",
                "spread them over several statements",
            )


RULES: Final = {
    "aws:sqs/queue:Queue": queue,
    "aws:sqs/queuePolicy:QueuePolicy": queue_policy,
}
