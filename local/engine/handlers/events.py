"""EventBridge: rules and their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.errors import CloudError
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

_DEFAULT_BUS: Final = "default"


class EventRule(Handler):
    """A rule on an event bus. Its id is its name, with the bus before it if not the default."""

    resource_type = "aws:cloudwatch/eventRule:EventRule"
    auto_name = AutoName(max_length=64)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(replaces=True),
        "description": Property(default=""),
        "eventBusName": Property(replaces=True, default=_DEFAULT_BUS),
        "eventPattern": Property(json=True, exact=True),
        "forceDestroy": Property(engine_only=True, default=False),
        "roleArn": Property(),
        "scheduleExpression": Property(),
        "state": Property(default="ENABLED"),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Puts the rule."""
        parameters = self.api(without(inputs, "tags"))
        cloud.client("events").put_rule(**parameters, Tags=tag_list(inputs.get("tags")))
        bus = inputs.get("eventBusName", _DEFAULT_BUS)
        return inputs["name"] if bus == _DEFAULT_BUS else f"{bus}/{inputs['name']}"

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the rule and lists its tags."""
        del resource_id
        events = cloud.client("events")
        rule = events.describe_rule(Name=inputs["name"], EventBusName=_bus(inputs))
        tags = events.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]
        values = {**self.wire(rule), "eventBusName": _bus(inputs)}
        return {**values, **tagged(tag_map(tags)), "arn": rule["Arn"]}

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces the rule; its targets stay."""
        events = cloud.client("events")
        if change.changed - {"tags"}:
            events.put_rule(**self.api(without(change.new, "tags")))
        if "tags" in change.changed:
            name = change.new["name"] if _bus(change.new) == _DEFAULT_BUS else change.id
            arn = change.outputs.get("arn") or cloud.arn("events", f"rule/{name}")
            if dropped := dropped_tags(change):
                events.untag_resource(ResourceARN=arn, TagKeys=dropped)
            if tags := change.new.get("tags"):
                events.tag_resource(ResourceARN=arn, Tags=tag_list(tags))
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the rule, which must have no targets any more."""
        del resource_id, outputs
        cloud.client("events").delete_rule(
            Name=inputs["name"],
            EventBusName=_bus(inputs),
            Force=bool(inputs.get("forceDestroy")),
        )


class EventTarget(Handler):
    """The target that a rule starts. Its id is rule and target id, as in pulumi-aws."""

    resource_type = "aws:cloudwatch/eventTarget:EventTarget"
    auto_name = AutoName(property="targetId", max_length=64)
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "rule": Property(replaces=True),
        "targetId": Property(api="Id", replaces=True),
        "eventBusName": Property(replaces=True, default=_DEFAULT_BUS),
        "arn": Property(),
        "batchTarget": Property(
            api="BatchParameters",
            fields={
                "arraySize": Property(),
                "jobAttempts": Property(),
                "jobDefinition": Property(),
                "jobName": Property(),
            },
        ),
        "deadLetterConfig": Property(fields={"arn": Property()}),
        "forceDestroy": Property(engine_only=True, default=False),
        "input": Property(json=True),
        "inputPath": Property(),
        "inputTransformer": Property(
            fields={
                "inputPaths": Property(api="InputPathsMap"),
                "inputTemplate": Property(),
            },
        ),
        "retryPolicy": Property(
            fields={
                "maximumEventAgeInSeconds": Property(),
                "maximumRetryAttempts": Property(),
            },
        ),
        "roleArn": Property(),
        "sqsTarget": Property(api="SqsParameters", fields={"messageGroupId": Property()}),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Puts the target."""
        self._put(cloud, inputs)
        prefix = "" if _bus(inputs) == _DEFAULT_BUS else f"{_bus(inputs)}-"
        return f"{prefix}{inputs['rule']}-{inputs['targetId']}"

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Finds the target among its rule's."""
        del resource_id
        targets = cloud.client("events").list_targets_by_rule(
            Rule=inputs["rule"], EventBusName=_bus(inputs)
        )["Targets"]
        for target in targets:
            if target["Id"] == inputs["targetId"]:
                found: Values = {
                    "rule": inputs["rule"],
                    "eventBusName": _bus(inputs),
                    **self.wire(target),
                }
                parameters = target.get("BatchParameters", {})
                batch = found.get("batchTarget", {})
                if "ArrayProperties" in parameters:
                    batch["arraySize"] = parameters["ArrayProperties"]["Size"]
                if "RetryStrategy" in parameters:
                    batch["jobAttempts"] = parameters["RetryStrategy"]["Attempts"]
                return found
        return None

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces the target."""
        self._put(cloud, change.new)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Takes the target off its rule."""
        del resource_id, outputs
        answer = cloud.client("events").remove_targets(
            Rule=inputs["rule"], EventBusName=_bus(inputs), Ids=[inputs["targetId"]]
        )
        _check_entries(answer)

    def _put(self, cloud: Cloud, inputs: Mapping[str, Any]) -> None:
        target = self.api(without(inputs, "rule", "eventBusName"))
        if batch := target.get("BatchParameters"):
            if "ArraySize" in batch:
                batch["ArrayProperties"] = {"Size": batch.pop("ArraySize")}
            if "JobAttempts" in batch:
                batch["RetryStrategy"] = {"Attempts": batch.pop("JobAttempts")}
        answer = cloud.client("events").put_targets(
            Rule=inputs["rule"], EventBusName=_bus(inputs), Targets=[target]
        )
        _check_entries(answer)


def _bus(inputs: Mapping[str, Any]) -> str:
    return inputs.get("eventBusName", _DEFAULT_BUS)


def _check_entries(answer: Mapping[str, Any]) -> None:
    """These calls succeed as a whole even if AWS refuses the one entry that they hold."""
    if answer.get("FailedEntryCount"):
        raise CloudError(f"EventBridge refused the target: {answer['FailedEntries']}")
