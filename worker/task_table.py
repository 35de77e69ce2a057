"""A task's item in the result table: how often it failed, who runs it, whether it is done.

The item is a lock. A worker that takes it writes its name, an end and a fence number, which
grows each time; the same write learns whether the task is done, cancelled, out of attempts, or
running elsewhere. All writes may be repeated: an answer that was lost does no harm.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from taskpacks.contract import TASK_ITEM_SECONDS, attempts_key, cancels_key
from taskpacks.errors import TaskpacksError
from worker.sqs import FAULTS, checked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from taskpacks.types import Death

BATCH_MAX: Final = 25
"""Items that one BatchWriteItem puts.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html"""
CALL_SECONDS: Final = 3
"""For one call; whoever calls tries again."""
ERROR_MAX: Final = 1000
"""Characters of a failure's text that are kept."""
CONDITION_FAILED: Final = "ConditionalCheckFailedException"


class TableUnavailableError(TaskpacksError):
    """The result table does not answer, or refuses the worker's role."""


class Reason(Enum):
    """Why a task may not run now."""

    DONE = "it is done"
    CANCELLED = "it is cancelled"
    RUNNING = "another worker runs it"
    DEAD = "it has used its attempts"


@dataclass(frozen=True)
class Receive:
    """One receive of one message of a task.

    Attributes:
        task_id: The task's id.
        message_id: SQS's name for the message; a redriven one has another.
        generation: Grows with each message that a task sends in its own place.
        owner: A name for this receive, which no other has.
    """

    task_id: str
    message_id: str
    generation: int
    owner: str


@dataclass(frozen=True)
class Claim:
    """The table's knowledge of a task that may run.

    Attributes:
        attempts: Failed attempts so far.
        fence: The number of this lock: results with a lower one are refused.
        failure: The text of a final failure that was decided and not reported yet.
        death: What it was a death of (`worker.outcomes.death_of`).
    """

    attempts: int
    fence: int
    failure: str | None
    death: Death | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a task may not run, and, while another worker runs it, for how many seconds."""

    reason: Reason
    seconds: float = 0


def client(region: str) -> Any:
    """A DynamoDB client of this process: a forked process must not use its parent's connections."""
    return _client(region, os.getpid())


@lru_cache(maxsize=4)
def _client(region: str, _pid: int) -> Any:
    config = Config(
        connect_timeout=CALL_SECONDS,
        read_timeout=CALL_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 2},
    )
    return checked(boto3.client("dynamodb", region_name=region, config=config))


