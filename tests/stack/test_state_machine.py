"""The controller's definition, as values and before a validator of the language."""

import json
from dataclasses import replace

import pytest
from cfnlint import api
from cfnlint.config import ManualArgs

from launcher.policy import IDLE_ROUNDS
from stack.documents import state_machine
from taskpacks.contract import ENDED_REASON
from tests.stack.contexts import CONTEXT

MADE = state_machine.definition(
    launcher_arn="arn:aws:lambda:us-east-1:111122223333:function:small-launcher",
    launcher_timeout_seconds=60,
    job_name="small-worker",
    job_queue_arn="arn:aws:batch:us-east-1:111122223333:job-queue/small-jobs",
    job_definition="arn:aws:batch:us-east-1:111122223333:job-definition/small-worker:3",
    context=CONTEXT,
)
STATES = MADE["States"]


def complaints(definition):
    """Returns what cfn-lint says of a state machine with this definition."""
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {
            "Machine": {
                "Type": "AWS::StepFunctions::StateMachine",
                "Properties": {
                    "RoleArn": "arn:aws:iam::111122223333:role/controller",
                    "Definition": definition,
                },
            }
        },
    }
    config = ManualArgs(regions=["us-east-1"])
    return [str(match) for match in api.lint(json.dumps(template), config=config)]


def test_the_validator_has_nothing_to_say():
    assert complaints(MADE) == []


@pytest.mark.parametrize(
    "broken",
    [
        {"StartAt": "Begin"},
        {"States": {**STATES, "Wait": {"Type": "Wiat", "Next": "Decide"}}},
        {"States": {**STATES, "Halt": {"Type": "Fail", "Causes": "x"}}},
    ],
)
def test_the_validator_sees_what_is_wrong(broken):
    assert complaints({**MADE, **broken})


def transitions(state):
    """The states that may come after one."""
    found = [rule["Next"] for rule in (*state.get("Choices", ()), *state.get("Catch", ()))]
    return found + [state[key] for key in ("Next", "Default") if key in state]


def test_every_transition_leads_to_a_state_and_every_state_is_reached():
    # The validator does not look at this.
    reached, ahead = set(), [MADE["StartAt"]]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += transitions(STATES[name])
    assert reached == set(STATES)


def chosen(decision):
    """The state that the choice leads to, for a decision of the launcher."""

    def holds(rule):
        if "And" in rule:
            return all(holds(each) for each in rule["And"])
        value = decision
        for part in rule["Variable"].removeprefix("$.").split("."):
            value = value[part]
        if "StringEquals" in rule:
            return value == rule["StringEquals"]
        if "NumericEquals" in rule:
            return value == rule["NumericEquals"]
        return value >= rule["NumericGreaterThanEquals"]

    act = STATES["Act"]
    return next((rule["Next"] for rule in act["Choices"] if holds(rule)), act["Default"])


@pytest.mark.parametrize(
    ("verb", "start", "at", "state"),
    [
        ("start", 1, 1, "StartOne"),
        ("start", 2, 1, "StartArray"),
        ("start", 10_000, 499, "StartArray"),
        ("start", 7, 500, "Renew"),
        ("wait", 0, 1, "Wait"),
        ("wait", 0, 500, "Renew"),
        ("cancel", 0, 1, "Cancel"),
        ("cancel", 0, 500, "Renew"),
        ("done", 0, 500, "Done"),
        ("halt", 0, 500, "Halt"),
        ("stand_down", 0, 1, "StandDown"),
        ("fail", 0, 500, "GaveUp"),
        ("unheard of", 0, 1, "LauncherFailed"),
    ],
)
def test_each_decision_has_its_state(verb, start, at, state):
    assert chosen({"verb": verb, "start": start, "memory": {"round": at}}) == state


def test_nothing_but_a_decision_to_start_leads_to_a_start():
    starts = {"StartOne", "StartArray"}
    leading = [name for name, state in STATES.items() if starts & set(transitions(state))]
    assert leading == ["Act"]


def test_only_a_refusal_for_the_rate_is_tried_again_in_place():
    for name in ("StartOne", "StartArray"):
        (retry,) = STATES[name]["Retry"]
        assert "Batch.TooManyRequestsException" in retry["ErrorEquals"]
        assert not {"States.ALL", "States.TaskFailed", "States.Timeout"} & set(retry["ErrorEquals"])
        (catch,) = STATES[name]["Catch"]
        assert (catch["ErrorEquals"], catch["Next"]) == (["States.ALL"], "Wait")


def test_a_job_is_cancelled_for_a_reason_that_is_no_failure():
    parameters = STATES["Cancel"]["Parameters"]
    assert parameters["JobId.$"] == "$.cancel_job"
    assert parameters["Reason"].startswith(ENDED_REASON)
    assert set(transitions(STATES["Cancel"])) == {"Wait"}


def test_a_successor_is_told_who_it_takes_over_from():
    parameters = STATES["Renew"]["Parameters"]
    assert parameters["StateMachineArn.$"] == "$$.StateMachine.Id"
    assert parameters["Input"]["predecessor.$"] == "$$.Execution.Id"
    assert STATES["Renew"]["End"] is True


def most_events(name):
    """How many events an execution's history gets at most from one pass through a state.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html: a
    state is entered and left; each attempt of a task is scheduled, started and ended.
    """
    state = STATES[name]
    if state["Type"] != "Task":
        return 2
    attempts = 1 + sum(retry["MaxAttempts"] for retry in state["Retry"])
    return 2 + 3 * attempts


def test_no_round_can_fill_the_history_before_the_successor_is_started():
    one_round = sum(map(most_events, ("Decide", "Act", "StartArray", "Wait")))
    whole = 2 + state_machine.ROUNDS_MAX * one_round + most_events("Renew")
    assert whole < state_machine.HISTORY_EVENTS_MAX


def test_rounds_cannot_outlast_the_executions_own_time_limit():
    """Even the longest that a spec can ask for, each with every retry and time-out."""

    def longest(name):
        state = STATES[name]
        attempts = 1 + sum(retry["MaxAttempts"] for retry in state["Retry"])
        waits = sum(retry["MaxAttempts"] * retry["MaxDelaySeconds"] for retry in state["Retry"])
        return attempts * state["TimeoutSeconds"] + waits

    one_round = longest("Decide") + longest("StartArray") + 600 * IDLE_ROUNDS
    assert state_machine.ROUNDS_MAX * one_round < state_machine.TIMEOUT_SECONDS


def test_other_partitions_name_their_own_services():
    made = state_machine.definition(
        launcher_arn="l",
        launcher_timeout_seconds=60,
        job_name="n",
        job_queue_arn="q",
        job_definition="d",
        context=replace(CONTEXT, partition="aws-cn"),
    )
    resources = [state["Resource"] for state in made["States"].values() if "Resource" in state]
    assert len(resources) == 6
    assert all(resource.startswith("arn:aws-cn:states:::") for resource in resources)
