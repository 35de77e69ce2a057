"""Checks that what a task returns or raises can be stored, before Celery tries."""

from __future__ import annotations

import traceback
from typing import Any, Final

from celery.app.task import (
    get_actual_ignore_result,  # pyright: ignore[reportAttributeAccessIssue] -- its stub lacks it
)
from celery.backends.base import DisabledBackend
from celery.backends.dynamodb import DynamoDBBackend
from celery.exceptions import TaskPredicate
from celery.states import SUCCESS
from kombu.exceptions import EncodeError
from kombu.utils.encoding import ensure_bytes

from taskpacks import limits
from taskpacks.errors import (
    QUOTED_CHARACTERS_MAX,
    BadInputError,
    TaskpacksError,
    shortened,
)

STORED_BYTES_MAX: Final = limits.ITEM_BYTES_MAX - 1024
"""The size of a result as Celery stores it. The rest is for the item's key, its other attributes
and the names of all of them."""


ERROR_CHARACTERS_MAX: Final = STORED_BYTES_MAX // 12
"""The length of an error with its trace. It is stored in both, and JSON writes some characters
in 6 bytes."""


class LongError(TaskpacksError):
    """A task's error that its result backend cannot store whole: this one has its beginning."""

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.taskpacks_final = final


class UnstorableResultError(TaskpacksError):
    """A task returned what its result backend cannot store: trying again would not help."""

    taskpacks_final = True


def check(result: object, task: Any) -> None:
    """Refuses a result that the task's result backend cannot store.

    Args:
        result: What the task's function returned.
        task: The task, within its request.

    Raises:
        UnstorableResultError: It is no JSON, or larger than an item in DynamoDB.
    """
    backend, request = task.backend, task.request
    if get_actual_ignore_result(task, request) or isinstance(backend, DisabledBackend):
        return
    meta = backend._get_result_meta(  # noqa: SLF001 -- what is stored, the tasks that it sent included
        backend.encode_result(result, SUCCESS), SUCCESS, None, request
    )
    try:
        size = len(ensure_bytes(backend.encode(meta)))
    except EncodeError as error:
        raise UnstorableResultError(
            f"task {task.name} returned a {type(result).__name__} that cannot be stored as JSON: "
            f"{shortened(str(error), QUOTED_CHARACTERS_MAX)}; return texts, numbers, lists and "
            "dictionaries."
        ) from None
    if isinstance(backend, DynamoDBBackend) and size > STORED_BYTES_MAX:
        raise UnstorableResultError(
            f"what task {task.name} returned has {size} bytes as JSON, with the ids of the "
            f"{len(request.children or ())} tasks that it sent: the result table stores at most "
            f"{STORED_BYTES_MAX} for one task; write data to TASKPACKS_DATA_URI, and return its "
            "address."
        )


def check_error(error: Exception, task: Any) -> None:
    """Replaces an error that the task's result backend cannot store.

    Args:
        error: What the task's function raised.
        task: The task.

    Raises:
        LongError: In place of an error whose text, or trace, is too long for an item in DynamoDB.
    """
    if isinstance(error, TaskPredicate) or not isinstance(task.backend, DynamoDBBackend):
        return
    if sum(map(len, traceback.format_exception(error))) > ERROR_CHARACTERS_MAX:
        raise LongError(
            shortened(f"{type(error).__name__}: {error}"), final=isinstance(error, BadInputError)
        ) from None
