"""The slots of a worker: each is a process for tasks, one task at a time, and what goes with it.

What the main process shares with a process of tasks (its deadline, what its task uses, what it
prints) and what that process has for itself (scratch) is here, once for each slot: so nothing of
one task is taken for another's. A slot belongs to a message from the making of its task's request
until Celery's account of the message is closed; before that, its process may still be ending.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import signals

from worker.deadline import Deadline
from worker.task_output import TaskOutput
from worker.usage import SAMPLE_SECONDS, UsageMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path


logger = logging.getLogger(__name__)


class Slot:
    """The place of one process, which is replaced when it ends; the slot stays.

    Attributes:
        scratch_root: The folder that has the scratch folders of its task.
        deadline: Until when its task may run.
        usage: What its task uses.
        output: What its process prints.
    """

    def __init__(self, scratch_root: Path) -> None:
        """Makes what is shared: before any process of tasks is forked."""
        scratch_root.mkdir(parents=True, exist_ok=True)
        self.scratch_root = scratch_root
        self.deadline = Deadline()
        self.usage = UsageMeter(scratch_root)
        self.output = TaskOutput()


class Slots:
    """All slots of a worker. `enter` is called in a process of tasks, the rest in the main one."""

    def __init__(self, processes: int, scratch_root: Path) -> None:
        """Makes them.

        Args:
            processes: How many.
            scratch_root: The worker's folder for scratch.
        """
        self._all = [Slot(scratch_root / f"process-{number}") for number in range(processes)]
        self._free = deque(self._all)
        self._taken: dict[str, Slot] = {}
        self._own: Slot | None = None
        # For what the main process does about no task: nothing has a deadline there.
        self._none = Deadline()
        self._acting = threading.local()
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def any_free(self) -> bool:
        """Says whether another task can be taken."""
        return bool(self._free)

    def take(self, receipt_handle: str) -> Slot:
        """Gives a message a slot: the one that is free the longest, for its process is surely up.

        Raises:
            IndexError: None is free.
        """
        slot = self._taken[receipt_handle] = self._free.popleft()
        return slot

    def release(self, receipt_handle: str) -> None:
        """Frees a message's slot, if it has one."""
        slot = self._taken.pop(receipt_handle, None)
        if slot is not None:
            self._free.append(slot)

    def enter(self, slot: Slot) -> None:
        """Called in a slot's process, before its first task."""
        self._own = slot
        for other in self._all:
            if other is not slot:
                other.output.leave()
        slot.output.enter()
        slot.usage.enter()
        slot.deadline.watch()
        signals.task_prerun.connect(lambda **_: slot.deadline.begun(), weak=False)

    @property
    def own(self) -> Slot | None:
        """The slot of this process, or that this thread of the main one acts for; or none."""
        return getattr(self._acting, "slot", self._own)

    @property
    def deadline(self) -> Deadline:
        """The own slot's deadline; one without an end, and without a fence, where there is none."""
        return self._none if self.own is None else self.own.deadline

    @contextmanager
    def acting_for(self, slot: Slot) -> Generator[None]:
        """Has a thread of the main process act for a slot's task, which may end in the middle."""
        before = self.own
        self._acting.slot = slot
        try:
            yield
        finally:
            self._acting.slot = before

    def bound(self, slot: Slot, call: Callable[..., Any]) -> Callable[..., Any]:
        """A call that acts for a slot."""
        return partial(self._call, slot, call)

    def _call(self, slot: Slot, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self.acting_for(slot):
            return call(*args, **kwargs)

    def start(self) -> None:
        """Begins to read what tasks print, and to look at what they use."""
        for slot in self._all:
            slot.output.start()
        threading.Thread(target=self._look, name="usage", daemon=True).start()

    def stop(self) -> None:
        """Ends it; what was printed is read."""
        self._stopped.set()
        with ThreadPoolExecutor(len(self._all)) as threads:
            list(threads.map(lambda slot: slot.output.stop(), self._all))

    def _look(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            for slot in self._all:
                try:
                    slot.usage.sample()
                except Exception:  # whatever it is, the other tasks are to be measured
                    logger.exception("what a task uses cannot be seen")
