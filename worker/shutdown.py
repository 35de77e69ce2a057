"""Leaving because somebody asked: signals, the grace of the running tasks, and the end.

Order, and why: no further message is taken, and what was taken ahead is given back, at once; the
running tasks may finish within the grace; then they are cancelled (SystemExit in their processes,
so that `finally` clauses stop what they started); what does not end is killed, with all that it
started; their messages are made visible again; the pack tidies up; and the process ends before the
platform kills it. All but not taking a message happens in threads, because Celery's main one waits
for the tasks.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from celery.worker import state as celery_state

from taskpacks.contract import ExitCode
from worker.policies import GracePolicy, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from collections.abc import Set as AbstractSet
    from types import FrameType

    from worker.leases import Lease, Leases
    from worker.prefetch import Prefetched

logger = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
LOOK_SECONDS: Final = 0.05
CLEANUP_SECONDS: Final = 4.0
"""For a cancelled task to stop what it started: longer than a pack waits for its program."""
HANDED_OVER_SECONDS: Final = 1.0
"""For a task that was handed to its process to begin, so that it can be ended."""
RECEIVE_SECONDS: Final = 1.5
"""For a long poll to end: what it brings would be in flight to nobody."""
SETTLE_SECONDS: Final = 2.0
"""For giving back messages when SQS is slow."""


class Shutdown:
    """Sees to it that a worker that was asked to leave does so in time."""

    def __init__(
        self,
        leases: Leases,
        prefetched: Prefetched,
        running: AbstractSet[str],
        *,
        grace_seconds: float,
    ) -> None:
        """Prepares it.

        Args:
            leases: Gives back what is held.
            prefetched: What is held and not started.
            running: Receipt handles of the messages whose tasks were handed to Celery.
            grace_seconds: How long running tasks may go on after a signal.
        """
        self._leases = leases
        self._prefetched = prefetched
        self._running = running
        self._cut: set[Any] = set()
        self._grace_seconds = grace_seconds
        self._first_ask = threading.Lock()  # taken once: a signal may come in the middle of an ask
        self._hurry = threading.Event()
        self._over = threading.Event()
        self._last_words: Callable[[], None] = lambda: None
        self._announce: Callable[[str], None] = lambda _reason: None
        self.reason = ""

    @property
    def asked(self) -> bool:
        """Somebody asked the worker to leave."""
        return self._first_ask.locked()

    @contextmanager
    def listening(
        self, last_words: Callable[[], None], announce: Callable[[str], None]
    ) -> Generator[None]:
        """Takes over the signals inside the block, and restores what was there.

        Args:
            last_words: Called before the process ends in the middle of a task.
            announce: Called once with the reason, in a thread, when the worker is asked to leave.
        """
        self._last_words = last_words
        self._announce = announce
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            self._over.set()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.ask(signal.Signals(number).name, self._grace_seconds)

    def ask(self, reason: str, grace_seconds: float) -> None:
        """Asks the worker to leave; asking again cuts the grace short.

        Args:
            reason: For the log.
            grace_seconds: How long running tasks may go on.
        """
        if not self._first_ask.acquire(blocking=False):
            self._hurry.set()
            return
        self.reason = reason
        celery_state.should_stop = ExitCode.STOPPED.value
        policy = GracePolicy(grace_seconds=grace_seconds, cleanup_seconds=CLEANUP_SECONDS)
        threading.Thread(
            target=self._see_through, args=(policy,), name="shutdown", daemon=True
        ).start()

    def _see_through(self, policy: GracePolicy) -> None:
        asked_at = time.monotonic()
        logger.info(
            "%s: taking no further message; a running task has %g s",
            self.reason,
            policy.grace_seconds,
        )
        # In threads, as below: the grace is counted meanwhile.
        threading.Thread(
            target=self._announce, args=(self.reason,), name="announce", daemon=True
        ).start()
        threading.Thread(target=self._give_back_unstarted, name="unstarted", daemon=True).start()
        while policy.phase(asked_at, time.monotonic()) is Phase.FINISH:
            if self._over.wait(LOOK_SECONDS):
                return  # the tasks ended in time, and Celery's own way out was taken
            if self._hurry.is_set():
                break
        logger.warning("%s: the grace is over, cancelling what runs", self.reason)
        self._end_what_runs(policy.cleanup_seconds)
        # One that begins later, until the process ends, has no time to clean up.
        threading.Thread(target=self._end_what_begins, name="late-tasks", daemon=True).start()
        give_up_at = time.monotonic() + HANDED_OVER_SECONDS
        while self._beginning() and time.monotonic() < give_up_at:
            time.sleep(LOOK_SECONDS)
        if not self._leases.wait_received(RECEIVE_SECONDS):
            logger.error("could not wait for the end of a receive: SQS does not answer")
        # In a thread, because a call that hangs must not hold up the end.
        threading.Thread(target=self._give_back, name="giving-back", daemon=True).start()
        if not self._leases.wait_settled(SETTLE_SECONDS):
            logger.error("could not give back every message: SQS does not answer")
        self._last_words()
        logging.shutdown()
        # Celery's main thread waits for a task that is gone: there is nothing more to unwind.
        os._exit(ExitCode.STOPPED)

    def _end_what_runs(self, cleanup_seconds: float) -> None:
        cut = [request for request in running_requests() if request not in self._cut]
        if not cut:
            return
        # All at the same time: one that cleans up takes nothing of the others' time.
        with ThreadPoolExecutor(len(cut)) as threads:
            list(threads.map(lambda request: end_task(request, cleanup_seconds), cut))
        self._cut.update(cut)

    def _end_what_begins(self) -> None:
        while True:
            self._end_what_runs(0)
            time.sleep(LOOK_SECONDS / 5)

    def _beginning(self) -> bool:
        """Whether a task was handed to its process that has not been ended."""
        return bool(self._running - {request.message.delivery_tag for request in tuple(self._cut)})

    def _give_back_unstarted(self) -> None:
        for received in self._prefetched.close():
            self._leases.give_back(received.lease, 0)

    def _give_back(self) -> None:
        for lease in self._leases.held:
            self._leases.give_back(lease, 0)

    def lost(self, lease: Lease) -> None:
        """Ends the task of a message that is not ours any more: in a thread, for it takes time."""
        for request in running_requests():
            if request.message.delivery_tag == lease.receipt_handle:
                threading.Thread(target=request.lost, name="lost", daemon=True).start()


def running_requests() -> list[Any]:
    """Celery's requests of the tasks that have begun; also while another begins or ends."""
    while True:
        try:
            return list(celery_state.active_requests)
        except RuntimeError:  # the set grew meanwhile
            continue


