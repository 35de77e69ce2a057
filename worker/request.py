"""A task's request as this worker sees it: Celery's own, which also reports how it went."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery.exceptions import Retry
from celery.worker.request import Request

from worker.telemetry import TaskReport

if TYPE_CHECKING:
    from worker.telemetry import Telemetry

_MILLISECONDS = 1000


class TaskRequest(Request):
    """Reports every ending once, from the worker's main process, after the message is settled.

    Celery generates a subclass of this one for every task, with an `on_success` of its own;
    what is overridden here is what that one calls.
    """

    _outcome = "done"
    _reported = False

    def acknowledge(self) -> None:
        """Deletes the message: the task is done, or has sent itself again."""
        super().acknowledge()
        self._report()

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        """Called when the task raised, was lost with its process, or asked for a retry."""
        self._outcome = "retried" if isinstance(exc_info.exception, Retry) else "failed"
        answer = super().on_failure(
            exc_info, send_failed_event=send_failed_event, return_ok=return_ok
        )
        self._report()
        return answer

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """Called when a time limit is exceeded; the hard one ends the task."""
        if not soft:
            self._outcome = "timed_out"
        answer = super().on_timeout(soft, timeout)
        if not soft:
            self._report()
        return answer

    def _report(self) -> None:
        if self._reported:
            return
        self._reported = True
        message: Any = self.message
        attributes = message.delivery_info.get("sqs_message", {}).get("Attributes", {})
        sent, started = attributes.get("SentTimestamp"), self.time_start
        app: Any = self.app
        telemetry: Telemetry = app.conf.taskpacks_telemetry
        telemetry.tell(
            TaskReport(
                task_id=self.id,
                task_name=self.name,
                outcome=self._outcome,
                receives=int(attributes.get("ApproximateReceiveCount", 0)),
                wait_seconds=(
                    max(0.0, started - int(sent) / _MILLISECONDS) if sent and started else None
                ),
                run_seconds=time.time() - started if started else None,
            )
        )
