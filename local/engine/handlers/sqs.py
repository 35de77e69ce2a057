"""SQS: queues and their access policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Update,
    Values,
    dropped_tags,
    tagged,
    without,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_FIFO_SUFFIX: Final = ".fifo"
_MAX_MESSAGE_SIZE_BYTES: Final = 262144


class Queue(Handler):
    """A queue. Its id is its URL."""

    resource_type = "aws:sqs/queue:Queue"
    auto_name = AutoName(max_length=80)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="QueueName", replaces=True),
        "fifoQueue": Property(replaces=True, default=False),
        "contentBasedDeduplication": Property(default=False),
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

    def name_suffix(self, inputs: Mapping[str, Any]) -> str:
        """Returns the ending that SQS requires of a FIFO queue's name."""
        return _FIFO_SUFFIX if inputs.get("fifoQueue") else ""

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the queue with all its attributes."""
        sqs = cloud.client("sqs")
        answer = sqs.create_queue(
            QueueName=inputs["name"],
            # pulumi-aws sends its own default here, which is not AWS's (1 MiB)
            Attributes=self._attributes(
                {"maxMessageSize": _MAX_MESSAGE_SIZE_BYTES, **without(inputs, "name", "tags")}
            ),
            tags=inputs.get("tags", {}),
        )
        return answer["QueueUrl"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads attributes and tags."""
        sqs = cloud.client("sqs")
        attributes: dict[str, str] = sqs.get_queue_attributes(
            QueueUrl=resource_id, AttributeNames=["All"]
        )["Attributes"]
        values = {name: _typed(text) for name, text in self.wire(attributes).items()}
        if "redrivePolicy" in inputs:
            values.setdefault("redrivePolicy", "")  # somebody took it away
        for name in {"policy", "redrivePolicy", "redriveAllowPolicy"} - inputs.keys():
            values.pop(name, None)  # managed by a resource of its own, or by nobody
        return {
            **values,
            **tagged(sqs.list_queue_tags(QueueUrl=resource_id).get("Tags", {})),
            "name": resource_id.rpartition("/")[2],
            "arn": attributes["QueueArn"],
            "url": resource_id,
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Sets the changed attributes."""
        sqs = cloud.client("sqs")
        changed = change.changed - {"tags"}
        if "sqsManagedSseEnabled" not in change.new:  # SQS settles it, by whether there is a key
            changed -= {"sqsManagedSseEnabled"}
        if attributes := self._attributes(self.wanted(change.new, changed)):
            sqs.set_queue_attributes(QueueUrl=change.id, Attributes=attributes)
        if "tags" in change.changed:
            if dropped := dropped_tags(change):
                sqs.untag_queue(QueueUrl=change.id, TagKeys=dropped)
            if tags := change.new.get("tags"):
                sqs.tag_queue(QueueUrl=change.id, Tags=tags)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the queue with its messages."""
        del inputs, outputs
        cloud.client("sqs").delete_queue(QueueUrl=resource_id)

    def _attributes(self, inputs: Mapping[str, Any]) -> dict[str, str]:
        """SQS takes every attribute as text, and refuses FifoQueue=false."""
        values = {name: value for name, value in inputs.items() if (name, value) != _STANDARD}
        return {
            name: value if isinstance(value, str) else str(value).lower()
            for name, value in self.api(values).items()
        }


_STANDARD: Final = ("fifoQueue", False)


def _typed(text: Any) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if isinstance(text, str) and text.isdigit() else text


class _Attribute(Handler):
    """One attribute of a queue as a resource of its own. Its id is the queue's URL."""

    delete_before_replace = True
    attribute: ClassVar[str]
    """Its wire name; SQS's is the same, capitalised."""

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Sets the attribute."""
        self._put(cloud, inputs["queueUrl"], inputs[self.attribute])
        return inputs["queueUrl"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads it; a queue without it has no such resource."""
        del inputs
        name = self.casing(self.attribute)
        answer = cloud.client("sqs").get_queue_attributes(
            QueueUrl=resource_id, AttributeNames=[name]
        )
        value = answer.get("Attributes", {}).get(name)
        return {"queueUrl": resource_id, self.attribute: value} if value else None

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces it."""
        self._put(cloud, change.id, change.new[self.attribute])
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Empties it."""
        del inputs, outputs
        self._put(cloud, resource_id, "")

    def _put(self, cloud: Cloud, url: str, value: str) -> None:
        cloud.client("sqs").set_queue_attributes(
            QueueUrl=url, Attributes={self.casing(self.attribute): value}
        )


class QueuePolicy(_Attribute):
    """Who may use a queue."""

    resource_type = "aws:sqs/queuePolicy:QueuePolicy"
    attribute = "policy"
    properties: ClassVar[Mapping[str, Property]] = {
        "queueUrl": Property(replaces=True),
        "policy": Property(json=True, exact=True),
        "region": REGION,
    }
