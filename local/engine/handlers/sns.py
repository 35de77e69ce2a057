"""SNS: topics, who may use them, and who hears what is said there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.cloud import ACCOUNT_ID
from local.engine.handlers.base import (
    AutoName,
    Handler,
    Update,
    Values,
    dropped_tags,
    tag_list,
    tag_map,
    tagged,
    without,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_FIFO_SUFFIX: Final = ".fifo"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _typed(text: str) -> Any:
    return text == "true" if text in ("true", "false") else text


class Topic(Handler):
    """A topic. Its id is its ARN."""

    resource_type = "aws:sns/topic:Topic"
    auto_name = AutoName(max_length=256)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(replaces=True),
        "contentBasedDeduplication": Property(default=False),
        "deliveryPolicy": Property(json=True, default=""),
        "displayName": Property(default=""),
        "fifoTopic": Property(replaces=True, default=False),
        "kmsMasterKeyId": Property(default=""),
        "policy": Property(json=True, default=""),
        "signatureVersion": Property(default="1"),
        "tracingConfig": Property(default="PassThrough"),
        "tags": TAGS,
        "region": REGION,
    }

    def name_suffix(self, inputs: Mapping[str, Any]) -> str:
        """Returns the ending that SNS requires of a FIFO topic's name."""
        return _FIFO_SUFFIX if inputs.get("fifoTopic") else ""

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the topic with all its attributes."""
        attributes = self.api(without(inputs, "name", "tags"))
        return cloud.client("sns").create_topic(
            Name=inputs["name"],
            Attributes={name: _as_text(value) for name, value in attributes.items()},
            Tags=tag_list(inputs.get("tags")),
        )["TopicArn"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads attributes and tags."""
        sns = cloud.client("sns")
        attributes = sns.get_topic_attributes(TopicArn=resource_id)["Attributes"]
        values = {name: _typed(text) for name, text in self.wire(attributes).items()}
        if "policy" not in inputs:
            values.pop("policy", None)  # managed by a resource of its own, or AWS's default
        tags = sns.list_tags_for_resource(ResourceArn=resource_id)["Tags"]
        return {
            **values,
            **tagged(tag_map(tags)),
            "name": resource_id.rpartition(":")[2],
            "arn": resource_id,
            "owner": attributes.get("Owner", ACCOUNT_ID),
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Sets the changed attributes, each with a call of its own."""
        sns = cloud.client("sns")
        wanted = self.wanted(change.new, change.changed - {"tags"})
        for name, value in self.api(wanted).items():
            sns.set_topic_attributes(
                TopicArn=change.id, AttributeName=name, AttributeValue=_as_text(value)
            )
        if "tags" in change.changed:
            if dropped := dropped_tags(change):
                sns.untag_resource(ResourceArn=change.id, TagKeys=dropped)
            if tags := change.new.get("tags"):
                sns.tag_resource(ResourceArn=change.id, Tags=tag_list(tags))
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the topic with its subscriptions."""
        del inputs, outputs
        cloud.client("sns").delete_topic(TopicArn=resource_id)


class TopicSubscription(Handler):
    """A subscription. Its id is its ARN."""

    resource_type = "aws:sns/topicSubscription:TopicSubscription"
    properties: ClassVar[Mapping[str, Property]] = {
        "topic": Property(api="TopicArn", replaces=True),
        "endpoint": Property(replaces=True, secret=True),
        "protocol": Property(replaces=True),
        "confirmationTimeoutInMinutes": Property(engine_only=True, default=1),
        "deliveryPolicy": Property(json=True, default=""),
        "endpointAutoConfirms": Property(engine_only=True, default=False),
        "filterPolicy": Property(json=True, default=""),
        "filterPolicyScope": Property(default="MessageAttributes"),
        "rawMessageDelivery": Property(default=False),
        "redrivePolicy": Property(json=True, default=""),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Subscribes; an e-mail address must still be confirmed by who reads it."""
        attributes = self.api(without(inputs, "topic", "endpoint", "protocol"))
        return cloud.client("sns").subscribe(
            TopicArn=inputs["topic"],
            Protocol=inputs["protocol"],
            Endpoint=inputs["endpoint"],
            Attributes={name: _as_text(value) for name, value in attributes.items()},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads its attributes."""
        del inputs
        attributes = cloud.client("sns").get_subscription_attributes(SubscriptionArn=resource_id)[
            "Attributes"
        ]
        values = {name: _typed(text) for name, text in self.wire(attributes).items()}
        return {
            **values,
            "arn": resource_id,
            "ownerId": attributes.get("Owner", ACCOUNT_ID),
            "pendingConfirmation": attributes.get("PendingConfirmation") == "true",
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Sets the changed attributes, each with a call of its own."""
        wanted = self.api(self.wanted(change.new, change.changed))
        for name, value in wanted.items():
            cloud.client("sns").set_subscription_attributes(
                SubscriptionArn=change.id, AttributeName=name, AttributeValue=_as_text(value)
            )
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Ends the subscription."""
        del inputs, outputs
        cloud.client("sns").unsubscribe(SubscriptionArn=resource_id)


class TopicPolicy(Handler):
    """Who may use a topic. Its id is the topic's ARN."""

    resource_type = "aws:sns/topicPolicy:TopicPolicy"
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "arn": Property(replaces=True),
        "policy": Property(json=True, exact=True),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Sets the topic's policy attribute."""
        self._put(cloud, inputs["arn"], inputs["policy"])
        return inputs["arn"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads it; a topic always has one."""
        del inputs
        attributes = cloud.client("sns").get_topic_attributes(TopicArn=resource_id)["Attributes"]
        return {"arn": resource_id, "policy": attributes["Policy"], "owner": attributes["Owner"]}

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces it."""
        self._put(cloud, change.id, change.new["policy"])
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Goes back to what SNS gives a new topic: its owner may do everything."""
        del inputs, outputs
        self._put(cloud, resource_id, json.dumps(_owners_policy(resource_id)))

    @staticmethod
    def _put(cloud: Cloud, arn: str, policy: str) -> None:
        cloud.client("sns").set_topic_attributes(
            TopicArn=arn, AttributeName="Policy", AttributeValue=policy
        )


def _owners_policy(arn: str) -> Values:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "owner",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"},
                "Action": ["SNS:Publish", "SNS:Subscribe", "SNS:GetTopicAttributes"],
                "Resource": arn,
            }
        ],
    }
