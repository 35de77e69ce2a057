"""Celery's DynamoDB result backend, with conditional writes.

Results have the form that Celery's own backend reads. What is added: a result with an older fence
number never replaces one with a newer, nor anything a success; the parts of a chord are a set and
not a count, so that a part that reports twice counts once; and the body is sent by one part.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError
from celery import states
from celery.backends.dynamodb import DynamoDBBackend
from kombu.exceptions import EncodeError
from kombu.utils.encoding import bytes_to_str, ensure_bytes

from taskpacks import limits
from worker.envelope import ONCE_HEADER
from worker.outcomes import FencedOutError, ResultNotStoredError
from worker.services import services_of
from worker.sqs import FAULTS
from worker.storable import UnstorableResultError
from worker.task_table import CONDITION_FAILED, client

if TYPE_CHECKING:
    from collections.abc import Generator

    from celery.app.task import Context

logger = logging.getLogger(__name__)

SCHEME: Final = "dynamodb://"
STORE_SECONDS: Final = 30
"""How long a result waits for a table that does not answer; then the attempt is cut."""
PAUSES_SECONDS: Final = (0.2, 0.5, 1, 2)
ARGUMENTS_BYTES_MAX: Final = 100_000
"""The size of arguments as JSON that are stored where `store_arguments` asks for it: a quarter of
an item, the rest of which is for the result."""
INVALID: Final = "ValidationException"
"""DynamoDB's answer to an item that is too large, among others; trying again does not help."""
_UNFENCED: Final = frozenset({states.FAILURE, states.REVOKED})
"""States that are written once the lock is given up, and that a task run again may replace."""


_ABSENT: Final = "attribute_not_exists(id)"


def backend_url(url: str | None) -> str:
    """The `result_backend` setting of the worker's application."""
    if not url:
        return "disabled://"
    return f"{__name__}:FencedBackend+{url}" if url.startswith(SCHEME) else url


