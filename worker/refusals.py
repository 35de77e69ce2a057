"""Stores why a message was refused as its task's result, so that whoever waits for it is answered.

The message itself goes the way of poison; its task's id is what its sender wrote. So the result is
written only where there is nothing yet that belongs to another task: no result, and no count of
attempts.
"""

from __future__ import annotations

import logging
from typing import Any

from botocore.exceptions import ClientError
from celery.backends.base import DisabledBackend
from celery.backends.dynamodb import DynamoDBBackend
from celery.states import FAILURE, PENDING

from taskpacks.contract import attempts_key
from taskpacks.errors import TaskpacksError

logger = logging.getLogger(__name__)


class RefusedMessageError(TaskpacksError):
    """A worker cannot run a message; the text says why."""


class Refusals:
    """Stores results for tasks that will not run."""

    def __init__(self, app: Any, deployment: str) -> None:
        """Prepares it; nothing is asked for before the first refusal.

        Args:
            app: The worker's application, whose result backend is used.
            deployment: Whose attempts are looked for.
        """
        self._app = app
        self._deployment = deployment

    def store(self, task_id: str, reason: str) -> bool:
        """Stores a FAILURE, unless the task has a result, or attempts of this deployment.

        In DynamoDB that is one step. In another backend a result that comes at the same time may
        be overwritten, and attempts are not counted where they could be looked for.

        Args:
            task_id: The task's id, as its message says.
            reason: A sentence for the caller.

        Returns:
            Whether it is stored, or need not be; False when the backend does not answer.
        """
        backend = self._app.backend
        if isinstance(backend, DisabledBackend):
            return True
        error = RefusedMessageError(reason)
        try:
            if isinstance(backend, DynamoDBBackend):
                self._write(backend, task_id, error)
            elif backend.get_task_meta(task_id)["status"] == PENDING:
                backend.store_result(task_id, error, FAILURE)
        except Exception as failure:  # noqa: BLE001 -- each backend has errors of its own
            logger.warning("why task %s was refused cannot be stored: %s", task_id, failure)
            return False
        return True

    def _write(self, backend: Any, task_id: str, error: RefusedMessageError) -> None:
        meta = backend._get_result_meta(  # noqa: SLF001 -- Celery's own form of a result
            backend.encode_result(error, FAILURE), FAILURE, None, None
        )
        put = backend._prepare_put_request(  # noqa: SLF001 -- as above
            str(backend.get_key_for_task(task_id)), backend.encode({**meta, "task_id": task_id})
        )
        attempts = {"id": {"S": attempts_key(self._deployment, task_id)}}
        absent = "attribute_not_exists(id)"
        try:
            backend.client.transact_write_items(
                TransactItems=[
                    {
                        "ConditionCheck": {
                            "TableName": backend.table_name,
                            "Key": attempts,
                            "ConditionExpression": absent,
                        }
                    },
                    {"Put": {**put, "ConditionExpression": absent}},
                ]
            )
        except ClientError as failure:
            reasons: Any = failure.response.get("CancellationReasons", [])
            if not any(each.get("Code") == "ConditionalCheckFailed" for each in reasons):
                raise
            logger.warning("task %s was refused and has a result or attempts, which stay", task_id)
