"""EventBridge's delivery: a rule that matches hands the event to its targets.

PutEvents is the one way in, for the cloud's own alarms as for any client. moto matches and
delivers per rule in `Rule.send_to_targets`, knows no Batch targets and does not look whether
a rule is enabled; that function is replaced here. Log groups, other buses and archives are left to
moto.
"""

from __future__ import annotations

import json
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError
from moto.events.models import EventPattern, Rule

from local.cloud.events import DeliveryFailed, RuleMatched
from local.cloud.function_targets import DeliveryError
from local.cloud.patterns import BadPatternError, matches
from local.cloud.repairs import replaced

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from local.cloud.embedded_metrics import MetricBuffer
    from local.cloud.events import EventStream
    from local.cloud.function_targets import FunctionTargets

THE_CLOCK: Final = "the clock"
"""A scheduled event in words."""
_TRANSFORMS: Final = ("Input", "InputPath", "InputTransformer")


@dataclass(frozen=True)
class Submission:
    """A Batch target's job."""

    request: dict[str, Any]
    """The arguments of SubmitJob."""
    array_size: int | None

    def __str__(self) -> str:
        kind = f"array job of {self.array_size}" if self.array_size else "job"
        return f"{kind} {self.request['jobName']}"


def submission(target: Mapping[str, Any]) -> Submission:
    """Makes a job of a Batch target.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_BatchParameters.html

    Args:
        target: As ListTargetsByRule shows it.

    Raises:
        DeliveryError: AWS would refuse the target, or it asks for what is not modelled.
    """
    if not target.get("RoleArn"):
        raise DeliveryError(
            "NO_PERMISSIONS", "the target has no RoleArn, which a Batch target must have"
        )
    parameters = target.get("BatchParameters")
    if not parameters:
        raise DeliveryError(
            "INVALID_PARAMETER", "the target has no BatchParameters, which a Batch target must have"
        )
    if unsupported := [name for name in _TRANSFORMS if target.get(name)]:
        raise DeliveryError(
            "INVALID_PARAMETER", f"the local cloud knows no {unsupported[0]} for Batch targets"
        )
    size = parameters.get("ArrayProperties", {}).get("Size")
    request = {
        "jobName": parameters["JobName"],
        "jobDefinition": parameters["JobDefinition"],
        "jobQueue": target["Arn"],
    }
    if size is not None:
        request["arrayProperties"] = {"size": size}
    return Submission(request, size)


def event_in_words(event: Mapping[str, Any]) -> str:
    """An event for one line: an alarm's by its name and state, any other by its type."""
    detail: Any = event.get("detail") or {}
    if event["source"] == "aws.events" and event["detail-type"] == "Scheduled Event":
        return THE_CLOCK
    if event["source"] == "aws.cloudwatch" and "alarmName" in detail:
        return f"{detail['alarmName']} {detail['state']['value']}"
    return f"{event['source']} {event['detail-type']}"


