"""EventBridge: rules on the default bus, and their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.errors import CloudError
from local.engine.handlers.base import (
    AutoName,
    Handler,
    Resource,
    Tagging,
    Update,
    Values,
    tag_list,
    tag_map,
    tagged,
    without,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class EventRule(Handler):
    """A rule. Its id is its name."""

    resource_type = "aws:cloudwatch/eventRule:EventRule"
    service = "events"
    auto_name = AutoName(max_length=64)
    tagging = Tagging(subject="resourceARN", arn="rule/")
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(replaces=True),
        "description": Property(default=""),
        "eventPattern": Property(json=True, exact=True),
        "roleArn": Property(),
        "scheduleExpression": Property(),
        "state": Property(default="ENABLED"),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        parameters = self.api(without(inputs, "tags"))
        cloud.client("events").put_rule(**parameters, Tags=tag_list(inputs.get("tags")))
        return inputs["name"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        events = cloud.client("events")
        rule = events.describe_rule(Name=resource.id)
        tags = events.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]
        return {**self.wire(rule), **tagged(tag_map(tags)), "arn": rule["Arn"]}

    def modify(self, cloud: Cloud, change: Update) -> None:
        cloud.client("events").put_rule(**self.api(without(change.new, "tags")))

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("events").delete_rule(Name=resource.id)


class EventTarget(Handler):
    """The target that a rule starts. Its id is rule and target id, as in pulumi-aws."""

    resource_type = "aws:cloudwatch/eventTarget:EventTarget"
    service = "events"
    auto_name = AutoName(property="targetId", max_length=64)
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "rule": Property(replaces=True),
        "targetId": Property(api="Id", replaces=True),
        "arn": Property(),
        "batchTarget": Property(
            api="BatchParameters",
            fields={"arraySize": Property(), "jobDefinition": Property(), "jobName": Property()},
        ),
        "deadLetterConfig": Property(fields={"arn": Property()}),
        "input": Property(json=True),
        "roleArn": Property(),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        target = self.api(without(inputs, "rule"))
        batch = target.get("BatchParameters", {})
        if "ArraySize" in batch:
            batch["ArrayProperties"] = {"Size": batch.pop("ArraySize")}
        answer = cloud.client("events").put_targets(Rule=inputs["rule"], Targets=[target])
        _check_entries(answer)
        return f"{inputs['rule']}-{inputs['targetId']}"

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        rule = resource.inputs["rule"]
        for target in cloud.client("events").list_targets_by_rule(Rule=rule)["Targets"]:
            if target["Id"] == resource.inputs["targetId"]:
                batch = target.get("BatchParameters", {})
                if "ArrayProperties" in batch:
                    batch["ArraySize"] = batch["ArrayProperties"]["Size"]
                return {"rule": rule, **self.wire(target)}
        return None

    def modify(self, cloud: Cloud, change: Update) -> None:
        self.create(cloud, change.new)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        answer = cloud.client("events").remove_targets(
            Rule=resource.inputs["rule"], Ids=[resource.inputs["targetId"]]
        )
        _check_entries(answer)


def _check_entries(answer: Mapping[str, Any]) -> None:
    """These calls succeed as a whole even if AWS refuses the one entry that they hold."""
    if answer.get("FailedEntryCount"):
        raise CloudError(f"EventBridge refused the target: {answer['FailedEntries']}")
