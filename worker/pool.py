"""Celery's prefork pool, whose processes may be killed at any moment: a pool for each of them.

billiard's pool does not survive that, in four ways. A process waits for its next task, and
writes a result, with a lock held: killed there, it leaves the lock taken, and the process that
replaces it waits for ever, while the worker holds a message for a task that never starts. And
the process that replaces it is forked by a thread that ends when the pool is closed, with which
it dies, because Celery has the kernel kill it when its parent ends: to the kernel, the parent
is that thread. So a signalled worker's running task was killed, within its grace. And a task
that the dead process had read, and not said so, is waited for without end. So is a task that
could not be written to the process, and the one after a task that a killed process had read in
part. With one process in a pool all of that can be put right, because whatever is taken, read or
lost is that process's: so a worker with several has as many pools.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from billiard.einfo import ExceptionInfo
from billiard.pool import RUN, Pool, TimeoutHandler, Worker
from billiard.reduction import ForkingPickler
from celery.concurrency import prefork
from celery.concurrency.base import BasePool

from worker.services import services_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.slots import Slot

LOST_SECONDS: Final = 2
"""After a process's end, how long a result of its task may still be on its way; then the task
is lost. billiard's own value is 10."""
HEADER_BYTES: Final = 4
"""Before each task in the pipe: its size."""
READ_BYTES: Final = 2**16
ON_ITS_WAY_SECONDS: Final = 0.25
"""For a task to be written to the process's pipe, or its acceptance to be read from it."""
LOOK_SECONDS: Final = 0.01
_PICKLER: Final[Any] = ForkingPickler  # its stub lacks `dumps`
SUPERVISOR_SECONDS: Final = 1
"""Longer than billiard's thread takes to end, which looks for ended processes too."""
CALLBACKS: Final = ("accept_callback", "timeout_callback", "callback", "error_callback")
"""The methods of a task's request that a pool calls, in its own threads."""
PROCESS_SECONDS: Final = 2
"""For an idle process to end; it dies with this one in any case."""


class TaskProcess(Worker):
    """billiard's part of the process, which ends when it has ended.

    billiard's own tells its parent and sleeps for a second, until the parent signals it; a
    parent that leaves does not.
    """

    def _do_exit(self, pid: int, exitcode: int | None, exc: BaseException | None = None) -> None:
        process: Any = self
        if process.on_exit is not None:
            process.on_exit(pid, exitcode)
        os._exit((1 if exc else 0) if exitcode is None else exitcode)


class KillsFirst(TimeoutHandler):
    """Ends a task's process before the task is called timed out.

    billiard's own calls it so first: its message is given back, its scratch removed and its slot
    free while it still runs, and the next task in that slot may be killed for it.
    """

    def on_hard_timeout(self, job: Any) -> None:
        """See billiard; a result that comes from now on is too late."""
        handler: Any = self
        if handler.cache.pop(job._job, None) is None:  # noqa: SLF001 -- billiard offers no other way
            return
        process, _ = handler._process_by_pid(job._worker_pid)  # noqa: SLF001 -- as above
        if process:
            handler._trywaitkill(process)  # noqa: SLF001 -- as above
        super().on_hard_timeout(job)


