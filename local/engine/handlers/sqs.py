"""SQS: queues and their access policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Resource,
    Tagging,
    Update,
    Values,
    tagged,
    without,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_MAX_MESSAGE_SIZE_BYTES: Final = 262144


class Queue(Handler):
    """A queue. Its id is its URL."""

    resource_type = "aws:sqs/queue:Queue"
    service = "sqs"
    auto_name = AutoName(max_length=80)
    tagging = Tagging(noun="queue", subject="queueUrl", shape=dict)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="QueueName", replaces=True),
        "delaySeconds": Property(default=0),
        "kmsDataKeyReusePeriodSeconds": Property(default=300),
        "kmsMasterKeyId": Property(default=""),
        "maxMessageSize": Property(api="MaximumMessageSize", default=_MAX_MESSAGE_SIZE_BYTES),
        "messageRetentionSeconds": Property(api="MessageRetentionPeriod", default=345600),
        "policy": Property(json=True, default=""),
        "receiveWaitTimeSeconds": Property(api="ReceiveMessageWaitTimeSeconds", default=0),
        "redriveAllowPolicy": Property(json=True, default=""),
        "redrivePolicy": Property(json=True, default=""),
        "sqsManagedSseEnabled": Property(),
        "visibilityTimeoutSeconds": Property(api="VisibilityTimeout", default=30),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        # pulumi-aws sends its own default here, which is not AWS's (1 MiB)
        given = {"maxMessageSize": _MAX_MESSAGE_SIZE_BYTES, **without(inputs, "name", "tags")}
        answer = cloud.client("sqs").create_queue(
            QueueName=inputs["name"],
            Attributes=_as_text(self.api(given)),
            tags=inputs.get("tags", {}),
        )
        return answer["QueueUrl"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        sqs = cloud.client("sqs")
        attributes: dict[str, str] = sqs.get_queue_attributes(
            QueueUrl=resource.id, AttributeNames=["All"]
        )["Attributes"]
        values = {name: _typed(text) for name, text in self.wire(attributes).items()}
        if "redrivePolicy" in resource.inputs:
            values.setdefault("redrivePolicy", "")  # somebody took it away
        for name in {"policy", "redrivePolicy", "redriveAllowPolicy"} - resource.inputs.keys():
            values.pop(name, None)  # managed by a resource of its own, or by nobody
        return {
            **values,
            **tagged(sqs.list_queue_tags(QueueUrl=resource.id).get("Tags", {})),
            "name": resource.id.rpartition("/")[2],
            "arn": attributes["QueueArn"],
            "url": resource.id,
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        changed = change.changed
        if "sqsManagedSseEnabled" not in change.new:  # SQS settles it, by whether there is a key
            changed -= {"sqsManagedSseEnabled"}
        if attributes := _as_text(self.wanted(change.new, changed)):
            cloud.client("sqs").set_queue_attributes(QueueUrl=change.id, Attributes=attributes)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("sqs").delete_queue(QueueUrl=resource.id)


def _as_text(attributes: Values) -> dict[str, str]:
    """SQS takes every attribute as text."""
    return {
        name: value if isinstance(value, str) else str(value).lower()
        for name, value in attributes.items()
    }


def _typed(text: Any) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if isinstance(text, str) and text.isdigit() else text


class QueuePolicy(Handler):
    """The access policy of a queue, one of its attributes. Its id is the queue's URL."""

    resource_type = "aws:sqs/queuePolicy:QueuePolicy"
    service = "sqs"
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "queueUrl": Property(replaces=True),
        "policy": Property(json=True, exact=True),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        self._put(cloud, inputs["queueUrl"], inputs["policy"])
        return inputs["queueUrl"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        """A queue without a policy has no such resource."""
        answer = cloud.client("sqs").get_queue_attributes(
            QueueUrl=resource.id, AttributeNames=["Policy"]
        )
        policy = answer.get("Attributes", {}).get("Policy")
        return {"queueUrl": resource.id, "policy": policy} if policy else None

    def modify(self, cloud: Cloud, change: Update) -> None:
        self._put(cloud, change.id, change.new["policy"])

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        self._put(cloud, resource.id, "")

    @staticmethod
    def _put(cloud: Cloud, url: str, policy: str) -> None:
        cloud.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
