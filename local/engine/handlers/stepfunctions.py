"""Step Functions: state machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

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


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


class StateMachine(Handler):
    """A state machine. Its id is its ARN.

    Executions that run go on by the definition that they began with, also when it is deleted.
    """

    resource_type = "aws:sfn/stateMachine:StateMachine"
    service = "stepfunctions"
    auto_name = AutoName(max_length=80)
    capitalised = False
    tagging = Tagging(shape=_tags)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(replaces=True),
        "definition": Property(json=True, exact=True),
        "loggingConfiguration": Property(
            default={"level": "OFF", "includeExecutionData": False},
            fields={
                "includeExecutionData": Property(),
                "level": Property(),
                "logDestination": Property(),
            },
        ),
        "roleArn": Property(),
        "tracingConfiguration": Property(
            default={"enabled": False}, fields={"enabled": Property()}
        ),
        "type": Property(replaces=True, default="STANDARD"),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        answer = cloud.client("stepfunctions").create_state_machine(
            **_with_destinations(self.api(without(inputs, "tags"))),
            tags=_tags(inputs.get("tags", {})),
        )
        return answer["stateMachineArn"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        client = cloud.client("stepfunctions")
        found = client.describe_state_machine(stateMachineArn=resource.id)
        if found.get("status") == "DELETING":
            return None
        tags = client.list_tags_for_resource(resourceArn=resource.id).get("tags", ())
        if logging := found.get("loggingConfiguration"):
            for destination in logging.get("destinations", ()):
                group = destination["cloudWatchLogsLogGroup"]
                logging["logDestination"] = group["logGroupArn"]
        return {
            **self.wire(found),
            **tagged({tag["key"]: tag["value"] for tag in tags}),
            "arn": resource.id,
            "status": found.get("status", "ACTIVE"),
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        parameters = _with_destinations(self.wanted(change.new, change.changed))
        client = cloud.client("stepfunctions")
        client.update_state_machine(stateMachineArn=change.id, **parameters)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("stepfunctions").delete_state_machine(stateMachineArn=resource.id)


def _with_destinations(parameters: Values) -> Values:
    """AWS takes a list of places to log to, pulumi-aws one of them."""
    logging = parameters.get("loggingConfiguration", {})
    if arn := logging.pop("logDestination", None):
        logging["destinations"] = [{"cloudWatchLogsLogGroup": {"logGroupArn": arn}}]
    return parameters
