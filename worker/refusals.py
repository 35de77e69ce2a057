"""Stores why a message was refused as its task's result, so that whoever waits for it is answered.

The message itself goes the way of poison; its task's id is what its sender wrote. So the result is
written only where there is nothing yet that belongs to another task: no result, and no count of
attempts. What follows the task fails with it: its chord, the rest of its chain, its errbacks.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from celery.app.task import Context
from celery.backends.base import DisabledBackend
from celery.states import PENDING

from taskpacks.contract import attempts_key
from taskpacks.errors import TaskpacksError
from worker import followers
from worker.results import FencedBackend
from worker.routes import on_behalf_of

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    def store(self, request: Mapping[str, Any], reason: str) -> bool:
        """Stores a FAILURE, unless the task has a result, or attempts of this deployment.

        In DynamoDB that is one step. In another backend a result that comes at the same time may
        be overwritten, and attempts are not counted where they could be looked for.

        Args:
            request: The task's, as its message says (`envelope.request_of`).
            reason: A sentence for the caller.

        Returns:
            Whether it is stored, or need not be; False when the backend does not answer, or what
            follows the task did not get its failure: call it again then.
        """
        backend, context = self._app.backend, Context(dict(request))
        if isinstance(backend, DisabledBackend):
            return True
        try:
            self._store(backend, followers.name(context), RefusedMessageError(reason))
        except Exception as failure:  # noqa: BLE001 -- each backend has errors of its own
            logger.warning("why task %s was refused cannot be stored: %s", context.id, failure)
            return False
        return True

    def _store(self, backend: Any, context: Context, error: RefusedMessageError) -> None:
        task_id: Any = context.id
        if isinstance(backend, FencedBackend):
            unless = attempts_key(self._deployment, task_id)
            first = backend.store_first(task_id, error, context, unless=unless)
            storing = backend.refusing()
        else:
            first = backend.get_task_meta(task_id, cache=False)["status"] == PENDING
            storing = nullcontext()
        # A worker may have ended after it had stored this, and before it told what follows.
        if not first and not _is_stored(backend, task_id, error):
            logger.warning("task %s was refused and has a result or attempts, which stay", task_id)
            return
        with storing, on_behalf_of(context):
            backend.mark_as_failure(task_id, error, request=context)


def _is_stored(backend: Any, task_id: str, error: RefusedMessageError) -> bool:
    stored = backend.get_task_meta(task_id, cache=False)["result"]
    return isinstance(stored, RefusedMessageError) and str(stored) == str(error)
