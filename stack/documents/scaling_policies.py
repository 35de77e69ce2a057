"""IAM policies of what decides and starts workers, as pure functions, one statement a need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stack.documents import key_policies
from stack.documents.iam import allow, document
from stack.model import STACK_TAG
from taskpacks.contract import pause_parameter

if TYPE_CHECKING:
    from collections.abc import Collection

    from stack.model import StackContext
    from taskpacks.types import Cap, ScalingMode


def submit(job_queue_arn: str, job_definition_arn: str) -> dict[str, Any]:
    """Lets EventBridge submit this deployment's jobs, in whatever revision.

    Args:
        job_queue_arn: The job queue.
        job_definition_arn: The job definition's ARN without a revision.

    AWS asks for the definition, for the queue and for the job that comes of it, whose id
    nobody knows before:
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html
    """
    return document([_submit(job_queue_arn, job_definition_arn)])


def _submit(job_queue_arn: str, job_definition_arn: str) -> dict[str, Any]:
    definition = job_definition_arn
    jobs = _jobs(definition)
    return allow(["batch:SubmitJob"], [job_queue_arn, definition, f"{definition}:*", jobs])


def _jobs(job_definition_arn: str) -> str:
    """All jobs of the account and region: nobody knows an id before."""
    return f"{job_definition_arn.partition(':job-definition/')[0]}:job/*"


def launcher(
    deployment: str, queue_arn: str, log_group_arn: str, *, context: StackContext
) -> dict[str, Any]:
    """Returns what the launcher looks at. It starts nothing itself.

    Args:
        deployment: Its name.
        queue_arn: The deployment's task queue.
        log_group_arn: Where its output goes.
        context: Of the stack.
    """
    pause = f"parameter{pause_parameter(context.stack, deployment)}"
    return document(
        [
            allow(["sqs:GetQueueAttributes"], [queue_arn]),
            allow(["ssm:GetParameters"], [context.arn("ssm", pause)]),
            # Neither service knows a resource for these actions:
            # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html
            # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html
            allow(["batch:ListJobs", "batch:DescribeJobs", "cloudwatch:GetMetricData"], ["*"]),
            allow(["logs:CreateLogStream", "logs:PutLogEvents"], [f"{log_group_arn}:*"]),
            *key_policies.environment(context),
        ]
    )


def controller(
    launcher_arn: str, job_queue_arn: str, job_definition_arn: str, *, cap: Cap
) -> dict[str, Any]:
    """Returns what the state machine does: ask the launcher, submit and end jobs, keep a log.

    Args:
        launcher_arn: The launcher's function.
        job_queue_arn: The job queue.
        job_definition_arn: The job definition's ARN without a revision.
        cap: With `stop` it may end jobs that run, too.
    """
    end = ["batch:CancelJob", *(["batch:TerminateJob"] if cap == "stop" else [])]
    return document(
        [
            allow(["lambda:InvokeFunction"], [launcher_arn]),
            _submit(job_queue_arn, job_definition_arn),
            allow(end, [_jobs(job_definition_arn)]),
            # A log delivery has no resource that could be named:
            # https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
            allow(
                [
                    "logs:CreateLogDelivery",
                    "logs:GetLogDelivery",
                    "logs:UpdateLogDelivery",
                    "logs:DeleteLogDelivery",
                    "logs:ListLogDeliveries",
                    "logs:PutResourcePolicy",
                    "logs:DescribeResourcePolicies",
                    "logs:DescribeLogGroups",
                ],
                ["*"],
            ),
        ]
    )


def doorman(
    log_group_arn: str, modes: Collection[ScalingMode], *, context: StackContext
) -> dict[str, Any]:
    """Returns what the doorman does: count, see whether anything is at work, start what decides.

    Its resources are those with the stack's tag, and are not named: the names of fifty deployments
    do not fit a role's policies, and a deployment that comes would change what all share. SQS,
    Step Functions and Batch take the tag as a condition:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-abac-tagging-resource-control.html
    https://docs.aws.amazon.com/step-functions/latest/dg/tag-based-policies.html
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html

    Args:
        log_group_arn: Where its output goes.
        modes: Those of the stack's deployments: it may start nothing that none of them has.
        context: Of the stack.
    """
    ours = {"StringEquals": {f"aws:ResourceTag/{STACK_TAG}": context.stack}}
    folder = context.arn("ssm", f"parameter{context.folder}")
    statements = [
        allow(["ssm:GetParametersByPath"], [f"{folder}/deployments", f"{folder}/deployments/*"]),
        allow(["ssm:GetParameters"], [f"{folder}/paused/*"]),
        allow(["sqs:GetQueueAttributes"], [context.arn("sqs", "*")], Condition=ours),
        allow(["logs:CreateLogStream", "logs:PutLogEvents"], [f"{log_group_arn}:*"]),
        *key_policies.environment(context),
    ]
    if "controller" in modes:
        statements.append(
            allow(
                ["states:ListExecutions", "states:StartExecution"],
                [context.arn("states", "stateMachine:*")],
                Condition=ours,
            )
        )
    if "alarms" in modes:
        statements += [
            allow(
                ["batch:SubmitJob"],
                [context.arn("batch", "job-queue/*"), context.arn("batch", "job-definition/*")],
                Condition=ours,
            ),
            # A job that is not there yet has no tags; its queue and its definition have.
            allow(["batch:SubmitJob"], [context.arn("batch", "job/*")]),
            allow(["batch:ListJobs"], ["*"]),
        ]
    return document(statements)


def start_execution(state_machine_arn: str) -> dict[str, Any]:
    """Lets a rule wake the state machine, or an execution start its successor."""
    return document([allow(["states:StartExecution"], [state_machine_arn])])


def list_executions(state_machine_arn: str) -> dict[str, Any]:
    """Lets the launcher see whether an older execution is at work."""
    return document([allow(["states:ListExecutions"], [state_machine_arn])])