class FencedBackend(DynamoDBBackend):
    """Stores what the owner of a task's lock reports."""

    _part: Any = None
    _hands_over = False
    _refuses = False

    @property
    def client(self) -> Any:
        """A client of this process; the stack has made the table."""
        ours: Any = self
        return client(ours.aws_region)

    def _get_result_meta(
        self, result: Any, state: str, traceback: Any, request: Any, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """See Celery's; with the names of the worker and its log, and no large arguments."""
        ours: Any = self
        celery: Any = super()
        meta = celery._get_result_meta(result, state, traceback, request, *args, **kwargs)  # noqa: SLF001 -- overridden
        meta["taskpacks"] = services_of(ours.app).identity.of(request)
        if "args" in meta and not self._holds([meta["args"], meta["kwargs"]]):
            meta["args"] = meta["kwargs"] = None
        return meta

    def _holds(self, arguments: Any) -> bool:
        ours: Any = self
        try:
            return len(ensure_bytes(ours.encode(arguments))) <= ARGUMENTS_BYTES_MAX
        except EncodeError:  # the task has changed them
            return False

    def _store_result(
        self,
        task_id: Any,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Context | None = None,
        **_: Any,
    ) -> Any:
        ours: Any = self
        put = self._put_of(task_id, result, state, traceback, request)
        unfenced = state in _UNFENCED or self._hands_over
        fence = 0 if unfenced else services_of(ours.app).deadline.fence
        put["Item"]["fence"] = {"N": str(fence)}
        condition = _ABSENT if self._refuses else "attribute_not_exists(succeeded)"
        if state == states.SUCCESS:
            put["Item"]["succeeded"] = {"BOOL": True}
        if not unfenced:
            condition += " AND (attribute_not_exists(fence) OR fence <= :fence)"
            put["ExpressionAttributeValues"] = {":fence": {"N": str(fence)}}
        held = self._patiently(
            self.client.put_item,
            **put,
            ConditionExpression=condition,
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        if held is None and not unfenced:
            raise FencedOutError(f"task {task_id}: another worker has its lock", requeue=True)
        return result

    def _put_of(
        self, task_id: Any, result: Any, state: str, traceback: Any, request: Any
    ) -> dict[str, Any]:
        ours: Any = self
        meta = ours._get_result_meta(result, state, traceback, request)  # noqa: SLF001 -- overridden
        meta["task_id"] = bytes_to_str(task_id)
        key = str(ours.get_key_for_task(task_id))
        return ours._prepare_put_request(key, ours.encode(meta))  # noqa: SLF001 -- as above

    def store_first(self, task_id: str, error: Exception, request: Any, *, unless: str) -> bool:
        """Stores a failure where nothing is stored yet, in one step.

        Args:
            task_id: The task's id.
            error: Why it failed.
            request: The task's.
            unless: The key of an item that must not be there either.

        Returns:
            Whether it is stored now.
        """
        ours: Any = self
        put = self._put_of(
            task_id, ours.encode_result(error, states.FAILURE), states.FAILURE, None, request
        )
        check = {"TableName": self.table_name, "Key": {"id": {"S": unless}}}
        try:
            self.client.transact_write_items(
                TransactItems=[
                    {"ConditionCheck": {**check, "ConditionExpression": _ABSENT}},
                    {"Put": {**put, "ConditionExpression": _ABSENT}},
                ]
            )
        except ClientError as failure:
            reasons: Any = failure.response.get("CancellationReasons", [])
            if not any(each.get("Code") == "ConditionalCheckFailed" for each in reasons):
                raise
            return False
        return True

    @contextmanager
    def refusing(self) -> Generator[None]:
        """Stores what is stored inside only where a task has no result yet."""
        self._refuses = True
        try:
            yield
        finally:
            self._refuses = False

    def hand_over(self, task_id: str, error: Any, request: Any) -> None:
        """Stores that a task is tried again elsewhere: locks have numbers of their own there."""
        ours: Any = self
        self._hands_over = True
        try:
            ours.mark_as_retry(task_id, error, request=request)
        finally:
            self._hands_over = False

    def get(self, key: Any) -> Any:
        """See Celery's; a chord whose parts cannot be read for a moment has not failed."""
        return self._patiently(super().get, key=key)

    def chord_error_from_stack(self, callback: Any, exc: Any = None) -> Any:
        """See Celery's; called in the middle of an error."""
        if isinstance(error := sys.exc_info()[1], ResultNotStoredError):
            raise error  # the table is away: the attempt is cut, and the chord goes on after it
        return super().chord_error_from_stack(callback, exc)

    def _patiently(self, call: Any, **arguments: Any) -> dict[str, Any] | None:
        """Makes a call until it is answered.

        Returns:
            The answer; an empty one when the task has succeeded before; None when the condition
            did not hold.

        Raises:
            ResultNotStoredError: It was not for `STORE_SECONDS`.
            UnstorableResultError: The table never takes it.
        """
        give_up_at = time.monotonic() + STORE_SECONDS
        failures = 0
        while True:
            try:
                return call(**arguments)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code")
                if code == CONDITION_FAILED:
                    return {} if "succeeded" in error.response.get("Item", {}) else None
                if code == INVALID:
                    raise UnstorableResultError(
                        f"a state or result is larger than an item of the result table holds "
                        f"({limits.ITEM_BYTES_MAX} bytes), or invalid: {error}; store data in "
                        "TASKPACKS_DATA_URI, and its address here."
                    ) from error
                said: Exception = error
            except FAULTS as error:
                said = error
            pause = PAUSES_SECONDS[min(failures, len(PAUSES_SECONDS) - 1)]
            failures += 1
            if time.monotonic() + pause >= give_up_at:
                raise ResultNotStoredError(
                    f"result table {self.table_name} does not serve results: {said}", requeue=True
                ) from said
            logger.warning("result table %s, trying again: %s", self.table_name, said)
            time.sleep(pause)

    def on_chord_part_return(self, request: Any, state: Any, result: Any, **kwargs: Any) -> Any:
        """See Celery's; called again for the same part, it does what is left to do."""
        self._part = request
        chord = request.chord
        if isinstance(chord, dict):
            headers = chord.setdefault("options", {}).setdefault("headers", {})
            headers[ONCE_HEADER] = True
        try:
            return super().on_chord_part_return(request, state, result, **kwargs)
        finally:
            self._part = None

    def incr(self, key: Any) -> int:
        """Adds a part to a chord, and returns how many there are.

        0 for a chord whose body another part has sent.
        """
        part = self._part
        known = str(part.group_index if part.group_index is not None else part.id)
        key_of = {"id": {"S": str(key)}}
        answer = self._patiently(
            self.client.update_item,
            TableName=self.table_name,
            Key=key_of,
            UpdateExpression="ADD parts :part SET #ttl = :ttl",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues={":part": {"SS": [known]}, ":ttl": self._ends()},
            ReturnValues="ALL_NEW",
        )
        parts = len((answer or {})["Attributes"]["parts"]["SS"])
        size = part.chord.get("chord_size")
        if size is None or parts < size:
            return parts
        fired = self._patiently(
            self.client.update_item,
            TableName=self.table_name,
            Key=key_of,
            UpdateExpression="SET fired_by = :part",
            ConditionExpression="attribute_not_exists(fired_by) OR fired_by = :part",
            ExpressionAttributeValues={":part": {"S": known}},
        )
        return 0 if fired is None else parts

    def delete(self, key: Any) -> None:
        """Leaves what a part that reports twice looks at: it ends with its time to live."""
        if self._part is None:
            super().delete(key)

    def _ends(self) -> dict[str, str]:
        return {"N": str(int(time.time()) + int(self.time_to_live_seconds or 0))}
