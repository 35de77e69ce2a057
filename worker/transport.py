"""Celery's SQS transport on the blocking, boto3 path, where an empty receive is one moment.

kombu's asynchronous SQS path ends or silently stops a worker at a single 503; on this path
boto3 does polling, retries, time-outs and credentials, and Celery uses its blocking loop.
Private names of kombu are overridden: it is pinned exactly, and tests hold the signatures.
"""

from __future__ import annotations

import logging
import time
from queue import Empty
from typing import TYPE_CHECKING, Any, ClassVar, Final

from botocore.exceptions import BotoCoreError, ClientError
from celery.worker import state as celery_state
from kombu.transport import SQS

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.leaving import DrainPolicy

logger = logging.getLogger(__name__)

RECEIVE_WAIT_SECONDS: Final = 1
"""Of one long poll: short, because a worker looks at its stop flag between them."""
ACK_POLL_SECONDS: Final = 0.05
"""While the one slot is taken, how often to look whether it is free."""
BACK_OFF_SECONDS: Final = (0.5, 1, 2, 4, 8)
"""After that many failed receives in a row; the last value repeats."""

POLICY_OPTION: Final = "drain_policy"
"""Transport option that carries the worker's DrainPolicy."""
ON_DRAINED_OPTION: Final = "on_drained"
"""Transport option: called, with no arguments, when the task queue is drained."""


class Channel(SQS.Channel):
    """Survives failed receives, and notices that the task queue is drained."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._failed_receives = 0

    @property
    def _options(self) -> dict[str, Any]:
        return self.transport_options or {}

    @property
    def _policy(self) -> DrainPolicy:
        return self._options[POLICY_OPTION]

    def drain_events(
        self, timeout: float | None = None, callback: Callable[..., Any] | None = None, **_: Any
    ) -> None:
        """Receives once, when the slot is free and nobody asked to stop; else waits briefly.

        Raises:
            Empty: Nothing was received.
        """
        if celery_state.should_stop is not None or not self.qos.can_consume():
            self._policy.busy(time.monotonic())
            time.sleep(ACK_POLL_SECONDS)
            raise Empty
        super().drain_events(timeout=timeout, callback=callback)

    def _receive_message(
        self,
        queue: str,
        max_number_of_messages: int = 1,
        wait_time_seconds: int | None = None,
    ) -> dict[str, Any]:
        try:
            response: dict[str, Any] = super()._receive_message(
                queue, max_number_of_messages, wait_time_seconds
            )
        except (ClientError, BotoCoreError) as error:
            self._back_off(queue, error)
            return {}
        self._failed_receives = 0
        if response.get("Messages"):
            self._policy.busy(time.monotonic())
        elif self._policy.drained(time.monotonic()) and self._is_empty(queue):
            self._options[ON_DRAINED_OPTION]()
        return response

    def _back_off(self, queue: str, error: Exception) -> None:
        seconds = BACK_OFF_SECONDS[min(self._failed_receives, len(BACK_OFF_SECONDS) - 1)]
        self._failed_receives += 1
        logger.warning(
            "receiving from %s failed (%d in a row), trying again in %g s: %s",
            queue,
            self._failed_receives,
            seconds,
            error,
        )
        time.sleep(seconds)

    def _is_empty(self, queue: str) -> bool:
        """Asks SQS whether anything is visible or delayed; a failed question is a no."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
        try:
            attributes = self.sqs(queue=queue).get_queue_attributes(
                QueueUrl=self._new_queue(queue), AttributeNames=names
            )["Attributes"]
        except (ClientError, BotoCoreError) as error:
            logger.warning("cannot ask whether %s is drained, so staying: %s", queue, error)
            return False
        return all(int(attributes[name]) == 0 for name in names)


class Transport(SQS.Transport):
    """kombu's SQS transport, made blocking."""

    Channel = Channel
    implements: ClassVar[Any] = SQS.Transport.implements.extend(asynchronous=False)
    # The waiting is done in Channel: a pass through the loop that finds nothing ends at once.
    polling_interval = None
    wait_time_seconds = RECEIVE_WAIT_SECONDS

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # noqa: ARG002 -- kombu's signature
        """Makes one pass over the channels, so that the stop flag is seen after each.

        Raises:
            TimeoutError: Nothing was received; Celery's blocking loop expects it.
        """
        try:
            cycle: Any = self.cycle
            cycle.get(self._deliver, timeout=timeout)
        except Empty:
            raise TimeoutError from None
