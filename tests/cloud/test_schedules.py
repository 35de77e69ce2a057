"""Rules that fire by the clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from local.cloud import DeliveryFailed, ExecutionChanged, FunctionLine, RuleMatched
from local.cloud.schedules import BadScheduleError, rate_of
from tests.cloud.serverless import make_function, make_machine, role

NOON = int(datetime(2026, 3, 2, 12, 0, tzinfo=UTC).timestamp())
"""A Monday."""


def fires(expression, *minutes, made=NOON):
    rate = rate_of(expression)
    return [rate.due(NOON + 60 * minute, made) for minute in minutes]


def test_a_rate_fires_every_so_often_from_the_rules_making():
    assert fires("rate(5 minutes)", 0, 4, 5, 6, 10) == [False, False, True, False, True]
    assert fires("rate(1 minute)", 1, 2) == [True, True]
    assert fires("rate(2 hours)", 60, 120) == [False, True]


BAD = (
    "rate(1 minutes)",
    "rate(5 minute)",
    "rate(0 minutes)",
    "rate(5 seconds)",
    "every 5 minutes",
    "cron(0 12 * * ? *)",
)


@pytest.mark.parametrize("expression", BAD)
def test_a_schedule_that_eventbridge_refuses_or_that_is_no_rate_is_an_error(expression):
    with pytest.raises(BadScheduleError):
        rate_of(expression)


def test_a_rule_with_a_bad_schedule_is_refused(cloud):
    for expression in BAD:
        with pytest.raises(ClientError, match="not valid"):
            cloud.client("events").put_rule(Name="bad", ScheduleExpression=expression)


def test_the_clock_starts_an_execution_with_the_scheduled_event(cloud):
    machine = make_machine(cloud, "woken", {"A": {"Type": "Pass", "End": True}})
    events = cloud.client("events")
    arn = events.put_rule(Name="pulse", ScheduleExpression="rate(2 minutes)")["RuleArn"]
    events.put_targets(Rule="pulse", Targets=[{"Id": "1", "Arn": machine, "RoleArn": role(cloud)}])
    done = cloud.events.wait_for(
        lambda event: isinstance(event, ExecutionChanged) and event.status == "SUCCEEDED",
        seconds=10,
    )
    assert done.output["detail-type"] == "Scheduled Event"
    assert done.output["resources"] == [arn]
    told = cloud.events.wait_for(lambda event: isinstance(event, RuleMatched), seconds=5)
    assert str(told) == f"rule pulse matched the clock → execution {done.execution}"
    events.disable_rule(Name="pulse")


def test_a_target_without_a_role_is_refused_as_aws_does(cloud):
    machine = make_machine(cloud, "woken", {"A": {"Type": "Pass", "End": True}})
    events = cloud.client("events")
    events.put_rule(Name="pulse", ScheduleExpression="rate(1 minute)")
    events.put_targets(Rule="pulse", Targets=[{"Id": "1", "Arn": machine}])
    failed = cloud.events.wait_for(lambda event: isinstance(event, DeliveryFailed), seconds=10)
    assert failed.error_code == "NO_PERMISSIONS"


def test_an_events_own_input_wins(cloud):
    machine = make_machine(cloud, "woken", {"A": {"Type": "Pass", "End": True}})
    events = cloud.client("events")
    events.put_rule(Name="pulse", ScheduleExpression="rate(1 minute)")
    target = {"Id": "1", "Arn": machine, "RoleArn": role(cloud), "Input": '{"mine": 1}'}
    events.put_targets(Rule="pulse", Targets=[target])
    done = cloud.events.wait_for(
        lambda event: isinstance(event, ExecutionChanged) and event.status == "SUCCEEDED",
        seconds=10,
    )
    assert done.output == {"mine": 1}


def test_the_clock_invokes_a_function_that_lets_the_rule_in_and_no_other(cloud):
    code = "def handle(event, context):\n    print(event['detail-type'], 'came')\n"
    arn = make_function(cloud, "looks", code)
    events = cloud.client("events")
    rule = events.put_rule(Name="minute", ScheduleExpression="rate(1 minute)")["RuleArn"]
    events.put_targets(Rule="minute", Targets=[{"Id": "1", "Arn": arn}])
    failed = cloud.events.wait_for(lambda event: isinstance(event, DeliveryFailed), seconds=10)
    assert failed.error_code == "NO_PERMISSIONS"
    cloud.client("lambda").add_permission(
        FunctionName="looks",
        StatementId="minute",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
    )
    line = cloud.events.wait_for(lambda event: isinstance(event, FunctionLine), seconds=20)
    assert line.line == "Scheduled Event came"


def test_a_function_that_the_clock_finds_still_at_work_is_not_invoked_beside_itself(cloud):
    code = "import time\ndef handle(event, context):\n    print('began')\n    time.sleep(2)\n"
    arn = make_function(cloud, "slow", code, Timeout=30)
    cloud.client("lambda").add_permission(
        FunctionName="slow",
        StatementId="minute",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
    )
    events = cloud.client("events")
    events.put_rule(Name="minute", ScheduleExpression="rate(1 minute)")
    events.put_targets(Rule="minute", Targets=[{"Id": "1", "Arn": arn}])
    cloud.events.wait_for(
        lambda event: isinstance(event, RuleMatched) and event.outcome.endswith("dropped"),
        seconds=20,
    )
    events.disable_rule(Name="minute")
    cloud.events.wait_for(lambda event: isinstance(event, FunctionLine), seconds=20)
    told = [event for event in cloud.events.past if isinstance(event, FunctionLine)]
    assert len(told) == 1
