"""How often a task was tried, apart from how often its message was received.

SQS counts receives, and a worker that is taken away mid-task costs one. An attempt is what
ended by the task's own doing: an exception, a time limit, a lost process. Attempts are counted
in the result table, under the task's id; where there is none, receives stand in for them.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from kombu.utils.url import url_to_parts

from taskpacks.contract import attempts_key

if TYPE_CHECKING:
    from worker.leases import Lease

logger = logging.getLogger(__name__)

_KEY: Final = "id"
_TTL: Final = "ttl"
_COUNT: Final = "attempts"
KEEP_SECONDS: Final = 14 * 24 * 60 * 60
"""As long as SQS can keep a message."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often a task is tried, and how long a failed one waits.

    Attributes:
        max_attempts: Attempts, the first included.
        backoff_seconds: The wait after the first failed attempt; it doubles each time.
        backoff_max_seconds: The longest wait.
    """

    max_attempts: int
    backoff_seconds: float
    backoff_max_seconds: float

    def exhausted(self, attempts: int) -> bool:
        """Says whether a task that has failed so often is not tried again."""
        return attempts >= self.max_attempts

    def wait_seconds(self, attempts: int) -> float:
        """How long a task that has failed so often (at least once) waits for its next try."""
        doublings = min(attempts - 1, 32)  # beyond that every cap is reached, and floats end
        return min(self.backoff_max_seconds, self.backoff_seconds * 2**doublings)


class AttemptLog(Protocol):
    """Counts failed attempts by task."""

    def count(self, task_id: str, lease: Lease) -> int:
        """How often the task has failed before this receive."""
        ...

    def add(self, task_id: str, lease: Lease, attempts: int) -> int:
        """Adds failed attempts; returns how many there are in all."""
        ...


class ReceivesAsAttempts:
    """For workers without a result table: every receive counts as an attempt."""

    def count(self, task_id: str, lease: Lease) -> int:
        """Receives before this one."""
        del task_id
        return lease.receives - 1

    def add(self, task_id: str, lease: Lease, attempts: int) -> int:
        """This receive and those before it, or more when more are added."""
        del task_id
        return lease.receives - 1 + attempts


class AttemptTable:
    """Counts in the DynamoDB table that also holds the results."""

    def __init__(self, table: str, region: str, deployment: str) -> None:
        self._table = table
        self._deployment = deployment
        self._client: Any = boto3.client("dynamodb", region_name=region)
        self._without_table = ReceivesAsAttempts()

    def count(self, task_id: str, lease: Lease) -> int:
        """See `AttemptLog`; a first receive has none and asks nobody."""
        if lease.receives <= 1:
            return 0
        try:
            item = self._client.get_item(
                TableName=self._table, Key=self._key(task_id), ConsistentRead=True
            ).get("Item", {})
        except (ClientError, BotoCoreError) as error:
            logger.warning("attempts of task %s cannot be read, so it is tried: %s", task_id, error)
            return 0
        return int(item.get(_COUNT, {"N": "0"})["N"])

    def add(self, task_id: str, lease: Lease, attempts: int) -> int:
        """See `AttemptLog`; when the table cannot be written, receives stand in."""
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=self._key(task_id),
                UpdateExpression="ADD #count :attempts SET #ttl = :ttl",
                ExpressionAttributeNames={"#count": _COUNT, "#ttl": _TTL},
                ExpressionAttributeValues={
                    ":attempts": {"N": str(attempts)},
                    ":ttl": {"N": str(int(time.time()) + KEEP_SECONDS)},
                },
                ReturnValues="UPDATED_NEW",
            )
        except (ClientError, BotoCoreError) as error:
            logger.warning("an attempt of task %s cannot be counted: %s", task_id, error)
            return self._without_table.add(task_id, lease, attempts)
        return int(answer["Attributes"][_COUNT]["N"])

    def _key(self, task_id: str) -> dict[str, dict[str, str]]:
        return {_KEY: {"S": attempts_key(self._deployment, task_id)}}


def attempt_log(result_backend: str | None, deployment: str) -> AttemptLog:
    """The log that goes with a Celery result backend URL, and that only one deployment writes."""
    if result_backend and result_backend.startswith("dynamodb://"):
        parts: Any = url_to_parts(result_backend)
        return AttemptTable(table=parts.path, region=parts.hostname, deployment=deployment)
    return ReceivesAsAttempts()
