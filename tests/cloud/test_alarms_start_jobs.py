"""The whole chain, through the real server: message, metric, alarm, event, rule, job."""

from __future__ import annotations

import json

import pytest

from local.cloud import (
    AlarmChanged,
    CloudError,
    DeliveryFailed,
    DepthChanged,
    JobSubmitted,
    RuleMatched,
)

ALARM = {
    "AlarmName": "depth-high",
    "AlarmDescription": "many wait",
    "Namespace": "AWS/SQS",
    "MetricName": "ApproximateNumberOfMessagesVisible",
    "Dimensions": [{"Name": "QueueName", "Value": "tasks"}],
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 3,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
    "ActionsEnabled": False,
}
PATTERN = {
    "source": ["aws.cloudwatch"],
    "detail-type": ["CloudWatch Alarm State Change"],
    "detail": {"alarmName": ["depth-high"], "state": {"value": ["ALARM"]}},
}


def create_queue(cloud, name="tasks"):
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return url, attributes["Attributes"]["QueueArn"]


def send(cloud, url, count):
    for _ in range(count):
        cloud.client("sqs").send_message(QueueUrl=url, MessageBody="x")


def put_rule(cloud, *targets, name="rule", pattern=PATTERN, **rule):
    events = cloud.client("events")
    arn = events.put_rule(Name=name, EventPattern=json.dumps(pattern), **rule)["RuleArn"]
    events.put_targets(
        Rule=name, Targets=[{"Id": str(n)} | target for n, target in enumerate(targets)]
    )
    return arn


def batch_target(fleet, definition, **target):
    parameters = {"JobDefinition": definition, "JobName": "workers"}
    made = {
        "Arn": fleet.job_queue,
        "RoleArn": fleet.role,
        "BatchParameters": parameters | target.pop("BatchParameters", {}),
    } | target
    return {name: value for name, value in made.items() if value}


def wait_for(cloud, kind, **facts):
    return cloud.events.wait_for(
        lambda event: (
            isinstance(event, kind)
            and all(getattr(event, name) == value for name, value in facts.items())
        ),
        seconds=60,
    )


def changes(cloud):
    return [
        (event.previous, event.state)
        for event in cloud.events.past
        if isinstance(event, AlarmChanged)
    ]


def test_waiting_messages_start_an_array_job_that_does_its_work(fleet):
    cloud = fleet.cloud
    url, _ = create_queue(cloud)
    cloud.client("cloudwatch").put_metric_alarm(**ALARM)
    definition = fleet.define("worker", "import os; print(os.environ['AWS_BATCH_JOB_ARRAY_INDEX'])")
    target = batch_target(fleet, definition, BatchParameters={"ArrayProperties": {"Size": 2}})
    put_rule(cloud, target)
    wait_for(cloud, AlarmChanged, previous="INSUFFICIENT_DATA", state="OK")
    send(cloud, url, 3)

    submitted = wait_for(cloud, JobSubmitted)
    assert fleet.wait(submitted.job_id)["status"] == "SUCCEEDED"
    assert [fleet.log(f"{submitted.job_id}:{n}") for n in range(2)] == [["0"], ["1"]]
    assert str(wait_for(cloud, AlarmChanged, state="ALARM")) == (
        "alarm depth-high: OK → ALARM (3 ≥ 3)"
    )
    matched = wait_for(cloud, RuleMatched)
    assert str(matched) == (
        f"rule rule matched depth-high ALARM → array job of 2 workers ({submitted.job_id})"
    )
    assert wait_for(cloud, DepthChanged, visible=3, queue="tasks").in_flight == 0


