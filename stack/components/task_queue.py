"""Where a deployment's messages wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi

from stack.components.json_text import as_json
from stack.components.secure_queue import only_over_tls, secure_queue
from taskpacks import limits

if TYPE_CHECKING:
    from stack.before_delete import Guards
    from taskpacks.types import Queue


class TaskQueue(pulumi.ComponentResource):
    """The task queue of a deployment, and where its hopeless messages end.

    Consists of: an SQS queue, and a dead-letter queue that keeps messages as long as SQS can;
    both encrypted, with policies that refuse plain HTTP. Neither is deleted while it holds
    messages.
    """

    arn: pulumi.Output[str]
    url: pulumi.Output[str]
    name: pulumi.Output[str]
    dead_letter_url: pulumi.Output[str]
    dead_letter_name: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        args: Queue,
        *,
        kms_key: str | None,
        guards: Guards,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("taskpacks:stack:TaskQueue", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        kept = pulumi.ResourceOptions(
            parent=self, hooks=pulumi.ResourceHookBinding(before_delete=[guards.messages])
        )
        dead = secure_queue(
            f"{name}-dead",
            kms_key=kms_key,
            message_retention_seconds=limits.MESSAGE_RETENTION_SECONDS_MAX,
            opts=kept,
        )
        queue = secure_queue(
            f"{name}-tasks",
            kms_key=kms_key,
            visibility_timeout_seconds=args.visibility_timeout_seconds,
            message_retention_seconds=args.retention_seconds,
            redrive_policy=as_json(
                dead.arn.apply(
                    lambda arn: {"deadLetterTargetArn": arn, "maxReceiveCount": args.max_receives}
                )
            ),
            opts=kept,
        )
        only_over_tls(f"{name}-dead", dead, opts=child)
        only_over_tls(f"{name}-tasks", queue, opts=child)
        self.arn = queue.arn
        self.url = queue.url
        self.name = queue.name
        self.dead_letter_url = dead.url
        self.dead_letter_name = dead.name
        self.register_outputs({"url": self.url, "dead_letter_url": self.dead_letter_url})
