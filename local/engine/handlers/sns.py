"""SNS: topics, who may use them, and who hears what is said there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.cloud import ACCOUNT_ID
from local.engine.handlers.base import (
    AutoName,
    Handler,
    Resource,
    Update,
    Values,
    only,
    tag_list,
    tag_map,
    tagged,
    without,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class Topic(Handler):
    """A topic. Its id is its ARN."""

    resource_type = "aws:sns/topic:Topic"
    service = "sns"
    auto_name = AutoName(max_length=256)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(replaces=True),
        "displayName": Property(default=""),
        "kmsMasterKeyId": Property(default=""),
        "policy": Property(json=True, default=""),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        return cloud.client("sns").create_topic(
            Name=inputs["name"],
            Attributes=self.api(without(inputs, "name", "tags")),
            Tags=tag_list(inputs.get("tags")),
        )["TopicArn"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        sns = cloud.client("sns")
        values = self.wire(sns.get_topic_attributes(TopicArn=resource.id)["Attributes"])
        if "policy" not in resource.inputs:
            values.pop("policy", None)  # managed by a resource of its own, or AWS's default
        tags = sns.list_tags_for_resource(ResourceArn=resource.id)["Tags"]
        return {
            **values,
            **tagged(tag_map(tags)),
            "name": resource.id.rpartition(":")[2],
            "arn": resource.id,
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        for name, value in self.wanted(change.new, change.changed).items():
            _set_attribute(cloud, change.id, name, value)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("sns").delete_topic(TopicArn=resource.id)


def _set_attribute(cloud: Cloud, topic: str, name: str, value: str) -> None:
    cloud.client("sns").set_topic_attributes(
        TopicArn=topic, AttributeName=name, AttributeValue=value
    )


class TopicSubscription(Handler):
    """A subscription. Its id is its ARN. Who reads an e-mail address must still confirm it."""

    resource_type = "aws:sns/topicSubscription:TopicSubscription"
    service = "sns"
    properties: ClassVar[Mapping[str, Property]] = {
        "topic": Property(api="TopicArn", replaces=True),
        "endpoint": Property(replaces=True, secret=True),
        "protocol": Property(replaces=True),
        "filterPolicy": Property(json=True, default=""),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        return cloud.client("sns").subscribe(
            **self.api(without(inputs, "filterPolicy")),
            Attributes=self.api(only(inputs, ["filterPolicy"])),
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        answer = cloud.client("sns").get_subscription_attributes(SubscriptionArn=resource.id)
        return {**self.wire(answer["Attributes"]), "arn": resource.id}

    def modify(self, cloud: Cloud, change: Update) -> None:
        for name, value in self.wanted(change.new, change.changed).items():
            cloud.client("sns").set_subscription_attributes(
                SubscriptionArn=change.id, AttributeName=name, AttributeValue=value
            )

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("sns").unsubscribe(SubscriptionArn=resource.id)


class TopicPolicy(Handler):
    """Who may use a topic. Its id is the topic's ARN."""

    resource_type = "aws:sns/topicPolicy:TopicPolicy"
    service = "sns"
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "arn": Property(replaces=True),
        "policy": Property(json=True, exact=True),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        _set_attribute(cloud, inputs["arn"], "Policy", inputs["policy"])
        return inputs["arn"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        """A topic always has a policy."""
        attributes = cloud.client("sns").get_topic_attributes(TopicArn=resource.id)["Attributes"]
        return {"arn": resource.id, "policy": attributes["Policy"]}

    def modify(self, cloud: Cloud, change: Update) -> None:
        self.create(cloud, change.new)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        """Goes back to what SNS gives a new topic: its owner may do everything."""
        owners = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "owner",
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"},
                    "Action": ["SNS:Publish", "SNS:Subscribe", "SNS:GetTopicAttributes"],
                    "Resource": resource.id,
                }
            ],
        }
        _set_attribute(cloud, resource.id, "Policy", json.dumps(owners))
