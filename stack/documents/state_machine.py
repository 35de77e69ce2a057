"""The state machine of scaling mode `controller`, as a definition in Amazon States Language.

                     ┌────────────────────────────────────────────┐
    any input ──▶ Decide ──▶ Act ───▶ StartOne / StartArray ──▶ Wait
                     │         ├──▶ Cancel, Stop ──▶ Wait
                     │         ├──▶ Done, Halt, StandDown
                     │         ├──▶ Renew: a successor goes on
                     │         └──▶ GaveUp
                     └──▶ LauncherFailed

All that is remembered from round to round goes through the launcher (`memory` in its answer), so
that an execution that finds nothing to do costs three transitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskpacks.contract import ENDED_REASON

if TYPE_CHECKING:
    from stack.model import StackContext

# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
HISTORY_EVENTS_MAX: Final = 25_000
ROUNDS_MAX: Final = 500
"""Then a successor goes on: `tests/stack` counts that no 500 rounds can fill the history."""
TIMEOUT_SECONDS: Final = 14 * 24 * 60 * 60
"""The longest rounds that there can be take less; an execution that lives longer is stuck, and all
others would stand down before it."""
SUBMIT_TIMEOUT_SECONDS: Final = 60

# Lambda's own trouble and not the launcher's:
# https://docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html
LAMBDA_ERRORS: Final = (
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
)
# SubmitJob was refused for its rate. The model of Batch has no such error, and so it comes under
# the general name of one of AWS's SDKs or another, with "TooManyRequestsException" in the cause:
# https://github.com/ASFHyP3/hyp3/issues/1676 and https://github.com/ASFHyP3/hyp3/issues/911.
# Nothing else is retried in place: after a time-out or a server's error the job may exist, and
# the next round sees whether it does.
THROTTLED_ERRORS: Final = (
    "Batch.TooManyRequestsException",
    "Batch.ThrottlingException",
    "Batch.AWSBatchException",
    "Batch.BatchException",
)


def definition(
    *,
    launcher_arn: str,
    launcher_timeout_seconds: int,
    job_name: str,
    job_queue_arn: str,
    job_definition: str,
    context: StackContext,
    rounds_max: int = ROUNDS_MAX,
) -> dict[str, Any]:
    """Returns the controller's state machine, for `json.dumps`.

    Args:
        launcher_arn: The Lambda function's.
        launcher_timeout_seconds: Its own time-out.
        job_name: Of the jobs that it submits.
        job_queue_arn: Where it submits them.
        job_definition: What they run: a name alone is its latest active revision.
        context: Of the stack.
        rounds_max: After so many decisions a successor goes on.
    """
    services = f"arn:{context.partition}:states:::"
    job = {"JobName": job_name, "JobQueue": job_queue_arn, "JobDefinition": job_definition}
    return {
        "Comment": "Starts as many workers as there is work for, and asks again until it is done.",
        "StartAt": "Decide",
        "TimeoutSeconds": TIMEOUT_SECONDS,
        "States": {
            "Decide": {
                "Type": "Task",
                "Resource": f"{services}lambda:invoke",
                "Parameters": {
                    "FunctionName": launcher_arn,
                    "Payload": {
                        "execution.$": "$$.Execution.Id",
                        "started_at.$": "$$.Execution.StartTime",
                        "state_machine.$": "$$.StateMachine.Id",
                        # The event that woke it, what a predecessor left, or the last round.
                        "state.$": "$",
                    },
                },
                "OutputPath": "$.Payload",
                "TimeoutSeconds": launcher_timeout_seconds + 15,
                "Retry": [
                    _retry(LAMBDA_ERRORS, times=4),
                    # The launcher's own errors: three attempts in all.
                    _retry(("States.ALL",), times=2),
                ],
                "Catch": [
                    {
                        "ErrorEquals": ["States.ALL"],
                        "ResultPath": "$.trouble",
                        "Next": "LauncherFailed",
                    }
                ],
                "Next": "Act",
            },
            "Act": {
                "Type": "Choice",
                "Choices": [
                    _when("done", "Done"),
                    _when("halt", "Halt"),
                    _when("stand_down", "StandDown"),
                    _when("fail", "GaveUp"),
                    {
                        "Variable": "$.memory.round",
                        "NumericGreaterThanEquals": rounds_max,
                        "Next": "Renew",
                    },
                    _when("wait", "Wait"),
                    _when("cancel", "Cancel"),
                    _when("stop", "Stop"),
                    {
                        "And": [
                            {"Variable": "$.verb", "StringEquals": "start"},
                            {"Variable": "$.start", "NumericEquals": 1},
                        ],
                        "Next": "StartOne",
                    },
                    _when("start", "StartArray"),
                ],
                "Default": "LauncherFailed",
            },
            "StartOne": _start(services, job),
            "StartArray": _start(services, {**job, "ArrayProperties": {"Size.$": "$.start"}}),
            "Cancel": {
                "Comment": "A job that waits for a machine; one that has started is left alone.",
                **_end(services, "cancelJob", "$.cancel_job", "no message needs it"),
            },
            "Stop": {
                "Comment": "A job or array job: its workers give back their tasks.",
                **_end(services, "terminateJob", "$.stop_job", "the cap is reached"),
            },
            "Wait": {"Type": "Wait", "SecondsPath": "$.wait_seconds", "Next": "Decide"},
            "Renew": {
                "Comment": f"Before the history is full ({HISTORY_EVENTS_MAX} events).",
                "Type": "Task",
                "Resource": f"{services}states:startExecution",
                "Parameters": {
                    "StateMachineArn.$": "$$.StateMachine.Id",
                    "Input": {
                        # So that it does not stand down before its own predecessor.
                        "predecessor.$": "$$.Execution.Id",
                        "memory.$": "$.memory",
                    },
                },
                "ResultSelector": {"execution.$": "$.ExecutionArn"},
                "ResultPath": "$.successor",
                "Retry": [_retry(("States.ALL",), times=4)],
                "End": True,
            },
            "Done": {"Type": "Succeed"},
            "StandDown": {"Comment": "An older execution is at work.", "Type": "Succeed"},
            "Halt": {
                "Comment": "By the breaker, the cap or a pause, as the launcher's metric says.",
                "Type": "Succeed",
            },
            "GaveUp": {"Type": "Fail", "Error": "GaveUp", "CausePath": "$.reason"},
            "LauncherFailed": {
                "Type": "Fail",
                "Error": "LauncherFailed",
                "CausePath": "States.JsonToString($)",
            },
        },
    }


def _when(verb: str, state: str) -> dict[str, Any]:
    return {"Variable": "$.verb", "StringEquals": verb, "Next": state}


def _start(services: str, job: dict[str, Any]) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": f"{services}batch:submitJob",
        "Parameters": job,
        "ResultSelector": {"job_id.$": "$.JobId"},
        "ResultPath": "$.submitted",
        "TimeoutSeconds": SUBMIT_TIMEOUT_SECONDS,
        "Retry": [_retry(THROTTLED_ERRORS, times=5)],
        # The next round sees what came of it.
        "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.trouble", "Next": "Wait"}],
        "Next": "Wait",
    }


def _end(services: str, operation: str, job_id: str, why: str) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": f"{services}aws-sdk:batch:{operation}",
        "Parameters": {"JobId.$": job_id, "Reason": f"{ENDED_REASON} {why}"},
        "ResultPath": None,
        "TimeoutSeconds": SUBMIT_TIMEOUT_SECONDS,
        "Retry": [_retry(THROTTLED_ERRORS, times=5)],
        # The next round sees what came of it.
        "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "Wait"}],
        "Next": "Wait",
    }


def _retry(errors: tuple[str, ...], *, times: int) -> dict[str, Any]:
    return {
        "ErrorEquals": list(errors),
        "IntervalSeconds": 2,
        "MaxAttempts": times,
        "BackoffRate": 2,
        "MaxDelaySeconds": 30,
        "JitterStrategy": "FULL",
    }