class TaskTable:
    """The items of one deployment's tasks. Safe in all threads and processes.

    Every call raises TableUnavailableError when the table cannot be used.
    """

    def __init__(self, table: str, region: str, deployment: str) -> None:
        self._table = table
        self._region = region
        self._deployment = deployment

    def claim(self, receive: Receive, until: float) -> Claim | Refusal:
        """Takes the lock on a task.

        Args:
            receive: Who takes it.
            until: When it ends, in seconds since the epoch.
        """
        now = time.time()
        answer = self._update(
            receive,
            "SET #owner = :owner, #until = :until, #generation = :generation, #ttl = :ttl"
            " ADD #fence :one",
            "(attribute_not_exists(#done) OR #done < :generation)"
            " AND (attribute_not_exists(#generation) OR #generation <= :generation)"
            " AND attribute_not_exists(#cancelled)"
            # The run that has sent this message in its own place is at its end.
            " AND (attribute_not_exists(#until) OR #until < :now OR #owner = :owner"
            " OR #generation < :generation)"
            " AND (attribute_not_exists(#reported) OR #dead <> :message)",
            {
                ":until": {"N": repr(until)},
                ":now": {"N": repr(now)},
                ":one": {"N": "1"},
                ":generation": {"N": str(receive.generation)},
                ":message": {"S": receive.message_id},
            },
        )
        if isinstance(answer, _Failed):
            return _refusal(answer.item, receive, now)
        item = answer
        dead = _text(item, "dead")
        death: Any = _text(item, "death")
        return Claim(
            # A dead letter that was sent again has all its attempts before it.
            attempts=0 if dead not in (None, receive.message_id) else _number(item, "attempts"),
            fence=_number(item, "fence"),
            failure=_text(item, "failure") if dead == receive.message_id else None,
            death=death,
        )

    def renew(self, receive: Receive, until: float) -> Refusal | None:
        """Keeps the lock for longer; says why, when it is not this worker's any more."""
        now = time.time()
        answer = self._update(
            receive,
            "SET #until = :until, #ttl = :ttl",
            "#owner = :owner AND attribute_not_exists(#cancelled)"
            " AND (attribute_not_exists(#done) OR #done < :generation)",
            {
                ":until": {"N": repr(until)},
                ":generation": {"N": str(receive.generation)},
            },
        )
        return _refusal(answer.item, receive, now) if isinstance(answer, _Failed) else None

    def release(self, receive: Receive) -> None:
        """Gives up the lock, if it is this worker's: the task did not end."""
        self._update(receive, "SET #ttl = :ttl REMOVE #owner, #until", "#owner = :owner")

    def fail(
        self, receive: Receive, attempts: int, failure: str | None, death: Death | None
    ) -> bool:
        """Notes a failed attempt, and gives up the lock.

        Args:
            receive: Which receive failed.
            attempts: Failed attempts, this one included.
            failure: The text of a failure that is final; None when the task is tried again.
            death: What it died of (`worker.outcomes.death_of`).

        Returns:
            False when another worker has the lock: the attempt was cut, and does not count.
        """
        values: dict[str, Any] = {
            ":attempts": {"N": str(attempts)},
            ":now": {"N": repr(time.time())},
        }
        change = "SET #attempts = :attempts, #ttl = :ttl"
        left = "#owner, #until, #reported"
        if failure is None:
            left += ", #dead, #failure, #death"
        else:
            change += ", #dead = :message, #failure = :failure, #death = :death"
            values[":message"] = {"S": receive.message_id}
            values[":failure"] = {"S": failure[:ERROR_MAX]}
            values[":death"] = {"S": death} if death else {"NULL": True}
        answer = self._update(
            receive,
            f"{change} REMOVE {left}",
            "attribute_not_exists(#until) OR #until < :now OR #owner = :owner",
            values,
        )
        return not isinstance(answer, _Failed)

    def report(self, receive: Receive) -> None:
        """Notes that the task's final failure was reported."""
        self._update(
            receive,
            "SET #reported = :generation, #ttl = :ttl",
            "#dead = :message",
            {
                ":generation": {"N": str(receive.generation)},
                ":message": {"S": receive.message_id},
            },
        )

    def finish(self, receives: Iterable[tuple[Receive, int]]) -> None:
        """Notes that tasks are done: none of their messages runs again.

        Args:
            receives: At most `BATCH_MAX`, each with the fence of its lock, 0 without one.
        """
        ttl = str(int(time.time()) + TASK_ITEM_SECONDS)
        items = {
            receive.task_id: {
                "id": {"S": attempts_key(self._deployment, receive.task_id)},
                "done": {"N": str(receive.generation)},
                "fence": {"N": str(fence)},
                "ttl": {"N": ttl},
            }
            for receive, fence in receives
        }
        try:
            answer = client(self._region).batch_write_item(
                RequestItems={
                    self._table: [{"PutRequest": {"Item": each}} for each in items.values()]
                }
            )
        except FAULTS as error:
            raise TableUnavailableError(f"result table {self._table}: {error}") from error
        if answer.get("UnprocessedItems"):
            raise TableUnavailableError(
                f"result table {self._table} is throttled: not every item was written"
            )

    def replaced(self, receive: Receive) -> None:
        """Notes that a message is done, whose task has sent another in its place.

        That one may have the lock by now, which `finish` would drop.
        """
        self._update(
            receive,
            "SET #done = :generation, #ttl = :ttl"
            " REMOVE #owner, #until, #attempts, #reported, #dead, #failure",
            "(attribute_not_exists(#generation) OR #generation <= :generation)"
            " AND (attribute_not_exists(#done) OR #done < :generation)",
            {":generation": {"N": str(receive.generation)}},
        )

    def has_cancels(self) -> bool:
        """Says whether a task of the deployment was cancelled whose message may still be there."""
        try:
            answer = client(self._region).get_item(
                TableName=self._table,
                Key={"id": {"S": cancels_key(self._deployment)}},
                ConsistentRead=True,
            )
        except FAULTS as error:
            raise TableUnavailableError(f"result table {self._table}: {error}") from error
        latest = answer.get("Item", {}).get("latest", {"N": "0"})["N"]
        return float(latest) > time.time() - TASK_ITEM_SECONDS

    def _update(
        self,
        receive: Receive,
        change: str,
        condition: str,
        values: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | _Failed:
        all_values = {
            ":owner": {"S": receive.owner},
            ":ttl": {"N": str(int(time.time()) + TASK_ITEM_SECONDS)},
            **(values or {}),
        }
        said = f"{change} {condition}"
        try:
            return client(self._region).update_item(
                TableName=self._table,
                Key={"id": {"S": attempts_key(self._deployment, receive.task_id)}},
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeNames={
                    f"#{name}": name for name in _ATTRIBUTES if f"#{name}" in said
                },
                ExpressionAttributeValues={
                    name: value for name, value in all_values.items() if name in said
                },
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )["Attributes"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == CONDITION_FAILED:
                return _Failed(error.response.get("Item", {}))
            raise TableUnavailableError(f"result table {self._table}: {error}") from error
        except FAULTS as error:
            raise TableUnavailableError(f"result table {self._table}: {error}") from error


_ATTRIBUTES: Final = (
    "owner",
    "until",
    "fence",
    "generation",
    "attempts",
    "dead",
    "death",
    "failure",
    "reported",
    "done",
    "cancelled",
    "ttl",
)


@dataclass(frozen=True)
class _Failed:
    """A write whose condition did not hold, and the item as it is."""

    item: Mapping[str, Any]


def _refusal(item: Mapping[str, Any], receive: Receive, now: float) -> Refusal:
    # Who has sent a message in the place of its own is done, also where that is not noted.
    sent_again = _number(item, "generation") > receive.generation
    if sent_again or ("done" in item and _number(item, "done") >= receive.generation):
        return Refusal(Reason.DONE)
    if "cancelled" in item:
        return Refusal(Reason.CANCELLED)
    if _text(item, "dead") == receive.message_id:
        return Refusal(Reason.DEAD)
    return Refusal(Reason.RUNNING, max(0.0, float(item.get("until", {"N": "0"})["N"]) - now))


def _number(item: Mapping[str, Any], name: str) -> int:
    return int(item.get(name, {"N": "0"})["N"])


def _text(item: Mapping[str, Any], name: str) -> str | None:
    return item.get(name, {}).get("S")
