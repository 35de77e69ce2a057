"""Step Functions: state machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

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


class StateMachine(Handler):
    """A state machine. Its id is its ARN."""

    resource_type = "aws:sfn/stateMachine:StateMachine"
    auto_name = AutoName(max_length=80)
    capitalised = False
    volatile = frozenset({"revisionId"})
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

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the machine."""
        tags = [{"key": key, "value": value} for key, value in inputs.get("tags", {}).items()]
        answer = cloud.client("stepfunctions").create_state_machine(
            **self._parameters(without(inputs, "tags")), **({"tags": tags} if tags else {})
        )
        return answer["stateMachineArn"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the machine and lists its tags."""
        del inputs
        client = cloud.client("stepfunctions")
        found = client.describe_state_machine(stateMachineArn=resource_id)
        if found.get("status") == "DELETING":
            return None
        tags = client.list_tags_for_resource(resourceArn=resource_id).get("tags", ())
        values = self.wire(without(found, "loggingConfiguration"))
        if logging := found.get("loggingConfiguration"):
            values["loggingConfiguration"] = _logging_as_given(logging)
        return {
            **values,
            **tagged({tag["key"]: tag["value"] for tag in tags}),
            "arn": resource_id,
            "creationDate": found["creationDate"].isoformat(),
            "revisionId": found.get("revisionId", ""),
            "status": found.get("status", "ACTIVE"),
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Updates what changed; executions that run keep the definition that they began with."""
        client = cloud.client("stepfunctions")
        if names := change.changed - {"tags"}:
            client.update_state_machine(
                stateMachineArn=change.id, **self._parameters(self.wanted(change.new, names))
            )
        if "tags" in change.changed:
            if dropped := dropped_tags(change):
                client.untag_resource(resourceArn=change.id, tagKeys=dropped)
            if tags := change.new.get("tags"):
                client.tag_resource(
                    resourceArn=change.id,
                    tags=[{"key": key, "value": value} for key, value in tags.items()],
                )
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the machine; what it is executing ends in its own time."""
        del inputs, outputs
        cloud.client("stepfunctions").delete_state_machine(stateMachineArn=resource_id)

    def _parameters(self, inputs: Mapping[str, Any]) -> Values:
        parameters = self.api(inputs)
        if logging := parameters.get("loggingConfiguration"):
            destination = logging.pop("logDestination", None)
            if destination:
                group = {"cloudWatchLogsLogGroup": {"logGroupArn": destination}}
                logging["destinations"] = [group]
        return parameters


def _logging_as_given(logging: Mapping[str, Any]) -> Values:
    values = without(logging, "destinations")
    for destination in logging.get("destinations", ()):
        values["logDestination"] = destination["cloudWatchLogsLogGroup"]["logGroupArn"]
    return values