def test_only_transitions_emit(fleet):
    cloud = fleet.cloud
    url, _ = create_queue(cloud)
    cloud.client("cloudwatch").put_metric_alarm(**ALARM)
    put_rule(cloud, batch_target(fleet, fleet.define("worker", "")))
    send(cloud, url, 3)
    wait_for(cloud, AlarmChanged, state="ALARM")
    send(cloud, url, 1)
    wait_for(cloud, DepthChanged, visible=4)
    cloud.client("sqs").purge_queue(QueueUrl=url)
    wait_for(cloud, AlarmChanged, state="OK", previous="ALARM")
    assert changes(cloud)[-2:] == [(changes(cloud)[-2][0], "ALARM"), ("ALARM", "OK")]
    assert len([event for event in cloud.events.past if isinstance(event, JobSubmitted)]) == 1
    send(cloud, url, 3)
    cloud.events.wait_for(lambda _: changes(cloud)[-1] == ("OK", "ALARM"), seconds=60)


def test_the_event_has_the_shape_that_aws_documents(cloud):
    url, _ = create_queue(cloud)
    heard, arn = create_queue(cloud, "heard")
    alarms = cloud.client("cloudwatch")
    alarms.put_metric_alarm(**ALARM)
    alarm_arn = alarms.describe_alarms()["MetricAlarms"][0]["AlarmArn"]
    put_rule(cloud, {"Arn": arn}, pattern={"resources": [alarm_arn]} | PATTERN)
    send(cloud, url, 3)
    sqs = cloud.client("sqs")
    [message] = sqs.receive_message(QueueUrl=heard, WaitTimeSeconds=20)["Messages"]
    event = json.loads(message["Body"])
    assert event.keys() == {
        *("version", "id", "detail-type", "source", "account", "time", "region"),
        *("resources", "detail"),
    }
    assert event["source"] == "aws.cloudwatch"
    assert event["detail-type"] == "CloudWatch Alarm State Change"
    assert (event["account"], event["region"]) == ("123456789012", "us-east-1")
    assert event["resources"] == [alarm_arn]
    assert event["time"].endswith("Z")
    detail = event["detail"]
    assert detail["alarmName"] == "depth-high"
    assert detail["state"]["value"] == "ALARM"
    assert detail["previousState"]["value"] in {"OK", "INSUFFICIENT_DATA"}
    assert detail["state"]["reason"].startswith("Threshold Crossed: 1 out of the last 1 datapoint")
    assert json.loads(detail["state"]["reasonData"])["threshold"] == 3
    assert detail["configuration"]["description"] == "many wait"
    assert detail["configuration"]["metrics"][0]["metricStat"]["stat"] == "Maximum"


def test_the_age_of_the_oldest_message_raises_an_alarm_in_cloud_time(cloud):
    url, _ = create_queue(cloud)
    age = {"MetricName": "ApproximateAgeOfOldestMessage", "Threshold": 600}
    cloud.client("cloudwatch").put_metric_alarm(**ALARM | age)
    send(cloud, url, 1)
    sent = wait_for(cloud, DepthChanged, visible=1)
    alarmed = wait_for(cloud, AlarmChanged, state="ALARM")
    # Ten cloud minutes are a second at this pace.
    assert 0 < (alarmed.when.real - sent.when.real).total_seconds() < 10
    assert (alarmed.when.cloud - sent.when.cloud).total_seconds() >= 300


def test_alarms_that_are_not_evaluated_are_told_of_once(cloud):
    metric = {
        name: ALARM[name]
        for name in ("AlarmName", "EvaluationPeriods", "Threshold", "ComparisonOperator")
    }
    stat = {
        "Metric": {"Namespace": "AWS/SQS", "MetricName": "X", "Dimensions": []},
        "Period": 60,
        "Stat": "Sum",
    }
    cloud.client("cloudwatch").put_metric_alarm(
        **metric,
        Metrics=[
            {"Id": "a", "MetricStat": stat, "ReturnData": False},
            {"Id": "e", "Expression": "a * 2", "ReturnData": True},
        ],
    )
    create_queue(cloud)
    wait_for(
        cloud,
        CloudError,
        text="alarm depth-high has metric math, "
        "of which only IF(gate > 0, value, 0) and SUM([a, b]) of one metric are evaluated here",
    )
    url, _ = create_queue(cloud, "other")
    send(cloud, url, 1)
    wait_for(cloud, DepthChanged, queue="other")
    assert len([event for event in cloud.events.past if isinstance(event, CloudError)]) == 1


