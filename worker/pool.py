"""Celery's prefork pool with one process, whose process may be killed at any moment.

Two things in billiard's pool do not survive that. An idle process waits for its next task with
a lock held: killed there, it leaves the lock taken, and the next process waits for it for ever.
And a process that replaces another is forked by a thread that ends when the pool is closed:
a process that dies with its parent (`taskpacks.lifeline`) dies with that thread, in the middle
of the task that a leaving worker lets finish.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from billiard.pool import Pool
from celery.concurrency.prefork import TaskPool

from worker.lasting import LastingThread

if TYPE_CHECKING:
    from collections.abc import Sequence

LOST_SECONDS: Final = 2
"""After a process's end, how long its task's result may still be on its way."""


class OneProcessPool(Pool):
    """A pool of one process. With more, freeing the locks would be wrong."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._forker = LastingThread("forker")
        super().__init__(*args, **{**kwargs, "lost_worker_timeout": LOST_SECONDS})

    def _join_exited_workers(self, shutdown: bool = False) -> Any:
        pool: Any = super()
        exited = pool._join_exited_workers(shutdown=shutdown)
        if exited:
            self._free(self._inqueue._rlock)
            self._free(self._outqueue._wlock)
        return exited

    def _repopulate_pool(self, exitcodes: Sequence[int]) -> None:
        pool: Any = super()
        self._forker.run(lambda: pool._repopulate_pool(exitcodes))

    @staticmethod
    def _free(lock: Any) -> None:
        """Frees a lock that only the process that has ended could hold."""
        with suppress(ValueError):  # it did not hold it
            lock.release()


class OneProcess(TaskPool):
    """What Celery's setting `worker_pool` names."""

    BlockingPool = OneProcessPool
