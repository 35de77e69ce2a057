"""Leases on messages: while a message is held, nobody else may get it.

SQS hides a received message for the queue's visibility time-out. A heartbeat, in a thread of
its own, extends that for every message held, at a third of the lease, until the message is
deleted or given back. The same thread deletes what is done, whatever has gathered in one call,
so that no task waits for the deletion of the one before. Total per receive: at most 12 h, SQS's
own limit.

A thread and not a timer of Celery's: those stall while the pool is joined, which is when a
long task ends after a signal.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from taskpacks import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

logger = logging.getLogger(__name__)

BEATS_PER_LEASE: Final = 3
LOOK_SECONDS: Final = 0.2
"""How often the thread looks for what is due."""
RETRY_SECONDS: Final = (0.2, 0.5, 1, 2)
"""Between tries of a call that failed; the last value repeats."""

# What SQS answers when a message is not ours any more: deleted, or delivered to another.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
GONE: Final = frozenset(
    {
        "InvalidParameterValue",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
        "ReceiptHandleIsInvalid",
    }
)


def boot_seconds() -> float:
    """Seconds since the machine booted, also while it was suspended: the clock of leases.

    CLOCK_BOOTTIME, which every process of the machine reads alike; where a system has none, the
    monotonic clock.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class LeaseState(Enum):
    """How far a held message has got."""

    HELD = "its task runs, or waits to: the heartbeat extends the lease"
    GIVING_BACK = "it is being made visible"
    DELETING = "its task has ended well: it is being deleted"
    GIVEN_BACK = "visible, or left to the end of its lease"
    DELETED = "deleted, or gone"
    LOST = "somebody else may have it: it must be neither deleted nor given back"


_NEXT: Final[dict[LeaseState, tuple[LeaseState, ...]]] = {
    LeaseState.HELD: (LeaseState.GIVING_BACK, LeaseState.DELETING, LeaseState.LOST),
    # GIVING_BACK again when asked again; and finished work is deleted even then.
    LeaseState.GIVING_BACK: (
        LeaseState.GIVING_BACK,
        LeaseState.GIVEN_BACK,
        LeaseState.DELETING,
        LeaseState.LOST,
    ),
    LeaseState.DELETING: (LeaseState.DELETED,),
    LeaseState.GIVEN_BACK: (),
    LeaseState.DELETED: (),
    LeaseState.LOST: (),
}
"""The states that each state may change to."""


@dataclass(eq=False)
class Lease:
    """A message that this worker holds.

    Attributes:
        receipt_handle: SQS's name for this receive of the message.
        message_id: SQS's name for the message.
        receives: How often the message was received, this time included.
        sent_at: When it was sent, in seconds since the epoch; None when SQS did not say.
        received_at: When its receive was asked for, by `boot_seconds`.
        ends_at: Until when SQS hides it at least, by `boot_seconds`; each extension moves it.
        return_after_seconds: How long the message stays hidden when it is given back.
        state: How far it has got; `Leases` alone changes it.
    """

    receipt_handle: str
    message_id: str
    receives: int
    sent_at: float | None
    received_at: float
    ends_at: float = 0
    return_after_seconds: float = 0
    state: LeaseState = LeaseState.HELD
    extend_at: float = field(default=0, repr=False)
    hide_seconds: int = field(default=0, repr=False)
    """The visibility timeout that `GIVING_BACK` asks SQS for."""
    settle_at: float = field(default=0, repr=False)
    failures: int = field(default=0, repr=False)
    calling: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """One call about a message at a time: an extension must not overtake its giving back."""


def lease_of(message: dict[str, Any], now: float) -> Lease:
    """The lease on a message that was just received."""
    attributes = message.get("Attributes", {})
    sent = attributes.get("SentTimestamp")
    return Lease(
        receipt_handle=message["ReceiptHandle"],
        message_id=message["MessageId"],
        receives=int(attributes.get("ApproximateReceiveCount", 1)),
        sent_at=int(sent) / 1000 if sent else None,
        received_at=now,
    )


def _pause_seconds(lease: Lease) -> float:
    """How long to wait after one more failure in a row."""
    pause = RETRY_SECONDS[min(lease.failures, len(RETRY_SECONDS) - 1)]
    lease.failures += 1
    return pause


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


