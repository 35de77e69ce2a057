"""Locks on tasks: no task runs twice at the same time, and none that is done runs again.

A message's lease is SQS's promise, and SQS delivers at least once. So a task's item in the result
table is locked too: before the task starts, where the message was received before or tasks take a
second or more; else once it has run for a second. Shorter tasks never cost the call. The lock is
renewed whenever the lease was extended, in a thread of its own, which a slow table may hold up.

Without a result table nothing is locked, and receives stand in for attempts.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from worker.deadline import Ending
from worker.lease import LeaseState, boot_seconds
from worker.leases import BEATS_PER_LEASE
from worker.task_table import Claim, Reason, Receive, Refusal, TableUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taskpacks.types import Death
    from worker.deadline import Deadline
    from worker.envelope import Envelope
    from worker.lease import Lease
    from worker.task_table import TaskTable

logger = logging.getLogger(__name__)

RUNS_SECONDS: Final = 1.0
"""A task that has run for so long is locked."""
LOOK_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 30
"""How long a message waits for a table that does not answer, before it is given back."""
PAUSE_SECONDS: Final = 1.0
FENCES_MAX: Final = 10**6
"""Results are ordered by a message's generation first, and by its locks within it: a retry that is
not locked yet is newer than the locked run that sent it."""
DONE_TRIES: Final = 3
"""To note that tasks are done; then their messages are deleted without."""


@dataclass(eq=False)
class TaskLock:
    """A task whose message is held, and its lock when it has one.

    Attributes:
        receive: Which receive of which task.
        lease: The lease on its message.
        attempts: Failed attempts before this one.
        failure: A final failure that was decided by a worker that ended before it was reported.
        death: What that one was a death of, as `queue.escalate_on` names it.
        fence: The lock's number; 0 without a lock.
        until: When the lock ends, in seconds of `boot_seconds`.
        runs_since: When the task began, in the same seconds; None before.
        deadline: Where its process reads until when it may run; None before it began.
        replaced: The task has sent another message in the place of its own.
    """

    receive: Receive
    lease: Lease
    attempts: int = 0
    failure: str | None = None
    death: Death | None = None
    fence: int = 0
    until: float = 0
    runs_since: float | None = None
    deadline: Deadline | None = None
    replaced: bool = False

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1: of the one whose failure was not reported, if any."""
        return self.attempts + (self.failure is None)

    @property
    def facts(self) -> dict[str, object]:
        """The headers of the message that describe this attempt to the task's process."""
        return {
            "attempt": self.attempt,
            "failure": self.failure,
            "death": self.death,
            "message_id": self.receive.message_id,
            "generation": self.receive.generation,
            "owner": self.receive.owner,
            "receives": self.lease.receives,
        }


