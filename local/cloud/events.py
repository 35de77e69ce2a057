"""Records of what happens in the cloud, for displays and tests."""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.cloud.clock import Clock

_REMEMBERED: Final = 10_000
_CLOSE_SECONDS: Final = 1.0


@dataclass(frozen=True)
class When:
    """A moment on both clocks, in UTC."""

    cloud: datetime
    real: datetime


@dataclass(frozen=True)
class CloudEvent:
    """The base of all records."""

    part: ClassVar[str] = "cloud"
    """Ends the name of its logger: local.cloud.PART."""
    level: ClassVar[int] = logging.INFO

    when: When


@dataclass(frozen=True)
class DepthChanged(CloudEvent):
    """A task queue's counts differ from those of the minute before."""

    part: ClassVar[str] = "metrics"

    queue: str
    visible: int
    in_flight: int
    delayed: int

    def __str__(self) -> str:
        return (
            f"queue {self.queue}: {self.visible} visible, {self.in_flight} in flight, "
            f"{self.delayed} delayed"
        )


@dataclass(frozen=True)
class AlarmChanged(CloudEvent):
    """An alarm went from one state to another."""

    part: ClassVar[str] = "alarms"

    alarm: str
    previous: str
    state: str
    reason: str

    def __str__(self) -> str:
        return f"alarm {self.alarm}: {self.previous} → {self.state} ({self.reason})"


@dataclass(frozen=True)
class RuleMatched(CloudEvent):
    """A rule of the event bus matched an event and delivered it to a target."""

    part: ClassVar[str] = "rules"

    rule: str
    event: str
    """A description of the event."""
    outcome: str
    """A description of what the target did with it."""

    def __str__(self) -> str:
        return f"rule {self.rule} matched {self.event} → {self.outcome}"


@dataclass(frozen=True)
class DeliveryFailed(CloudEvent):
    """A target refused an event."""

    part: ClassVar[str] = "rules"
    level: ClassVar[int] = logging.ERROR

    rule: str
    target: str
    error_code: str
    error_message: str
    dead_letter_queue: str | None

    def __str__(self) -> str:
        went = f"sent to {self.dead_letter_queue}" if self.dead_letter_queue else "dropped"
        return (
            f"rule {self.rule}: target {self.target} refused the event, which was {went}: "
            f"{self.error_code}: {self.error_message}"
        )


@dataclass(frozen=True)
class JobSubmitted(CloudEvent):
    """Batch accepted a job."""

    part: ClassVar[str] = "batch"

    job_id: str
    name: str
    queue: str
    array_size: int | None

    def __str__(self) -> str:
        kind = f"array job of {self.array_size}" if self.array_size else "job"
        return f"{kind} {self.name} submitted to {self.queue} as {self.job_id}"


@dataclass(frozen=True)
class JobChanged(CloudEvent):
    """A job, a child of an array job, or its parent entered another status."""

    part: ClassVar[str] = "batch"

    job_id: str
    name: str
    status: str
    exit_code: int | None
    reason: str | None
    attempt: int
    """Counts from 1; 0 before the first."""

    def __str__(self) -> str:
        facts = [f"attempt {self.attempt}"] if self.attempt > 1 else []
        facts += [f"exit code {self.exit_code}"] if self.exit_code is not None else []
        facts += [self.reason] if self.reason else []
        return f"job {self.name} {self.job_id}: {self.status}" + (
            f" ({', '.join(facts)})" if facts else ""
        )


@dataclass(frozen=True)
class LogLine(CloudEvent):
    """A job printed a line."""

    part: ClassVar[str] = "logs"
    level: ClassVar[int] = logging.DEBUG

    job_id: str
    line: str

    def __str__(self) -> str:
        return f"{self.job_id}: {self.line}"


@dataclass(frozen=True)
class ExecutionChanged(CloudEvent):
    """A state machine's execution began or ended."""

    part: ClassVar[str] = "states"

    machine: str
    execution: str
    status: str
    """RUNNING, SUCCEEDED, FAILED, ABORTED or TIMED_OUT."""
    output: Any
    """When it succeeded, parsed; else None."""
    cause: str | None
    """Why it failed."""

    def __str__(self) -> str:
        return f"execution {self.execution} of {self.machine}: {self.status}" + (
            f" ({self.cause})" if self.cause else ""
        )


