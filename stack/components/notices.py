"""Notifies people when something in a stack is wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import pulumi
import pulumi_aws as aws

from stack.components.json_text import as_json
from stack.documents import key_policies, resource_policies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.model import StackContext

KEY_DELETION_DAYS: Final = 7
"""The shortest that KMS takes. What the key protects are notices that were sent long ago."""


def protocol(endpoint: str) -> Literal["email", "https"]:
    """How SNS reaches an address that `stack.settings` has let pass."""
    return "https" if endpoint.startswith("https://") else "email"


def subscription_name(topic: str, endpoint: str) -> str:
    """A logical name that stays the same when other addresses come and go, and shows none."""
    return f"{topic}-{hashlib.sha256(endpoint.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, kw_only=True)
class NoticesArgs:
    """Whom to tell, and with whose key.

    Attributes:
        subscriptions: E-mail addresses and https:// URLs.
        context: Its account's alarms and rules may publish. Its `kms_key` has a policy that lets
            CloudWatch and EventBridge use it; without one, the topic gets a key of its own.
    """

    subscriptions: Sequence[str]
    context: StackContext


class Notices(pulumi.ComponentResource):
    """One encrypted topic for all of a stack's alarms; give its ARN to `alarm_actions`.

    Consists of: an SNS topic with a policy that refuses plain HTTP, a subscription for each
    address, and a KMS key unless one is given: CloudWatch cannot publish to a topic that is
    encrypted with the key that AWS manages
    (https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns).
    """

    topic_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: NoticesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:Notices", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        topic = aws.sns.Topic(
            f"{name}-topic",
            kms_master_key_id=args.context.kms_key or self._key(name, args),
            opts=child,
        )
        aws.sns.TopicPolicy(
            f"{name}-topic",
            arn=topic.arn,
            policy=as_json(
                topic.arn.apply(lambda arn: resource_policies.publish_notices(arn, args.context))
            ),
            opts=child,
        )
        for endpoint in args.subscriptions:
            aws.sns.TopicSubscription(
                subscription_name(name, endpoint),
                topic=topic.arn,
                protocol=protocol(endpoint),
                # An address may hold a token, and is nobody's business in any case.
                endpoint=pulumi.Output.secret(str(endpoint)),
                opts=child,
            )
        self.topic_arn = topic.arn
        self.register_outputs({"topic_arn": self.topic_arn})

    def _key(self, name: str, args: NoticesArgs) -> pulumi.Output[str]:
        return aws.kms.Key(
            f"{name}-key",
            description="Taskpacks: notices on their way through SNS",
            enable_key_rotation=True,
            deletion_window_in_days=KEY_DELETION_DAYS,
            policy=as_json(key_policies.notices_key(args.context)),
            opts=pulumi.ResourceOptions(parent=self),
        ).arn
