"""Executions of state machines, on moto's interpreter with what it lacks."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local.cloud import ExecutionChanged, JobSubmitted, LocalCloud
from tests.cloud.conftest import started
from tests.cloud.serverless import (
    ended,
    invoke,
    make_function,
    make_machine,
    run,
    seconds_of,
    start,
    states_entered,
)

PASS = {"Type": "Pass", "End": True}
INVOKE = "arn:aws:states:::lambda:invoke"


def ask(name, **more):
    return {
        "Type": "Task",
        "Resource": INVOKE,
        "Parameters": {"FunctionName": name, "Payload.$": "$"},
        "OutputPath": "$.Payload",
    } | (more or {"End": True})


def submit(fleet, definition, **parameters):
    job = {"JobName": "workers", "JobQueue": fleet.job_queue, "JobDefinition": definition}
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::batch:submitJob",
        "Parameters": job | parameters,
        "ResultSelector": {"job_id.$": "$.JobId"},
        "ResultPath": "$.submitted",
        "End": True,
    }


def test_a_machine_asks_a_function_and_chooses_by_its_answer(cloud):
    make_function(
        cloud, "decide", "def handle(event, context):\n    return {'verb': event['say']}\n"
    )
    machine = make_machine(
        cloud,
        "loop",
        {
            "Decide": ask("decide", Next="Act"),
            "Act": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.verb", "StringEquals": "go", "Next": "Go"}],
                "Default": "Stay",
            },
            "Go": PASS,
            "Stay": {"Type": "Fail", "Error": "Stayed", "Cause": "told so"},
        },
    )
    execution = start(cloud, machine, {"say": "go"})
    assert ended(cloud, execution).output == {"verb": "go"}
    assert states_entered(cloud, execution) == ["Decide", "Act", "Go"]
    failed = run(cloud, machine, {"say": "no"})
    assert (failed.status, failed.cause) == ("FAILED", "Stayed: told so")


def test_a_machine_starts_one_job_and_an_array_job(fleet):
    cloud = fleet.cloud
    definition = fleet.define("worker", "print('hello')")
    machine = make_machine(cloud, "one", {"Start": submit(fleet, definition)})
    done = run(cloud, machine, {"kept": 1})
    assert done.output["kept"] == 1
    assert fleet.wait(done.output["submitted"]["job_id"])["status"] == "SUCCEEDED"

    array = submit(fleet, definition, ArrayProperties={"Size.$": "$.start"})
    done = run(cloud, make_machine(cloud, "array", {"Start": array}), {"start": 3})
    job = fleet.wait(done.output["submitted"]["job_id"])
    assert job["arrayProperties"]["size"] == 3
    submitted = [event for event in cloud.events.past if isinstance(event, JobSubmitted)]
    assert [event.array_size for event in submitted] == [None, 3]


def test_parameters_inside_of_parameters_are_renamed_too(fleet):
    definition = fleet.define("worker", "import os; print(os.environ['A'])")
    overrides = {"Environment": [{"Name": "A", "Value": "b"}]}
    machine = make_machine(
        fleet.cloud, "m", {"Start": submit(fleet, definition, ContainerOverrides=overrides)}
    )
    job_id = run(fleet.cloud, machine).output["submitted"]["job_id"]
    fleet.wait(job_id)
    assert fleet.log(job_id) == ["b"]


def test_a_throttled_submission_is_tried_again(fleet):
    cloud = fleet.cloud
    definition = fleet.define("worker", "print(1)")
    state = submit(fleet, definition)
    state["Retry"] = [
        {
            "ErrorEquals": ["Batch.TooManyRequestsException"],
            "IntervalSeconds": 30,
            "MaxAttempts": 5,
        }
    ]
    machine = make_machine(cloud, "m", {"Start": state})
    cloud.faults.refuse("batch", "SubmitJob", times=3, code="TooManyRequestsException", status=429)
    done = []
    took = seconds_of(lambda: done.append(run(cloud, machine)))
    assert done[0].status == "SUCCEEDED", done
    assert took < 20  # 30, 60 and 120 s of the cloud's
    cloud.faults.refuse("batch", "SubmitJob", times=99, code="TooManyRequestsException", status=429)
    failed = run(cloud, machine)
    assert failed.status == "FAILED", failed
    assert failed.cause.startswith("Batch.TooManyRequestsException")


def test_a_function_that_fails_thrice_is_asked_a_fourth_time(cloud):
    make_function(
        cloud,
        "flaky",
        """
        count = 0
        def handle(event, context):
            global count
            count += 1
            if count < 4:
                raise OSError("not yet")
            return count
        """,
    )
    retry = [{"ErrorEquals": ["OSError"], "IntervalSeconds": 1, "MaxAttempts": 3}]
    machine = make_machine(cloud, "m", {"A": ask("flaky", Retry=retry, End=True)})
    assert run(cloud, machine).output == 4


def test_an_error_is_caught_with_its_name_and_cause(cloud):
    make_function(cloud, "bad", "def handle(event, context):\n    raise OSError('broken')\n")
    catch = [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.trouble", "Next": "After"}]
    machine = make_machine(cloud, "m", {"A": ask("bad", Catch=catch, Next="After"), "After": PASS})
    trouble = run(cloud, machine, {"kept": 1}).output["trouble"]
    assert trouble["Error"] == "OSError"
    assert json.loads(trouble["Cause"])["errorMessage"] == "broken"


def test_a_wait_goes_by_the_clouds_clock(cloud):
    machine = make_machine(
        cloud, "m", {"Wait": {"Type": "Wait", "SecondsPath": "$.s", "End": True}}
    )
    assert 1 <= seconds_of(lambda: run(cloud, machine, {"s": 600})) < 5  # at 600 a second


def test_an_execution_in_a_long_wait_can_be_stopped(cloud):
    machine = make_machine(cloud, "m", {"Wait": {"Type": "Wait", "Seconds": 999999, "End": True}})
    execution = start(cloud, machine)
    cloud.client("stepfunctions").stop_execution(executionArn=execution)
    assert ended(cloud, execution).status == "ABORTED"


def test_an_execution_starts_its_successor(cloud):
    machine = make_machine(
        cloud,
        "again",
        {
            "First": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.left", "NumericEquals": 0, "Next": "Done"}],
                "Default": "Renew",
            },
            "Renew": {
                "Type": "Task",
                "Resource": "arn:aws:states:::states:startExecution",
                "Parameters": {
                    "StateMachineArn.$": "$$.StateMachine.Id",
                    "Input": {"left": 0, "before.$": "$$.Execution.Id"},
                },
                "End": True,
            },
            "Done": {"Type": "Succeed"},
        },
    )
    first = start(cloud, machine, {"left": 1})
    successor = ended(cloud, first).output["ExecutionArn"]
    assert ended(cloud, successor).output == {"left": 0, "before": first}
    assert first != successor


def test_a_machine_publishes_to_a_topic(cloud):
    topic = cloud.client("sns").create_topic(Name="news")["TopicArn"]
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName="reads")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    cloud.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"])
    publish = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sns:publish",
        "Parameters": {"TopicArn": topic, "Message": {"said.$": "$.word"}},
        "End": True,
    }
    run(cloud, make_machine(cloud, "m", {"Tell": publish}), {"word": "hello"})
    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    assert json.loads(json.loads(message["Body"])["Message"]) == {"said": "hello"}


def test_executions_are_listed_by_their_status(cloud):
    machine = make_machine(
        cloud, "m", {"Wait": {"Type": "Wait", "SecondsPath": "$.s", "End": True}}
    )
    first, second = start(cloud, machine, {"s": 9999999}), start(cloud, machine, {"s": 0})
    ended(cloud, second)
    states = cloud.client("stepfunctions")
    found = states.list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"]
    assert [each["executionArn"] for each in found] == [first]


def test_executions_are_counted_in_cloudwatch(cloud):
    machine = make_machine(cloud, "m", {"Bad": {"Type": "Fail", "Error": "E", "Cause": "c"}})
    run(cloud, machine)
    query = {
        "Id": "q",
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/States",
                "MetricName": "ExecutionsFailed",
                "Dimensions": [{"Name": "StateMachineArn", "Value": machine}],
            },
            "Period": 86400,
            "Stat": "Sum",
        },
    }
    until = time.monotonic() + 10
    values = []
    while not values and time.monotonic() < until:
        [result] = cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=[query],
            StartTime=datetime(2020, 1, 1, tzinfo=UTC),
            EndTime=datetime(2100, 1, 1, tzinfo=UTC),
        )["MetricDataResults"]
        values = result["Values"]
        threading.Event().wait(0.05)
    assert values == [1.0]


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("{", "Invalid State Machine Definition"),
        ('{"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}}', "no state 'B'"),
    ],
)
def test_a_bad_definition_is_refused_when_the_machine_is_made(cloud, definition, words):
    with pytest.raises(ClientError, match=words):
        cloud.client("stepfunctions").create_state_machine(
            name="bad", definition=definition, roleArn="arn:aws:iam::123456789012:role/r"
        )


def test_the_end_of_the_cloud_ends_what_is_running(tmp_path):
    with started(tmp_path) as cloud:
        machine = make_machine(
            cloud, "m", {"Wait": {"Type": "Wait", "Seconds": 999999, "End": True}}
        )
        execution = start(cloud, machine)
        began = time.monotonic()
    assert time.monotonic() - began < 8
    assert_told_of_its_end(cloud, execution)
    assert not [
        thread.name for thread in threading.enumerate() if thread.name.startswith("execution-")
    ]


def assert_told_of_its_end(cloud: LocalCloud, execution: str) -> None:
    statuses = [
        event.status
        for event in cloud.events.past
        if isinstance(event, ExecutionChanged) and execution.endswith(event.execution)
    ]
    assert statuses == ["RUNNING", "ABORTED"]


def test_the_end_of_the_cloud_is_the_end_of_its_functions(tmp_path):
    with started(tmp_path) as cloud:
        make_function(
            cloud,
            "lives",
            "import os, time\ndef handle(event, context):\n"
            "    print(os.getpid(), flush=True)\n    time.sleep(event.get('s', 0))\n"
            "    return os.getpid()\n",
            Timeout=60,
        )
        warm, _ = invoke(cloud, "lives")
        caller = threading.Thread(target=_ignoring_errors, args=(cloud, {"s": 60}))
        caller.start()
        assert Path(f"/proc/{warm}").exists()
        threading.Event().wait(0.3)
    caller.join(10)
    assert not caller.is_alive()
    assert not Path(f"/proc/{warm}").exists()


def _ignoring_errors(cloud: LocalCloud, event: object) -> None:
    try:
        invoke(cloud, "lives", event)
    except Exception:  # noqa: BLE001 - the cloud may be gone before it answers
        return