def end_task(request: Any, cleanup_seconds: float) -> None:
    """Ends a running task: asks its process to stop, kills it and all it started if it must.

    Args:
        request: Celery's, of a task that was started.
        cleanup_seconds: How long the task may take to clean up.
    """
    pid = request.worker_pid
    if pid is None:
        return
    family = descendants(pid)
    request._already_cancelled = True  # noqa: SLF001 -- so that Celery calls it neither lost nor failed
    _signal(pid, signal.SIGTERM)
    give_up_at = time.monotonic() + cleanup_seconds
    while time.monotonic() < give_up_at and alive(pid):
        family |= descendants(pid)
        time.sleep(LOOK_SECONDS)
    for member in (pid, *family):
        if alive(member):
            _signal(member, signal.SIGKILL)
    request.worker_pid = None  # it may be another process's by and by


def descendants(pid: int) -> set[int]:
    """Ids of the processes below one. On Linux; elsewhere none are known."""
    found: set[int] = set()
    pending = [pid]
    while pending:
        try:  # listed at once: up to Python 3.12 a glob raises when one of them ends meanwhile
            threads = [*Path(f"/proc/{pending.pop()}/task").iterdir()]
        except OSError:
            continue  # it has ended meanwhile
        for thread in threads:
            try:
                children = {int(child) for child in (thread / "children").read_text().split()}
            except OSError:
                continue  # as above
            pending += children - found
            found |= children
    return found


def alive(pid: int) -> bool:
    """Says whether a process runs; one that has ended and is not collected yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return not Path("/proc/self").exists()  # gone meanwhile, or a system without /proc


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended meanwhile, which is what was wanted
