"""Gives every SQS queue of a stack encryption at rest, and refuses plain HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from stack.components.json_text import as_json
from stack.documents import resource_policies

if TYPE_CHECKING:
    from collections.abc import Sequence


def secure_queue(
    name: str, *, kms_key: str | None, opts: pulumi.ResourceOptions, **properties: Any
) -> aws.sqs.Queue:
    """A queue that is encrypted: with SQS's own key, or with the operator's.

    Args:
        name: Its logical name.
        kms_key: ARN of the operator's key; None leaves keys to SQS.
        opts: The resource's options.
        properties: Further properties of the queue.
    """
    encryption: dict[str, Any] = (
        {"kms_master_key_id": kms_key} if kms_key else {"sqs_managed_sse_enabled": True}
    )
    return aws.sqs.Queue(name, **encryption, **properties, opts=opts)


def only_over_tls(
    name: str,
    queue: aws.sqs.Queue,
    *,
    opts: pulumi.ResourceOptions,
    allowed: pulumi.Input[Sequence[dict[str, Any]]] = (),
) -> None:
    """Gives a queue its one policy: TLS for everybody, and the statements given beside.

    Args:
        name: The policy's logical name.
        queue: Whose policy it is.
        opts: The resource's options.
        allowed: Statements that let others than this account's roles in.
    """
    aws.sqs.QueuePolicy(
        name,
        queue_url=queue.url,
        policy=as_json(
            pulumi.Output.all(queue.arn, allowed).apply(
                lambda known: resource_policies.queue(known[0], known[1])
            )
        ),
        opts=opts,
    )