# Delivery

CUSTOM = {"source": ["app"]}
ENTRY = {"Source": "app", "DetailType": "done", "Detail": json.dumps({"n": 1})}


def put_event(cloud):
    answer = cloud.client("events").put_events(Entries=[ENTRY])
    assert answer["FailedEntryCount"] == 0


def test_put_events_by_a_client_reaches_a_batch_target_too(fleet):
    put_rule(fleet.cloud, batch_target(fleet, fleet.define("worker", "")), pattern=CUSTOM)
    put_event(fleet.cloud)
    assert fleet.wait(wait_for(fleet.cloud, JobSubmitted).job_id)["status"] == "SUCCEEDED"


def test_a_disabled_rule_and_one_that_does_not_match_deliver_nothing(fleet):
    target = batch_target(fleet, fleet.define("worker", ""))
    put_rule(fleet.cloud, target, name="off", pattern=CUSTOM, State="DISABLED")
    put_rule(fleet.cloud, target, name="other", pattern={"source": ["else"]})
    put_event(fleet.cloud)
    assert not [event for event in fleet.cloud.events.past if isinstance(event, JobSubmitted)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"RoleArn": ""}, "NO_PERMISSIONS"),
        ({"BatchParameters": {"JobDefinition": "nothing:1"}}, "NO_RESOURCE"),
        ({"BatchParameters": {"ArrayProperties": {"Size": 1}}}, "INVALID_PARAMETER"),
    ],
)
def test_a_delivery_that_fails_goes_to_the_targets_dead_letter_queue(fleet, change, code):
    cloud = fleet.cloud
    dead, arn = create_queue(cloud, "undelivered")
    target = batch_target(fleet, fleet.define("worker", ""), **change)
    rule = put_rule(cloud, target | {"DeadLetterConfig": {"Arn": arn}}, pattern=CUSTOM)
    put_event(cloud)
    failed = wait_for(cloud, DeliveryFailed, error_code=code)
    assert failed.dead_letter_queue == "undelivered"
    [message] = cloud.client("sqs").receive_message(
        QueueUrl=dead, MessageAttributeNames=["All"], WaitTimeSeconds=5
    )["Messages"]
    attributes = {
        name: value["StringValue"] for name, value in message["MessageAttributes"].items()
    }
    assert attributes == {
        "RULE_ARN": rule,
        "TARGET_ARN": fleet.job_queue,
        "ERROR_CODE": code,
        "ERROR_MESSAGE": failed.error_message,
    }
    assert json.loads(message["Body"])["detail"] == {"n": 1}


def test_without_a_dead_letter_queue_a_failed_delivery_is_told_of_all_the_same(fleet):
    put_rule(
        fleet.cloud, batch_target(fleet, fleet.define("worker", ""), RoleArn=""), pattern=CUSTOM
    )
    put_event(fleet.cloud)
    assert "dropped" in str(wait_for(fleet.cloud, DeliveryFailed))


def test_one_bad_target_or_pattern_does_not_keep_others_from_the_event(fleet):
    good = batch_target(fleet, fleet.define("worker", ""))
    put_rule(fleet.cloud, good, name="bad", pattern={"source": [{"begins-with": "a"}]})
    put_rule(fleet.cloud, {"Arn": "arn:aws:sns:us-east-1:1:t"}, good, pattern=CUSTOM)
    put_event(fleet.cloud)
    wait_for(fleet.cloud, JobSubmitted)
    assert "cannot deliver to" in str(wait_for(fleet.cloud, DeliveryFailed))
    [error] = [event for event in fleet.cloud.events.past if isinstance(event, CloudError)]
    assert "begins-with" in error.text
