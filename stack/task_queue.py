"""Where a deployment's messages wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from taskpacks import limits

if TYPE_CHECKING:
    from taskpacks.types import Queue


class TaskQueue(pulumi.ComponentResource):
    """The task queue of a deployment, and where its hopeless messages end.

    Consists of: an SQS queue, and a dead-letter queue that keeps messages as long as SQS can.
    """

    arn: pulumi.Output[str]
    url: pulumi.Output[str]
    name: pulumi.Output[str]
    dead_letter_url: pulumi.Output[str]

    def __init__(self, name: str, args: Queue, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("taskpacks:stack:TaskQueue", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        dead = aws.sqs.Queue(
            f"{name}-dead",
            message_retention_seconds=limits.MESSAGE_RETENTION_SECONDS_MAX,
            sqs_managed_sse_enabled=True,
            opts=child,
        )
        queue = aws.sqs.Queue(
            f"{name}-tasks",
            visibility_timeout_seconds=args.visibility_timeout_seconds,
            message_retention_seconds=args.retention_seconds,
            sqs_managed_sse_enabled=True,
            redrive_policy=pulumi.Output.json_dumps(
                {"deadLetterTargetArn": dead.arn, "maxReceiveCount": args.max_receives}
            ),
            opts=child,
        )
        self.arn = queue.arn
        self.url = queue.url
        self.name = queue.name
        self.dead_letter_url = dead.url
        self.register_outputs({"url": self.url, "dead_letter_url": self.dead_letter_url})
