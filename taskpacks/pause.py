"""Pauses a deployment: it starts no workers until it is resumed, and messages wait.

The pause is kept outside what Pulumi manages, so that `pulumi up` and `pulumi refresh` keep it.
Workers that run already finish what is in the task queue.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskpacks.contract import pause_parameter, record_parameter, stack_parameter
from taskpacks.errors import UnknownDeploymentError, nearest, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def pause(client: Callable[[str], Any], stack: str, deployment: str, reason: str) -> None:
    """Keeps a deployment from starting workers; may be repeated.

    The launcher reads the pause in every round, and the doorman before it wakes it. In scaling mode
    `alarms` nobody asks before a start, so the job queue is disabled. Alarms that would ring only
    because nothing is started are muted.

    Args:
        client: Makes a boto3 client of a service, as `boto3.client` does, with rights to
            `ssm:PutParameter`, `ssm:GetParameter`, `cloudwatch:DisableAlarmActions` and, for
            mode `alarms`, `batch:UpdateJobQueue`.
        stack: Name of the stack.
        deployment: Name of the deployment.
        reason: Why, for the launcher's log.

    Raises:
        UnknownDeploymentError: The stack has no such deployment here.
    """
    facts = _facts(client, stack, deployment)
    mark = {
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
        # A later deployment of the same name is not paused.
        "queue_url": facts["queue_url"],
    }
    client("ssm").put_parameter(
        Name=pause_parameter(stack, deployment),
        Type="String",
        Value=json.dumps(mark),
        Overwrite=True,
    )
    client("cloudwatch").disable_alarm_actions(AlarmNames=_muted(facts))
    if facts["scaling"] == "alarms":
        client("batch").update_job_queue(jobQueue=facts["job_queue"], state="DISABLED")


def resume(client: Callable[[str], Any], stack: str, deployment: str) -> None:
    """Undoes `pause`; may be repeated, and for a deployment that is not paused.

    Args:
        client: As `pause` takes it, with rights to `ssm:GetParameter`, `ssm:DeleteParameters`,
            `cloudwatch:EnableAlarmActions` and `batch:UpdateJobQueue`.
        stack: Name of the stack.
        deployment: Name of the deployment.

    Raises:
        UnknownDeploymentError: The stack has no such deployment here.
    """
    facts = _facts(client, stack, deployment)
    # Whatever the mode is now: it may have been another when the deployment was paused.
    client("batch").update_job_queue(jobQueue=facts["job_queue"], state="ENABLED")
    client("cloudwatch").enable_alarm_actions(AlarmNames=_muted(facts))
    client("ssm").delete_parameters(Names=[pause_parameter(stack, deployment)])


def _facts(client: Callable[[str], Any], stack: str, deployment: str) -> Mapping[str, str]:
    """The deployment's record, which the stack writes when all of it is there."""
    ssm = client("ssm")
    try:
        record = ssm.get_parameter(Name=record_parameter(stack, deployment))
    except ssm.exceptions.ParameterNotFound:
        folder = stack_parameter(stack, "deployments")
        pages = ssm.get_paginator("get_parameters_by_path").paginate(Path=folder)
        known = [each["Name"].rpartition("/")[2] for page in pages for each in page["Parameters"]]
        raise UnknownDeploymentError(
            f"stack {quoted(stack)} has no deployment {quoted(deployment)} in "
            f"{ssm.meta.region_name}: there is no parameter {record_parameter(stack, deployment)}."
            f"{nearest(deployment, known)} Check the names, the region and the account."
        ) from None
    return json.loads(record["Parameter"]["Value"])


def _muted(facts: Mapping[str, str]) -> list[str]:
    return facts["muted_while_paused"].split(",")