class Locks:
    """The locks that this worker holds. Safe in all threads."""

    def __init__(
        self,
        table: TaskTable | None,
        on_refused: Callable[[TaskLock, Refusal], None],
    ) -> None:
        """Prepares it; `start` begins the thread.

        Args:
            table: The items of the deployment's tasks; None when there is no result table.
            on_refused: Called in this thread when a running task must end.
        """
        self.table = table
        self._on_refused = on_refused
        self._has_cancels = False
        self._asked_at = -math.inf
        self._running: set[TaskLock] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        # Two, because the first one waits for the table.
        self._threads = [
            threading.Thread(target=self._run, args=(do,), name=do.__name__, daemon=True)
            for do in (self.look, self.tell)
        ]

    def start(self) -> None:
        """Begins to renew."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the renewing; locks end by themselves."""
        self._stopped.set()

    def begin(self, lease: Lease, envelope: Envelope, *, at_once: bool) -> Refusal | None:
        """Takes charge of a task whose message was received: sets `lease.lock`, or says why not.

        Args:
            lease: The lease on its message.
            envelope: The message.
            at_once: Lock it before it starts.

        Raises:
            TableUnavailableError: The table did not answer for `PATIENCE_SECONDS`.
        """
        lock = TaskLock(
            receive=Receive(
                task_id=envelope.task_id,
                message_id=lease.message_id,
                generation=envelope.generation,
                owner=uuid.uuid4().hex,
            ),
            lease=lease,
        )
        if self.table is None:
            lock.attempts = lease.receives - 1
        elif at_once or self._asks_for_cancels(self.table, lease):
            claim = self._claim_patiently(self.table, lock)
            if isinstance(claim, Refusal):
                # Cancelled: it is settled here, and noted as done.
                lease.lock = lock if claim.reason is Reason.CANCELLED else None
                return claim
            lock.attempts = claim.attempts
            lock.failure, lock.death = claim.failure, claim.death
        lease.lock = lock
        return None

    def runs(self, lock: TaskLock, deadline: Deadline) -> None:
        """The task is handed to its process, which looks at the lease's end from now on."""
        with self._lock:
            self._running.add(lock)
            lock.deadline = deadline
            lock.runs_since = boot_seconds()
            self._tell(lock)

    def end(self, lock: TaskLock) -> None:
        """The task does not run any more."""
        with self._lock:
            if lock in self._running and lock.deadline is not None:
                self._running.remove(lock)
                lock.deadline.clear()

    def release(self, lock: TaskLock) -> None:
        """Gives up a lock whose task did not end, so that the next worker need not wait."""
        if self.table is None or not lock.fence:
            return
        try:
            self.table.release(lock.receive)
        except TableUnavailableError as error:
            logger.warning("the lock on task %s ends by itself: %s", lock.receive.task_id, error)

    def finish(self, done: Sequence[TaskLock]) -> None:
        """Notes that tasks are done, before their messages are deleted; or says that it cannot."""
        if self.table is None or not done:
            return
        for attempt in range(1, DONE_TRIES + 1):
            try:
                self._note(self.table, done)
            except TableUnavailableError as error:
                logger.warning("that %d tasks are done cannot be noted: %s", len(done), error)
                if attempt < DONE_TRIES:
                    self._stopped.wait(PAUSE_SECONDS)
            else:
                return

    @staticmethod
    def _note(table: TaskTable, done: Sequence[TaskLock]) -> None:
        if last := [(lock.receive, lock.fence) for lock in done if not lock.replaced]:
            table.finish(last)
        for lock in done:
            if lock.replaced:
                table.replaced(lock.receive)

    def look(self) -> None:
        """Locks what has run for long enough, and renews what was extended."""
        with self._lock:
            running = tuple(self._running)
        for lock in running:
            try:
                refusal = self._due(lock)
            except TableUnavailableError as error:
                logger.warning("the lock on task %s waits: %s", lock.receive.task_id, error)
                self._stopped.wait(PAUSE_SECONDS)
                refusal = None
            with self._lock:
                runs = lock in self._running
            if runs and refusal is not None and not _is_ending(lock):
                self._on_refused(lock, refusal)

    def tell(self) -> None:
        """Tells each task's process until when it may run, and the number of its lock."""
        with self._lock:
            for lock in self._running:
                self._tell(lock)

    def _due(self, lock: TaskLock) -> Refusal | None:
        if self.table is None or lock.runs_since is None or _is_ending(lock):
            return None
        if lock.lease.state is LeaseState.LOST:  # it is being ended
            return None
        if not lock.fence:
            if boot_seconds() - lock.runs_since < RUNS_SECONDS:
                return None
            claim = self._claim(self.table, lock)
            return claim if isinstance(claim, Refusal) else None
        until = lock.lease.ends_at
        if until <= lock.until:
            return None
        refusal = self.table.renew(lock.receive, _epoch(until))
        if refusal is None:
            lock.until = until
        return refusal

    def _claim(self, table: TaskTable, lock: TaskLock) -> Claim | Refusal:
        until = lock.lease.ends_at
        claim = table.claim(lock.receive, _epoch(until))
        if isinstance(claim, Claim):
            lock.fence, lock.until = claim.fence, until
        return claim

    def _claim_patiently(self, table: TaskTable, lock: TaskLock) -> Claim | Refusal:
        give_up_at = boot_seconds() + PATIENCE_SECONDS
        while True:
            try:
                return self._claim(table, lock)
            except TableUnavailableError as error:
                if self._stopped.is_set() or boot_seconds() >= give_up_at:
                    raise
                logger.warning("task %s waits for its lock: %s", lock.receive.task_id, error)
            time.sleep(PAUSE_SECONDS)

    def _asks_for_cancels(self, table: TaskTable, lease: Lease) -> bool:
        """Says whether tasks are cancelled, asking the table at most once a heartbeat."""
        now = boot_seconds()
        if now - self._asked_at >= (lease.ends_at - lease.received_at) / BEATS_PER_LEASE:
            try:
                self._has_cancels = table.has_cancels()
            except TableUnavailableError as error:
                logger.warning("whether tasks are cancelled is not known, trying again: %s", error)
                return True  # the lock is asked for instead, and waits
            self._asked_at = now
        return self._has_cancels

    def _tell(self, lock: TaskLock) -> None:
        """Another worker would need the message and the lock: the later end counts."""
        if lock.deadline is not None:
            lock.deadline.fence = lock.receive.generation * FENCES_MAX + lock.fence
            lock.deadline.ends_at = max(lock.lease.ends_at, lock.until)

    def _run(self, do: Callable[[], None]) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                do()
            except Exception:  # whatever it is, the other locks must be renewed
                logger.exception("%s failed for the locks, and the next one comes", do.__name__)


def _is_ending(lock: TaskLock) -> bool:
    return lock.deadline is not None and lock.deadline.ending is not Ending.NONE


def _epoch(boottime: float) -> float:
    """Seconds since the epoch, of seconds of `boot_seconds`."""
    return time.time() + boottime - boot_seconds()