class Leases:
    """Holds messages until they are settled: deleted, or given back. Safe in all threads.

    A settlement that fails is tried again by the heartbeat's thread: a passing fault of SQS
    costs no second run of a task. One thing is never done twice: giving a message back. Where the
    answer was lost it may be visible, and taken; made visible once more, by the old receipt, it
    would run twice at the same time. So what is not known to have failed is left to the lease.
    """

    def __init__(
        self,
        client: Any,
        queue_url: str,
        *,
        lease_seconds: float,
        on_lost: Callable[[Lease], None],
        on_extended: Callable[[Lease], None] = lambda _: None,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        """Prepares it; `start` begins the heartbeat.

        Args:
            client: A boto3 SQS client that makes each call once: tries are counted here.
            queue_url: The task queue.
            lease_seconds: The visibility time-out of a held message.
            on_lost: Called, in the heartbeat's thread, when a message is not ours any more.
            on_extended: Called when a lease was taken or extended, with its new `ends_at`: in the
                thread that received, or in the heartbeat's, which must not wait for it.
            clock: Seconds that go on while the machine is suspended.
        """
        self._client = client
        self._queue_url = queue_url
        self._lease_seconds = lease_seconds
        self._on_lost = on_lost
        self._on_extended = on_extended
        self._clock = clock
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._receiving = threading.Lock()
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Begins the heartbeat."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the heartbeat. What is still held becomes visible when its lease ends."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(2)

    @contextmanager
    def receiving(self) -> Generator[float]:
        """Around the receive of a message and its `hold`: what SQS has sent is not held yet.

        Gives the moment from which SQS may hide what it sends, for `hold`.
        """
        with self._receiving:
            yield self._clock()

    def wait_received(self, seconds: float) -> bool:
        """Waits for a receive's end, and lets no other begin; says whether it ended in time."""
        return self._receiving.acquire(timeout=seconds)

    def hold(self, message: dict[str, Any], asked_at: float | None = None) -> Lease:
        """Takes charge of a message that was just received.

        Args:
            message: As SQS gave it.
            asked_at: When SQS was asked for it; None is now.
        """
        received_at = self._clock() if asked_at is None else asked_at
        lease = lease_of(message, received_at)
        with self._lock:
            self._held[lease.receipt_handle] = lease
        self._extended(lease, received_at, self._lease_seconds)
        return lease

    def find(self, receipt_handle: str) -> Lease | None:
        """The lease under that handle, if it is held."""
        with self._lock:
            return self._held.get(receipt_handle)

    @property
    def held(self) -> tuple[Lease, ...]:
        """Every message that is not settled yet."""
        with self._lock:
            return tuple(self._held.values())

    def delete(self, lease: Lease) -> None:
        """Has a message deleted, whose task is done, at the next beat: which is at once."""
        if self._change(lease, LeaseState.DELETING):
            self._woken.set()

    def give_back(self, lease: Lease, after_seconds: float | None = None) -> None:
        """Lets a message become visible again, unless its task is done.

        Args:
            lease: The message.
            after_seconds: Stays hidden for so long; None is the lease's own choice.
        """
        delay = lease.return_after_seconds if after_seconds is None else after_seconds
        # Rounded up: a task that is due in 0.4 s would come at once, and again, until its
        # receives are used up.
        lease.hide_seconds = min(max(0, math.ceil(delay)), int(self._remaining(lease)))
        if self._change(lease, LeaseState.GIVING_BACK):
            self._try_giving_back(lease)

    def wait_settled(self, seconds: float) -> bool:
        """Waits until everything held is settled; says whether it is."""
        give_up_at = self._clock() + seconds
        while self.held and self._clock() < give_up_at:
            self._stopped.wait(0.02)
        return not self.held

    def beat(self) -> None:
        """Does what is due: deletes, tries settlements again, extends leases."""
        now = self._clock()
        done: list[Lease] = []
        for lease in self.held:
            if lease.state is LeaseState.DELETING:
                if lease.settle_at <= now:
                    done.append(lease)
            elif lease.state is LeaseState.GIVING_BACK:
                if lease.settle_at <= now:
                    self._try_giving_back(lease)
            elif lease.extend_at <= now:
                self._extend(lease)
        for begin in range(0, len(done), limits.MESSAGES_PER_CALL_MAX):
            self._delete_all(done[begin : begin + limits.MESSAGES_PER_CALL_MAX])

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait(LOOK_SECONDS)
            self._woken.clear()
            try:
                self.beat()
            except Exception:  # whatever it is, the other messages need their heartbeat
                logger.exception("a heartbeat failed, and the next one comes")

    def _delete_all(self, leases: list[Lease]) -> None:
        entries = [
            {"Id": str(index), "ReceiptHandle": lease.receipt_handle}
            for index, lease in enumerate(leases)
        ]
        try:
            answer = self._client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
        except (ClientError, BotoCoreError) as error:
            for lease in leases:
                self._settle_again(lease, "deleting", str(error))
            return
        for each in answer.get("Successful", []):
            self._change(leases[int(each["Id"])], LeaseState.DELETED)
        for each in answer.get("Failed", []):
            lease, said = leases[int(each["Id"])], f"{each['Code']}: {each.get('Message', '')}"
            if each["Code"] in GONE:
                self._forget_gone(lease, said, LeaseState.DELETED)
            else:
                self._settle_again(lease, "deleting", said)

    def _try_giving_back(self, lease: Lease) -> None:
        with lease.calling:
            if lease.state is not LeaseState.GIVING_BACK:  # meanwhile, by another thread
                return
            if self._clock() >= lease.ends_at:
                self._forget_gone(lease, "its lease has ended", LeaseState.GIVEN_BACK)
                return
            try:
                self._hide(lease, lease.hide_seconds)
            except HTTPClientError as error:
                logger.warning(
                    "giving back message %s: no answer, so it is visible now or when its lease "
                    "ends: %s",
                    lease.message_id,
                    error,
                )
                self._change(lease, LeaseState.GIVEN_BACK)
            except ClientError as error:
                if _code(error) in GONE:
                    self._forget_gone(lease, str(error), LeaseState.GIVEN_BACK)
                else:
                    self._settle_again(lease, "giving back", str(error))
            except BotoCoreError as error:
                self._settle_again(lease, "giving back", str(error))
            else:
                self._change(lease, LeaseState.GIVEN_BACK)

    def _extend(self, lease: Lease) -> None:
        with lease.calling:
            if lease.state is not LeaseState.HELD:  # meanwhile
                return
            gone = self._call_extension(lease)
            # Before another thread, which waits to give it back, may call.
            lost = gone is not None and self._change(lease, LeaseState.LOST)
        if lost:
            logger.error("the lease on message %s is lost: %s", lease.message_id, gone)
            self._on_lost(lease)

    def _call_extension(self, lease: Lease) -> ClientError | None:
        """Extends a lease; returns SQS's answer when the message is not ours any more."""
        seconds = round(min(self._lease_seconds, self._remaining(lease)))
        asked_at = self._clock()  # its answer may take seconds, which SQS counts
        try:
            self._hide(lease, seconds)
        except ClientError as error:
            if _code(error) in GONE:
                return error
            self._extend_again(lease, error)
        except BotoCoreError as error:
            self._extend_again(lease, error)
        else:
            lease.failures = 0
            self._extended(lease, asked_at, seconds)
        return None

    def _extended(self, lease: Lease, asked_at: float, seconds: float) -> None:
        lease.extend_at = asked_at + self._lease_seconds / BEATS_PER_LEASE
        lease.ends_at = asked_at + seconds
        self._on_extended(lease)

    def _hide(self, lease: Lease, seconds: int) -> None:
        self._client.change_message_visibility(
            QueueUrl=self._queue_url,
            ReceiptHandle=lease.receipt_handle,
            VisibilityTimeout=seconds,
        )

    def _remaining(self, lease: Lease) -> float:
        return max(0, limits.VISIBILITY_SECONDS_MAX - (self._clock() - lease.received_at))

    def _extend_again(self, lease: Lease, error: Exception) -> None:
        lease.extend_at = self._clock() + _pause_seconds(lease)
        logger.warning("extending message %s failed, trying again: %s", lease.message_id, error)

    def _settle_again(self, lease: Lease, what: str, said: str) -> None:
        lease.settle_at = self._clock() + _pause_seconds(lease)
        logger.warning("%s message %s failed, trying again: %s", what, lease.message_id, said)

    def _forget_gone(self, lease: Lease, said: str, state: LeaseState) -> None:
        logger.warning("message %s is not ours any more: %s", lease.message_id, said)
        self._change(lease, state)

    def _change(self, lease: Lease, state: LeaseState) -> bool:
        """Changes a lease's state, and forgets one that is over; says whether it may change so.

        All changes are here, under one lock: what one thread has settled, or found to be lost,
        no other thread settles again.
        """
        with self._lock:
            if state not in _NEXT[lease.state]:
                return False
            lease.state = state
            if not _NEXT[state]:
                self._held.pop(lease.receipt_handle, None)
            return True
