"""EventBridge: buses, rules on them, and their targets."""

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


class EventBus(Handler):
    """A bus beside the default one. Its id is its name."""

    resource_type = "aws:cloudwatch/eventBus:EventBus"
    service = "events"
    auto_name = AutoName(max_length=256)
    tagging = Tagging(subject="resourceARN", arn="event-bus/")
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(replaces=True),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        parameters = self.api(without(inputs, "tags"))
        cloud.client("events").create_event_bus(**parameters, Tags=tag_list(inputs.get("tags")))
        return inputs["name"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        events = cloud.client("events")
        bus = events.describe_event_bus(Name=resource.id)
        tags = events.list_tags_for_resource(ResourceARN=bus["Arn"])["Tags"]
        return {**self.wire(bus), **tagged(tag_map(tags)), "arn": bus["Arn"]}

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("events").delete_event_bus(Name=resource.id)


def _on_bus(inputs: Mapping[str, Any]) -> dict[str, str]:
    """The bus of a rule, where it is not the default one."""
    return {"EventBusName": inputs["eventBusName"]} if inputs.get("eventBusName") else {}


class EventRule(Handler):
    """A rule. Its id is its name, after its bus's where that is not the default one."""

    resource_type = "aws:cloudwatch/eventRule:EventRule"
    service = "events"
    auto_name = AutoName(max_length=64)
    tagging = Tagging(subject="resourceARN", arn="rule/")
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(replaces=True),
        "description": Property(default=""),
        "eventBusName": Property(replaces=True),
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
        return "/".join([*_on_bus(inputs).values(), inputs["name"]])

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        events = cloud.client("events")
        rule = events.describe_rule(Name=resource.inputs["name"], **_on_bus(resource.inputs))
        tags = events.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]
        return {**self.wire(rule), **tagged(tag_map(tags)), "arn": rule["Arn"]}

    def modify(self, cloud: Cloud, change: Update) -> None:
        cloud.client("events").put_rule(**self.api(without(change.new, "tags")))

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("events").delete_rule(Name=resource.inputs["name"], **_on_bus(resource.inputs))


class EventTarget(Handler):
    """The target that a rule starts. Its id is rule and target id, as in pulumi-aws."""

    resource_type = "aws:cloudwatch/eventTarget:EventTarget"
    service = "events"
    auto_name = AutoName(property="targetId", max_length=64)
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "rule": Property(replaces=True),
        "eventBusName": Property(replaces=True),
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
        target = self.api(without(inputs, "rule", "eventBusName"))
        batch = target.get("BatchParameters", {})
        if "ArraySize" in batch:
            batch["ArrayProperties"] = {"Size": batch.pop("ArraySize")}
        bus = _on_bus(inputs)
        answer = cloud.client("events").put_targets(Rule=inputs["rule"], Targets=[target], **bus)
        _check_entries(answer)
        return "-".join([*bus.values(), inputs["rule"], inputs["targetId"]])

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        rule, bus = resource.inputs["rule"], _on_bus(resource.inputs)
        for target in cloud.client("events").list_targets_by_rule(Rule=rule, **bus)["Targets"]:
            if target["Id"] == resource.inputs["targetId"]:
                batch = target.get("BatchParameters", {})
                if "ArrayProperties" in batch:
                    batch["ArraySize"] = batch["ArrayProperties"]["Size"]
                where = {name: resource.inputs[name] for name in ("eventBusName",) if bus}
                return {"rule": rule, **where, **self.wire(target)}
        return None

    def modify(self, cloud: Cloud, change: Update) -> None:
        self.create(cloud, change.new)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        answer = cloud.client("events").remove_targets(
            Rule=resource.inputs["rule"],
            Ids=[resource.inputs["targetId"]],
            **_on_bus(resource.inputs),
        )
        _check_entries(answer)


def _check_entries(answer: Mapping[str, Any]) -> None:
    """These calls succeed as a whole even if AWS refuses the one entry that they hold."""
    if answer.get("FailedEntryCount"):
        raise CloudError(f"EventBridge refused the target: {answer['FailedEntries']}")