@dataclass(frozen=True)
class FunctionLine(CloudEvent):
    """A Lambda function printed a line."""

    part: ClassVar[str] = "functions"
    level: ClassVar[int] = logging.DEBUG

    function: str
    line: str

    def __str__(self) -> str:
        return f"{self.function}: {self.line}"


@dataclass(frozen=True)
class FunctionFailed(CloudEvent):
    """An invocation of a Lambda function ended in an error."""

    part: ClassVar[str] = "functions"
    level: ClassVar[int] = logging.ERROR

    function: str
    error_type: str
    message: str

    def __str__(self) -> str:
        return f"function {self.function} failed: {self.error_type}: {self.message}"


@dataclass(frozen=True)
class NoticeSent(CloudEvent):
    """An alarm notified a topic that it changed."""

    part: ClassVar[str] = "alarms"

    alarm: str
    state: str
    topic: str

    def __str__(self) -> str:
        return f"alarm {self.alarm} notified topic {self.topic}: {self.state}"


@dataclass(frozen=True)
class CloudError(CloudEvent):
    """Something that the cloud cannot do, or a defect of its own."""

    level: ClassVar[int] = logging.ERROR

    text: str

    def __str__(self) -> str:
        return self.text


class EventStream:
    """Hands every record to its subscribers, in order, in a thread of its own.

    So a subscriber may call the cloud's API, and a slow one holds nothing up.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._subscribers: list[Callable[[CloudEvent], None]] = []
        self._past: deque[CloudEvent] = deque(maxlen=_REMEMBERED)
        self._emitted = 0
        self._outbox: queue.SimpleQueue[CloudEvent | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._deliver, name="cloud-events", daemon=True)

    def start(self) -> None:
        """Begins to deliver."""
        self._thread.start()

    def close(self) -> None:
        """Delivers what is left, within a second, and stops."""
        self._outbox.put(None)
        self._thread.join(_CLOSE_SECONDS)

    def now(self) -> When:
        """The present moment, for a record."""
        return When(cloud=self._clock.now(), real=datetime.now(UTC))

    def milliseconds(self) -> int:
        """Now by the cloud's clock, as Batch writes it."""
        return int(self._clock.now_seconds() * 1000)

    def subscribe(self, callback: Callable[[CloudEvent], None]) -> Callable[[], None]:
        """Calls back for every record from now on; what it raises is logged.

        Returns:
            A function that ends the subscription.
        """
        with self._changed:
            self._subscribers.append(callback)

        def unsubscribe() -> None:
            with self._changed:
                if callback in self._subscribers:
                    self._subscribers.remove(callback)

        return unsubscribe

    @property
    def past(self) -> tuple[CloudEvent, ...]:
        """The latest ten thousand records, oldest first."""
        with self._changed:
            return tuple(self._past)

    def wait_for(self, wanted: Callable[[CloudEvent], bool], *, seconds: float) -> CloudEvent:
        """Waits for a record, past or to come.

        Raises:
            TimeoutError: None came in that many real seconds.
        """
        until = time.monotonic() + seconds
        with self._changed:
            looked_at = self._emitted - len(self._past)
            while True:
                fresh = list(self._past)[max(0, len(self._past) - self._emitted + looked_at) :]
                looked_at = self._emitted
                if found := next((event for event in fresh if wanted(event)), None):
                    return found
                if not self._changed.wait(max(0.0, until - time.monotonic())):
                    tail = "; ".join(str(event) for event in list(self._past)[-10:]) or "none"
                    raise TimeoutError(f"no such event in {seconds} s; the last were: {tail}")

    def emit(self, event: CloudEvent) -> None:
        """Logs a record, remembers it and passes it on."""
        logging.getLogger(f"local.cloud.{event.part}").log(event.level, "%s", event)
        with self._changed:
            self._past.append(event)
            self._emitted += 1
            self._changed.notify_all()
            self._outbox.put(event)

    def error(self, text: str) -> None:
        """Emits a CloudError; inside an `except` block the log has the traceback too."""
        if sys.exc_info()[0] is not None:
            logging.getLogger("local.cloud").error("%s", text, exc_info=sys.exc_info())
        self.emit(CloudError(self.now(), text))

    def _deliver(self) -> None:
        while (event := self._outbox.get()) is not None:
            with self._changed:
                subscribers = tuple(self._subscribers)
            for subscriber in subscribers:
                try:
                    subscriber(event)
                except Exception:  # whatever a subscriber raises, the cloud goes on
                    logging.getLogger("local.cloud.events").exception("a subscriber failed")
