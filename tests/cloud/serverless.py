"""Deploys state machines and functions for tests: with boto3 alone, as anyone would."""

from __future__ import annotations

import io
import json
import textwrap
import time
import zipfile
from typing import TYPE_CHECKING, Any

from local.cloud import ExecutionChanged

if TYPE_CHECKING:
    from local.cloud import LocalCloud

TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})


def role(cloud: LocalCloud, name: str = "serverless") -> str:
    iam = cloud.client("iam")
    try:
        return iam.get_role(RoleName=name)["Role"]["Arn"]
    except iam.exceptions.NoSuchEntityException:
        return iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]


def zipped(code: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("code_of.py", textwrap.dedent(code))
    return packed.getvalue()


def make_function(cloud: LocalCloud, name: str, code: str, **more: Any) -> str:
    answer = cloud.client("lambda").create_function(
        **{
            "FunctionName": name,
            "Role": role(cloud),
            "Runtime": "python3.13",
            "Handler": "code_of.handle",
            "Code": {"ZipFile": zipped(code)},
        }
        | more
    )
    return answer["FunctionArn"]


def invoke(cloud: LocalCloud, name: str, event: Any = None) -> tuple[Any, str | None]:
    """Returns what the function answers, and whether that is an error."""
    answer = cloud.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event or {}))
    return json.loads(answer["Payload"].read()), answer.get("FunctionError")


def make_machine(cloud: LocalCloud, name: str, states: dict[str, Any]) -> str:
    return cloud.client("stepfunctions").create_state_machine(
        name=name,
        roleArn=role(cloud),
        definition=json.dumps({"StartAt": next(iter(states)), "States": states}),
    )["stateMachineArn"]


def start(cloud: LocalCloud, machine: str, given: Any = None) -> str:
    return cloud.client("stepfunctions").start_execution(
        stateMachineArn=machine, input=json.dumps(given or {})
    )["executionArn"]


def ended(cloud: LocalCloud, execution: str, seconds: float = 60) -> ExecutionChanged:
    name = execution.rpartition(":")[2]
    found = cloud.events.wait_for(
        lambda event: (
            isinstance(event, ExecutionChanged)
            and event.execution == name
            and event.status != "RUNNING"
        ),
        seconds=seconds,
    )
    assert isinstance(found, ExecutionChanged)
    return found


def run(cloud: LocalCloud, machine: str, given: Any = None) -> ExecutionChanged:
    return ended(cloud, start(cloud, machine, given))


def states_entered(cloud: LocalCloud, execution: str) -> list[str]:
    history = cloud.client("stepfunctions").get_execution_history(executionArn=execution)
    return [
        event["stateEnteredEventDetails"]["name"]
        for event in history["events"]
        if "stateEnteredEventDetails" in event
    ]


def seconds_of(call: Any) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began
