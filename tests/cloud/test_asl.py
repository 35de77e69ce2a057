"""Definitions that Step Functions refuses."""

from __future__ import annotations

import pytest

from local.cloud.asl import faults

PASS = {"Type": "Pass", "End": True}


def machine(**states):
    return {"StartAt": "A", "States": {"A": PASS} | states}


def test_a_sound_definition_has_no_faults():
    assert not faults(
        {
            "StartAt": "Ask",
            "States": {
                "Ask": {
                    "Type": "Task",
                    "Resource": "arn:aws:states:::lambda:invoke",
                    "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Bad"}],
                    "Next": "Act",
                },
                "Act": {
                    "Type": "Choice",
                    "Choices": [{"Variable": "$.a", "NumericEquals": 1, "Next": "Wait"}],
                    "Default": "Both",
                },
                "Wait": {"Type": "Wait", "SecondsPath": "$.s", "Next": "Ask"},
                "Both": {"Type": "Parallel", "Branches": [machine(), machine()], "End": True},
                "Bad": {"Type": "Fail"},
            },
        }
    )


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ([], "must be an object"),
        ({"StartAt": "A"}, "'States' must hold a state"),
        ({"StartAt": "B", "States": {"A": PASS}}, "no state 'B' (at /StartAt)"),
        (machine(A={"Type": "Pass", "Next": "Nowhere"}), "no state 'Nowhere'"),
        (machine(B=PASS), 'State "B" is not reachable'),
        (machine(A={"Type": "Pass"}), "either Next or End"),
        (machine(A={"Type": "Pass", "Next": "A", "End": True}), "either Next or End"),
        (machine(A={"Type": "Run", "End": True}), "no state type 'Run'"),
        (machine(A={"Type": "Choice"}), "must have Choices"),
        (machine(A={"Type": "Choice", "Choices": [{"Next": "X"}]}), "no state 'X'"),
        (machine(A={"Type": "Task", "End": True}), "must have a Resource"),
        (machine(A={"Type": "Wait", "End": True}), "one duration"),
        (
            machine(A={"Type": "Wait", "Seconds": 1, "SecondsPath": "$", "End": True}),
            "one duration",
        ),
        (
            machine(A={"Type": "Task", "Resource": "arn:x", "End": True, "Catch": [{"Next": "X"}]}),
            "no state 'X'",
        ),
        (
            machine(A={"Type": "Parallel", "End": True, "Branches": [{"StartAt": "A"}]}),
            "A/Branches[0]/States",
        ),
        (machine() | {"QueryLanguage": "JSONata"}, "JSONPath only"),
    ],
)
def test_a_fault_is_named_with_its_place(definition, words):
    assert words in " ".join(faults(definition))