class OneProcessPool(Pool):
    """billiard's pool for a single process: with more, freeing the locks would be wrong."""

    Worker = TaskProcess
    TimeoutHandler = KillsFirst

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._forker = _LastingThread("forker")
        self._written: tuple[Any, int] = None, 0
        self._joining = threading.RLock()
        super().__init__(*args, **{**kwargs, "lost_worker_timeout": LOST_SECONDS})

    def _setup_queues(self) -> None:
        """See billiard; called once, before its thread that hands tasks to the process is made."""
        billiard: Any = super()
        billiard._setup_queues()  # noqa: SLF001 -- overridden
        queues: Any = self
        queues._quick_put = self._hand_over  # noqa: SLF001 -- billiard offers no other way

    def _hand_over(self, work: Any) -> None:
        """Writes a task to the process's pipe; one that cannot be written ends as a failure."""
        pool: Any = self
        try:
            data = _PICKLER.dumps(work)
            pool._inqueue.send_payload(data)  # noqa: SLF001 -- as above
            self._written = work, len(data) + HEADER_BYTES
        except Exception as error:  # pickling runs the task's data, and the pipe may be gone
            if work is None:  # no task, but the word that there are no more
                raise
            job, index, *_ = work[1]
            pool._putlock.release()  # noqa: SLF001 -- as above
            pool._cache.pop(job)._set(index, (False, ExceptionInfo()))  # noqa: SLF001 -- as above
            if isinstance(error, OSError):  # the process may have read a part of it
                for process in pool._pool:  # noqa: SLF001 -- as above
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)

    def _join_exited_workers(self, shutdown: bool = False) -> Any:
        """See billiard; called again and again, and before a process is replaced."""
        with self._joining:  # its threads, and the one that stops it, may ask at the same time
            billiard: Any = super()
            exited = billiard._join_exited_workers(shutdown=shutdown)  # noqa: SLF001 -- overridden
            if exited:
                # Nobody else reads tasks or writes results: a lock that is taken is the dead one's.
                queues: Any = self
                _free(queues._inqueue._rlock)  # noqa: SLF001 -- billiard offers no other way
                _free(queues._outqueue._wlock)  # noqa: SLF001 -- as above
                self._miss_what_was_read(exited[0])
            return exited

    def _miss_what_was_read(self, exitcode: int) -> None:
        """Empties the pipe of a process that has ended, and calls a task lost that it had read.

        It may have read a part: the next process would take the rest for a task's begin, and wait.
        A task that is there as a whole goes to the next process.
        """
        pool: Any = self
        if self._waiting:
            time.sleep(ON_ITS_WAY_SECONDS)  # no process reads meanwhile: the next is not made yet
        left = self._emptied()
        for job in self._waiting:
            work, size = self._written
            if work is None or work[1][0] != job._job:  # noqa: SLF001 -- as above
                continue  # not written yet
            if left >= size and pool._state == RUN:  # noqa: SLF001 -- as above
                pool._taskqueue.put(([work], None))  # noqa: SLF001 -- as above
            else:
                pool.on_job_process_lost(job, None, exitcode)

    @property
    def _waiting(self) -> list[Any]:
        """The tasks that no process has accepted."""
        pool: Any = self
        return [
            job
            for job in tuple(pool._cache.values())  # noqa: SLF001 -- as above
            if not (job._accepted or job._worker_lost or job.ready())  # noqa: SLF001 -- as above
        ]

    def _emptied(self) -> int:
        """Reads all that is, or is just being, written to the pipe; returns how many bytes."""
        pool: Any = self
        reader = pool._inqueue._reader  # noqa: SLF001 -- as above
        size = 0
        while reader.poll(ON_ITS_WAY_SECONDS if size else 0):
            size += len(os.read(reader.fileno(), READ_BYTES))
        return size

    def _repopulate_pool(self, exitcodes: Any) -> None:
        """See billiard; called to replace a process that has ended."""
        billiard: Any = super()
        self._forker.run(lambda: billiard._repopulate_pool(exitcodes))  # noqa: SLF001 -- overridden


class TaskPool(BasePool):
    """For Celery's setting `worker_pool`: a process for each of the worker's slots."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pools: dict[Slot, Any] = {}

    def on_start(self) -> None:
        """Starts the processes."""
        initargs = self.options.pop("initargs")
        for slot in services_of(self.app).slots:
            self._pools[slot] = OneProcessPool(
                processes=1,
                initializer=_initialize,
                initargs=(slot, *initargs),
                on_process_exit=prefork.process_destructor,
                enable_timeouts=True,
                **self.options,
            )

    def did_start_ok(self) -> bool:
        """Says whether no process has ended so far."""
        return all(pool.did_start_ok() for pool in self._pools.values())

    def on_apply(self, *args: Any, **options: Any) -> Any:
        """Hands a task to the process of its request's slot."""
        slot = options["accept_callback"].__self__.slot
        bound = services_of(self.app).slots.bound
        callbacks = {name: bound(slot, options[name]) for name in CALLBACKS}
        return self._pools[slot].apply_async(*args, **options | callbacks)

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Ends a task whose process is known; that of one pool."""
        for pool in self._pools.values():
            pool.terminate_job(pid, signal)

    def on_close(self) -> None:
        """No further task comes."""
        for pool in self._pools.values():
            pool.close()

    def on_terminate(self) -> None:
        """Ends the processes, whatever they do."""
        for pool in self._pools.values():
            pool.terminate()

    def on_stop(self) -> None:
        """Waits until every task has ended, and ends the idle processes.

        Celery would join billiard's threads, which sleep for most of a second each.
        """
        self.on_close()
        running = services_of(self.app).running
        looked_at = time.monotonic()
        while running:
            time.sleep(LOOK_SECONDS)
            if time.monotonic() - looked_at > SUPERVISOR_SECONDS:
                # billiard's own threads for it were ended with the pools.
                for pool in self._pools.values():
                    pool._join_exited_workers()  # noqa: SLF001 -- billiard offers no other way
                looked_at = time.monotonic()
        processes = [each for pool in self._pools.values() for each in pool._pool]  # noqa: SLF001 -- as above
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(PROCESS_SECONDS)


def _initialize(slot: Slot, app: Any, hostname: str) -> None:
    """Called in a process of tasks that has begun."""
    services_of(app).slots.enter(slot)
    prefork.process_initializer(app, hostname)


class _LastingThread:
    """Runs calls in one thread, which lasts as long as this process."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], None], Future[None]]] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def run(self, call: Callable[[], None]) -> None:
        """Waits for the call's end, and raises what it raised."""
        end: Future[None] = Future()
        self._calls.put((call, end))
        end.result()

    def _run(self) -> None:
        while True:
            call, end = self._calls.get()
            try:
                end.set_result(call())
            except Exception as error:  # noqa: BLE001 -- it is raised where the call was made
                end.set_exception(error)


def _free(lock: Any) -> None:
    with suppress(ValueError):  # it was not taken
        lock.release()
