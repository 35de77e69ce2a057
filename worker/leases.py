"""Leases on messages: while a message is held, nobody else may get it.

SQS hides a received message for the queue's visibility time-out. A heartbeat, in a thread and
with connections of its own, extends that for every message held, at a third of the lease, until
the message is deleted or given back. A second thread deletes what is done, whatever has gathered
in one call, so that no task waits for the deletion of the one before, and no extension for a
deletion that hangs. A third, which calls nobody, gives up a lease that ends. Total per receive: at
most 12 h, SQS's own limit.

Threads and not timers of Celery's: those stall while the pool is joined, which is when a
long task ends after a signal.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from taskpacks import limits
from worker.lease import NEXT, Lease, LeaseState, boot_seconds, lease_of
from worker.policies import AccessPolicy
from worker.sqs import DELETE, FAULTS, GONE, VISIBILITY, code_of, not_executed, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

logger = logging.getLogger(__name__)

BEATS_PER_LEASE: Final = 3
LOOK_SECONDS: Final = 0.2
"""How often each thread looks for what is due."""
GATHER_SECONDS: Final = 0.01
"""Messages whose tasks end within it are deleted in one call."""
UNDELETED_MAX: Final = 2 * limits.MESSAGES_PER_CALL_MAX
"""Tasks that are done and not deleted: were the worker killed, so many might run again."""
LEAST_EXTENSION_SECONDS: Final = 1
"""Less is left of SQS's 12 h: a lease ends as it is, and is not made visible."""
RETRY_SECONDS: Final = (0.2, 0.5, 1, 2)
"""Between tries of a call that failed; the last value repeats."""
STOP_SECONDS: Final = 1
"""For a call that is on its way, when the worker leaves."""


def _pause_seconds(lease: Lease) -> float:
    """How long to wait after one more failure in a row."""
    pause = RETRY_SECONDS[min(lease.failures, len(RETRY_SECONDS) - 1)]
    lease.failures += 1
    return pause


