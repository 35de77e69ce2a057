"""Cancels tasks by a mark in the result table, which needs no worker alive.

A worker that receives the task's message deletes it without running it, and one that runs the task
ends it within a heartbeat (a third of the deployment's visibility time-out). Either stores REVOKED,
so that whoever waits for the result hears of it.
"""

from __future__ import annotations

import time
from typing import Any

from taskpacks.contract import TASK_ITEM_SECONDS, attempts_key, cancels_key


def cancel(dynamodb: Any, table: str, deployment: str, task_id: str) -> None:
    """Marks a task as cancelled; one that is done stays done.

    Two writes, which may be repeated. The marks are kept for as long as SQS can keep a message.

    Args:
        dynamodb: A boto3 client for DynamoDB; the producer policies of a stack allow the calls.
        table: Name of the stack's result table, the path of its result backend URL.
        deployment: Name of the deployment that the task was sent to.
        task_id: Celery's id of the task.
    """
    now = time.time()
    marks = ((attempts_key(deployment, task_id), "cancelled"), (cancels_key(deployment), "latest"))
    for key, name in marks:
        dynamodb.update_item(
            TableName=table,
            Key={"id": {"S": key}},
            UpdateExpression="SET #mark = :now, #ttl = :ttl",
            ExpressionAttributeNames={"#mark": name, "#ttl": "ttl"},
            ExpressionAttributeValues={
                ":now": {"N": repr(now)},
                ":ttl": {"N": str(int(now) + TASK_ITEM_SECONDS)},
            },
        )