def as_delivered(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event as targets see it: moto has the time as a number and keeps a field of its own."""
    delivered = {name: value for name, value in event.items() if name != "ingestion-time"}
    if isinstance(delivered["time"], int | float):
        moment = datetime.fromtimestamp(delivered["time"], UTC)
        delivered["time"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return delivered


class Delivery:
    """Takes the place of moto's delivery."""

    def __init__(
        self,
        *,
        batch: Any,
        sqs: Any,
        stepfunctions: Any,
        functions: FunctionTargets,
        events: EventStream,
        metrics: MetricBuffer,
    ) -> None:
        self._batch = batch
        self._sqs = sqs
        self._stepfunctions = stepfunctions
        self._functions = functions
        self._metrics = metrics
        self._events = events
        self._original: Any = Rule.send_to_targets

    def in_place(self) -> AbstractContextManager[None]:
        """Delivers while the context lasts."""
        deliver = self._deliver

        def send_to_targets(self: Any, original_event: Any, transform_input: bool = True) -> None:
            deliver(self, original_event, transform_input)

        return replaced(Rule, "send_to_targets", send_to_targets)

    def _deliver(self, rule: Any, event: Any, transform_input: bool) -> None:
        pattern = rule.event_pattern.get_pattern()
        if rule.state != "ENABLED" or not pattern:
            return
        try:
            if not matches(pattern, as_delivered(event)):
                return
        except BadPatternError as error:
            self._events.error(f"rule {rule.name} cannot be matched: {error}")
            return
        self.deliver(rule, event, transform_input)

    def deliver(self, rule: Any, event: Any, transform_input: bool = True) -> None:
        """Hands an event to all targets of a rule."""
        for target in rule.targets:
            try:
                outcome = self._send(rule, target, event, transform_input)
            except DeliveryError as error:
                self._failed(rule, target, event, error)
            except Exception as error:  # noqa: BLE001 - other targets still get the event
                self._events.error(f"delivering from rule {rule.name} failed: {error!r}")
            else:
                self._events.emit(
                    RuleMatched(self._events.now(), rule.name, event_in_words(event), outcome)
                )

    def _send(self, rule: Any, target: Any, event: Any, transform_input: bool) -> str:
        """Delivers to one target; says in words what came of it."""
        service = target["Arn"].split(":")[2]
        if service == "sqs" and not any(target.get(name) for name in _TRANSFORMS):
            self._send_message(target, event)
            return f"task queue {target['Arn'].rpartition(':')[2]}"
        if service == "states":
            return self._start_execution(target, event)
        if service == "lambda":
            return self._functions.invoke(rule, target, as_delivered(event))
        if service != "batch":
            alone = copy(rule)
            alone.targets = [target]
            alone.event_pattern = EventPattern(None, {})  # it has matched already
            try:
                self._original(alone, event, transform_input)
            except NotImplementedError:
                raise DeliveryError(
                    "INVALID_PARAMETER", f"the local cloud cannot deliver to {target['Arn']}"
                ) from None
            return target["Arn"].rpartition(":")[2]
        job = submission(target)
        try:
            answer = self._batch.submit_job(**job.request)
        except ClientError as error:
            message = str(error).rpartition(" operation: ")[2]
            missing = "does not exist" in message
            raise DeliveryError(
                "NO_RESOURCE" if missing else "INVALID_PARAMETER", message
            ) from error
        return f"{job} ({answer['jobId']})"

    def _start_execution(self, target: Any, event: Any) -> str:
        """https://docs.aws.amazon.com/step-functions/latest/dg/tutorial-cloudwatch-events-s3.html."""
        if not target.get("RoleArn"):
            raise DeliveryError(
                "NO_PERMISSIONS",
                "the target has no RoleArn, which a state machine's target must have",
            )
        if unsupported := [name for name in _TRANSFORMS[1:] if target.get(name)]:
            raise DeliveryError(
                "INVALID_PARAMETER", f"the local cloud knows no {unsupported[0]} for state machines"
            )
        try:
            answer = self._stepfunctions.start_execution(
                stateMachineArn=target["Arn"],
                input=target.get("Input") or json.dumps(as_delivered(event)),
            )
        except ClientError as error:
            missing = "DoesNotExist" in error.response["Error"]["Code"]
            raise DeliveryError(
                "NO_RESOURCE" if missing else "INVALID_PARAMETER", str(error)
            ) from error
        return f"execution {answer['executionArn'].rpartition(':')[2]}"

    def _send_message(self, target: Any, event: Any) -> None:
        try:
            url = self._sqs.get_queue_url(QueueName=target["Arn"].rpartition(":")[2])["QueueUrl"]
            self._sqs.send_message(QueueUrl=url, MessageBody=json.dumps(as_delivered(event)))
        except self._sqs.exceptions.QueueDoesNotExist as error:
            raise DeliveryError("NO_RESOURCE", str(error)) from error

    def _failed(self, rule: Any, target: Any, event: Any, error: DeliveryError) -> None:
        """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html."""
        arn: str | None = (target.get("DeadLetterConfig") or {}).get("Arn")
        facts = {
            "RULE_ARN": rule.arn,
            "TARGET_ARN": target["Arn"],
            "ERROR_CODE": error.code,
            "ERROR_MESSAGE": str(error),
        }
        queue = arn.rpartition(":")[2] if arn else None
        if queue:
            try:
                self._sqs.send_message(
                    QueueUrl=self._sqs.get_queue_url(QueueName=queue)["QueueUrl"],
                    MessageBody=json.dumps(as_delivered(event)),
                    MessageAttributes={
                        name: {"DataType": "String", "StringValue": value}
                        for name, value in facts.items()
                    },
                )
            except ClientError as refused:
                self._events.error(f"rule {rule.name}: dead-letter queue {arn} refused: {refused}")
                queue = None
        self._metrics.count(
            "AWS/Events FailedInvocations", ("RuleName", rule.name), self._events.now().cloud
        )
        self._events.emit(
            DeliveryFailed(
                self._events.now(), rule.name, target["Arn"], error.code, str(error), queue
            )
        )