class Leases:
    """Holds messages until they are settled: deleted, or given back. Safe in all threads.

    A settlement that fails is tried again by the second thread: a passing fault of SQS costs no
    second run of a task. One thing is never done twice: giving a message back. Where no answer
    proves that it failed, the message may be visible, and taken; made visible once more, by the old
    receipt, it would run twice at the same time. So it is left to the lease.

    Attributes:
        access: Learns from every call whether SQS serves this worker at all.
    """

    def __init__(
        self,
        client: Any,
        queue_url: str,
        *,
        settling: Any,
        lease_seconds: float,
        on_lost: Callable[[Lease], None],
        on_deleting: Callable[[list[Lease]], None] = lambda _: None,
        on_giving_back: Callable[[Lease], None] = lambda _: None,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        """Prepares it; `start` begins the heartbeat.

        Args:
            client: The heartbeat's own boto3 client of SQS, which makes each call once: tries are
                counted here.
            queue_url: The task queue.
            settling: Another such client: a call of it that hangs holds up no extension.
            lease_seconds: The visibility time-out of a held message.
            on_lost: Called, in one of the threads, when a message is not ours any more. It must
                not wait: other leases are to be extended.
            on_deleting: Called before messages are deleted, whose tasks are done.
            on_giving_back: Called before a message is made visible.
            clock: Seconds that go on while the machine is suspended.
        """
        self.access = AccessPolicy(proven={DELETE, VISIBILITY})
        self._client = client
        self._settling = settling
        self._queue_url = queue_url
        self._lease_seconds = lease_seconds
        self._on_lost = on_lost
        self._on_deleting = on_deleting
        self._on_giving_back = on_giving_back
        self._clock = clock
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._receiving = threading.Lock()
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=each, name=each[0].__name__, daemon=True)
            for each in (
                (self.beat, self._stopped),
                (self.expire, self._stopped),
                (self.settle, self._woken),
            )
        ]

    def start(self) -> None:
        """Begins the heartbeat, the watch over ends and the settling."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends all three. What is still held becomes visible when its lease ends."""
        self._stopped.set()
        self._woken.set()
        for thread in self._threads:
            if thread.is_alive() and threading.current_thread() is not thread:
                thread.join(STOP_SECONDS)

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

    @property
    def behind(self) -> bool:
        """Says whether so much waits for its deletion that no further task should start."""
        with self._lock:
            states = [lease.state for lease in self._held.values()]
        return states.count(LeaseState.DELETING) >= UNDELETED_MAX

    def delete(self, lease: Lease) -> None:
        """Has a message deleted, whose task is done: by the second thread, at once."""
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
            self._on_giving_back(lease)
            self._try_giving_back(lease)

    def wait_settled(self, seconds: float) -> bool:
        """Waits until everything held is settled; says whether it is."""
        give_up_at = self._clock() + seconds
        while self.held and self._clock() < give_up_at:
            self._stopped.wait(0.02)
        return not self.held

    def may_start(self, lease: Lease) -> bool:
        """Says whether a message's task may start; a lease that has ended is lost."""
        if self._clock() >= lease.ends_at and self._change(lease, LeaseState.LOST):
            logger.error("the lease on message %s ended before its task began", lease.message_id)
        return lease.state is LeaseState.HELD

    def beat(self) -> None:
        """Extends the leases that are due."""
        began_at = self._clock()
        # What a task runs for comes before what is done and hidden until it is deleted.
        for lease in sorted(self.held, key=lambda each: each.state is LeaseState.DELETING):
            if lease.extend_at <= began_at:
                self._extend(lease)
            if self._clock() - began_at > LOOK_SECONDS:
                return  # a call took long: the next pass begins with the most urgent again

    def expire(self) -> None:
        """Gives up the leases that have ended; in a thread that makes no call which could hang."""
        for lease in self.held:
            ended = lease.state is LeaseState.HELD and lease.ends_at <= self._clock()
            if ended and self._change(lease, LeaseState.LOST):
                self._tell_lost(lease, "it has ended, and no extension was answered")

    def settle(self) -> None:
        """Does what is due: deletes what is done, tries again to give back."""
        now = self._clock()
        due = [lease for lease in self.held if lease.settle_at <= now]
        done = [lease for lease in due if lease.state is LeaseState.DELETING]
        for begin in range(0, len(done), limits.MESSAGES_PER_CALL_MAX):
            self._delete_all(done[begin : begin + limits.MESSAGES_PER_CALL_MAX])
        for lease in due:
            if lease.state is LeaseState.GIVING_BACK:
                self._try_giving_back(lease)

    def _run(self, do: Callable[[], None], woken: threading.Event) -> None:
        while not self._stopped.is_set():
            if woken.wait(LOOK_SECONDS) and woken is not self._stopped:
                self._stopped.wait(GATHER_SECONDS)
                woken.clear()
            try:
                do()
            except Exception:  # whatever it is, the other messages need this thread
                logger.exception("%s failed, and the next one comes", do.__name__)

    def _delete_all(self, leases: list[Lease]) -> None:
        fresh = [lease for lease in leases if not lease.noted]
        for lease in fresh:
            lease.noted = True
        self._on_deleting(fresh)
        entries = [
            {"Id": str(index), "ReceiptHandle": lease.receipt_handle}
            for index, lease in enumerate(leases)
        ]
        try:
            answer = self._settling.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
        except FAULTS as error:
            self._failed(DELETE, str(error), refused=refused(error))
            for lease in leases:
                self._settle_again(lease, "deleting", str(error))
            return
        left = dict(enumerate(leases))
        for each in answer.get("Successful", []):
            self._change(left.pop(int(each["Id"])), LeaseState.DELETED)
        for each in answer.get("Failed", []):
            lease, said = left.pop(int(each["Id"])), f"{each['Code']}: {each.get('Message', '')}"
            if each["Code"] in GONE:
                self._forget_gone(lease, said, LeaseState.DELETED)
            else:
                self._failed(DELETE, said, refused=each.get("SenderFault", False))
                self._settle_again(lease, "deleting", said)
        for lease in left.values():
            self._settle_again(lease, "deleting", "SQS's answer does not name it")
        if all(lease.state is LeaseState.DELETED for lease in leases):
            self.access.answered(DELETE)

    def _try_giving_back(self, lease: Lease) -> None:
        with lease.calling:
            if lease.state is not LeaseState.GIVING_BACK:  # meanwhile, by another thread
                return
            if self._clock() >= lease.ends_at:
                self._forget_gone(lease, "its lease has ended", LeaseState.GIVEN_BACK)
                return
            try:
                self._hide(self._settling, lease, lease.hide_seconds)
            except FAULTS as error:
                if code_of(error) in GONE:
                    self._forget_gone(lease, str(error), LeaseState.GIVEN_BACK)
                elif not_executed(error):
                    self._settle_again(lease, "giving back", str(error))
                else:
                    logger.warning(
                        "giving back message %s: the answer does not say whether it was done, so "
                        "it is visible now or when its lease ends: %s",
                        lease.message_id,
                        error,
                    )
                    self._change(lease, LeaseState.GIVEN_BACK)
            else:
                self._change(lease, LeaseState.GIVEN_BACK)

    def _extend(self, lease: Lease) -> None:
        if not lease.calling.acquire(blocking=False):
            return  # it is being given back, by a call that may hang
        try:
            if lease.state not in (LeaseState.HELD, LeaseState.DELETING):  # meanwhile
                return
            gone = self._call_extension(lease)
            # Before another thread, which waits to give it back, may call.
            lost = gone is not None and self._change(lease, LeaseState.LOST)
        finally:
            lease.calling.release()
        if lost:
            self._tell_lost(lease, str(gone))

    def _call_extension(self, lease: Lease) -> Exception | None:
        """Extends a lease; returns SQS's answer when the message is not ours any more."""
        seconds = math.floor(min(self._lease_seconds, self._remaining(lease)))
        if seconds < LEAST_EXTENSION_SECONDS:
            lease.extend_at = math.inf
            return None
        asked_at = self._clock()  # its answer may take seconds, which SQS counts
        try:
            self._hide(self._client, lease, seconds)
        except FAULTS as error:
            if code_of(error) in GONE:
                lease.extend_at = math.inf
                return error
            lease.extend_at = self._clock() + _pause_seconds(lease)
            logger.warning("extending message %s failed, trying again: %s", lease.message_id, error)
        else:
            lease.failures = 0
            if lease.state is not LeaseState.LOST:  # by an answer that came too late
                self._extended(lease, asked_at, seconds)
        return None

    def _tell_lost(self, lease: Lease, said: str) -> None:
        logger.error("the lease on message %s is lost: %s", lease.message_id, said)
        self._on_lost(lease)

    def _extended(self, lease: Lease, asked_at: float, seconds: float) -> None:
        lease.extend_at = asked_at + self._lease_seconds / BEATS_PER_LEASE
        lease.ends_at = asked_at + seconds

    def _hide(self, client: Any, lease: Lease, seconds: int) -> None:
        try:
            client.change_message_visibility(
                QueueUrl=self._queue_url,
                ReceiptHandle=lease.receipt_handle,
                VisibilityTimeout=seconds,
            )
        except FAULTS as error:
            if code_of(error) in GONE:
                self.access.answered(VISIBILITY)
            else:
                self._failed(VISIBILITY, str(error), refused=refused(error))
            raise
        self.access.answered(VISIBILITY)

    def _failed(self, action: str, said: str, *, refused: bool) -> None:
        self.access.failed(action, time.monotonic(), said, refused=refused)

    def _remaining(self, lease: Lease) -> float:
        return max(0, limits.VISIBILITY_SECONDS_MAX - (self._clock() - lease.received_at))

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
            if state not in NEXT[lease.state]:
                return False
            lease.state = state
            if not NEXT[state]:
                self._held.pop(lease.receipt_handle, None)
            return True
