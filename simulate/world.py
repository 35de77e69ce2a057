"""The simulated cloud: a task queue, workers that start, work and leave, and a clock.

A discrete-event loop. Faithful where scaling depends on it: SQS's counts lag, starts take a time
drawn from a distribution, jobs beyond the machines' limit wait, idle workers leave, Spot takes
workers away and their messages come back after the lease. A worker has as many tasks at a time as
it has processes. Left out: the time a receive takes, failing tasks, and that tasks of one worker
share its processors and memory.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Final

from launcher import learning
from simulate.setting import Figures, Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulate.loads import Load
    from simulate.setting import Setting

PATIENCE_SECONDS: Final = 12 * 3600
"""After the last arrival: what is not drained then counts as never drained."""
TAIL_SECONDS: Final = 1800
"""After the last task: workers that stay are billed so long, and the simulation ends."""

_CALL, _UP, _DONE, _IDLE, _TAKEN, _BACK = range(6)


class World:
    """One run. `start`, `stop`, `counts` and `at` are what a scaler may use."""

    def __init__(self, load: Load, setting: Setting) -> None:
        """Prepares the run.

        Args:
            load: What comes.
            setting: All else.
        """
        self.now = 0.0
        self.setting = setting
        self.idle_seconds = setting.idle_seconds
        self.figures = Figures()
        self.visible = 0
        self.in_flight = 0
        self.starting = 0
        self.running = 0
        self.endings: deque[float] = deque(maxlen=16)
        self._load = load
        self._arrived = list(load.arrivals)
        self._events: list[tuple[float, int, int, int, int]] = []
        self._sequence = 0
        self._calls: dict[int, Callable[[], None]] = {}
        self._queue: deque[int] = deque()
        self._first_start = [-1.0] * len(load.arrivals)
        self._left = len(load.arrivals)
        # Of each process, by number: the first worker's come first.
        self._message: list[int] = []
        self._turn: list[int] = []
        # Of each worker, by number.
        self._free: list[list[int]] = []  # processes
        self._generation: list[int] = []
        self._since: list[float] = []
        self._worked: list[bool] = []
        self._state: list[int] = []
        self._begun: list[float] = []  # when it was submitted, or came up
        self._beginnings: deque[tuple[float, int]] = deque()  # the same, of all, oldest first
        self._runnable: deque[int] = deque()
        self._placed = 0
        self._placed_since = 0.0  # the sum of when each was placed
        self._idle: list[int] = []  # workers with a free process
        self._idle_place: dict[int, int] = {}
        self._latencies = Random(f"{setting.seed} start")  # noqa: S311 -- a simulation's, not a secret
        self._taking = Random(f"{setting.seed} spot")  # noqa: S311 -- a simulation's, not a secret
        self._choice = Random(f"{setting.seed} idle")  # noqa: S311 -- a simulation's, not a secret
        self._seen = (0, 0)
        self._next_look = 0.0
        self._up_now: dict[int, None] = {}  # workers, in the order in which they came up
        self._finished: list[float] = []
        self.received = 0
        self._tasks: dict[float, float] = {}  # by the hour: how many, and their mean
        self._means: dict[float, float] = {}
        self._ended: deque[tuple[float, float]] = deque()
        self._ended_seconds = 0.0

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Calls at a time."""
        self._calls[self._push(time, _CALL, 0, 0)] = call

    def counts(self) -> tuple[int, int]:
        """SQS's counts of visible messages and of those in flight: a little old."""
        return self._seen

    def oldest_age_seconds(self) -> float:
        """Returns the age of the oldest message, in flight or not; 0 when there is none."""
        arrivals = self._arrived
        candidates = [arrivals[self._queue[0]]] if self._queue else []
        candidates += [arrivals[message] for message in self._message if message >= 0]
        return self.now - min(candidates) if candidates else 0.0

    def learned_task_seconds(self) -> float | None:
        """Returns the mean of what tasks took; None when too few have finished."""
        return learning.mean(self._means, self._tasks, self.now)

    def done_within(self, seconds: float) -> int:
        """How many tasks were done in so many seconds."""
        return len(self._finished) - bisect_right(self._finished, self.now - seconds)

    def worked_within(self, seconds: float) -> float:
        """How long the workers that run now did so in the last so many seconds."""
        begin = self.now - seconds
        return sum(self.now - max(begin, self._begun[worker]) for worker in self._up_now)

    def younger_than(self, seconds: float) -> int:
        """How many workers were submitted, or came up, less than so many seconds ago."""
        while self._beginnings and self._beginnings[0][0] <= self.now - seconds:
            self._beginnings.popleft()
        return sum(
            self._begun[worker] == time and self._state[worker] != _DONE
            for time, worker in self._beginnings
        )

    def _begins(self, worker: int) -> None:
        self._begun[worker] = self.now
        self._beginnings.append((self.now, worker))

    def worker_hours_last_day(self) -> float:
        """Returns the hours of all workers that run, or that ended in the last day."""
        while self._ended and self._ended[0][0] < self.now - 86_400:
            self._ended_seconds -= self._ended.popleft()[1]
        return (self._ended_seconds + self._open_seconds()) / 3600

    def start(self, workers: int) -> None:
        """Submits jobs, a worker each."""
        for _ in range(workers):
            worker = len(self._state)
            self._state.append(_CALL)
            self._generation.append(0)
            self._since.append(0.0)
            self._free.append([])
            self._message += [-1] * self.setting.processes
            self._turn += [0] * self.setting.processes
            self._worked.append(False)
            self._begun.append(0.0)
            self._begins(worker)
            self._runnable.append(worker)
        self.figures.started += workers
        self.starting += workers
        self._place()

    def waiting(self, seconds: float) -> int:
        """How many jobs have waited for a machine for so many seconds."""
        return sum(self.now - self._begun[worker] >= seconds for worker in self._runnable)

    def cancel_newest(self) -> None:
        """Cancels the job that was the last to begin to wait for a machine."""
        worker = self._runnable.pop()
        self._state[worker] = _DONE
        self.starting -= 1
        self.figures.cancelled += 1
        self._worked[worker] = True  # no surplus: it cost nothing

    def stop(self, workers: int, *, spare_busy: bool) -> None:
        """Ends workers from outside, as a service that scales in does: idle ones first.

        Args:
            workers: How many.
            spare_busy: Whether workers with a task are left alone.
        """
        idle = [worker for worker in self._idle if self._is_idle(worker)][-workers:]
        idle = idle if workers else []
        for worker in idle:
            self._end(worker)
        if not spare_busy and len(idle) < workers:
            busy = sorted(
                {self._worker_of(at) for at, message in enumerate(self._message) if message >= 0}
            )
            for worker in self._choice.sample(busy, min(len(busy), workers - len(idle))):
                self._cut(worker)

    def run(self) -> Figures:
        """Runs until all is done, and a little longer, or until patience ends."""
        events, arrivals = self._events, self._load.arrivals
        coming, count = 0, self._load.comes_by_itself
        last = arrivals[count - 1] if count else 0.0
        end = last + PATIENCE_SECONDS
        self._push(end, _CALL, 0, 0)  # so that there always is an event
        handlers = (self._call, self._up, self._done, self._idle_long, self._take, self._back)
        lag = self.setting.count_lag_seconds
        while events:
            arriving = coming < count and arrivals[coming] <= events[0][0]
            time = arrivals[coming] if arriving else events[0][0]
            if time > end:
                break
            if time >= self._next_look:
                self._look()
                self._next_look = (time // lag + 1) * lag if lag else time
            self.now = time
            if arriving:
                self._arrive(coming)
                coming += 1
                continue
            _, sequence, kind, worker, generation = heappop(events)
            handlers[kind](sequence, worker, generation)
            if not self._left and coming == count:
                if self.figures.drained_seconds == math.inf:
                    self.figures.drained_seconds = self.now - last if count else 0.0
                    end = min(end, self.now + TAIL_SECONDS)
                if not self.starting and not self.running:
                    break
        return self._summed_up()

    def _push(self, time: float, kind: int, worker: int, generation: int) -> int:
        self._sequence += 1
        heappush(self._events, (time, self._sequence, kind, worker, generation))
        return self._sequence

    def _open_seconds(self) -> float:
        """Returns what the workers that are placed have cost so far."""
        return self._placed * self.now - self._placed_since

    def _look(self) -> None:
        """Notes the counts that are seen from now on: the state before the event that comes."""
        self._seen = (self.visible, self.in_flight)
        self.figures.timeline.append(
            Sample(
                self._next_look,
                self.visible,
                self.in_flight,
                self.starting,
                self.running,
                self.figures.billed_seconds + self._open_seconds(),
            )
        )

    def _call(self, sequence: int, _worker: int, _generation: int) -> None:
        call = self._calls.pop(sequence, None)
        if call:
            call()

    def _arrive(self, message: int) -> None:
        if self._idle:
            idle = self._idle
            self._begin(idle[int(self._choice.random() * len(idle))], message)
        else:
            self._queue.append(message)
            self.visible += 1

    def _begin(self, worker: int, message: int) -> None:
        process = self._free[worker].pop()
        if not self._free[worker]:
            self._unidle(worker)
        if self._first_start[message] < 0:
            self._first_start[message] = self.now
        self._message[process] = message
        self.received += 1
        self._worked[worker] = True
        self.in_flight += 1
        self._generation[worker] += 1
        turn = self._turn[process] = self._turn[process] + 1
        self._push(self.now + self._load.task_seconds[message], _DONE, process, turn)

    def _worker_of(self, process: int) -> int:
        return process // self.setting.processes

    def _processes_of(self, worker: int) -> range:
        first = worker * self.setting.processes
        return range(first, first + self.setting.processes)

    def _is_idle(self, worker: int) -> bool:
        return len(self._free[worker]) == self.setting.processes

    def _unidle(self, worker: int) -> None:
        place = self._idle_place.pop(worker, None)
        if place is None:
            return
        last = self._idle.pop()
        if last != worker:
            self._idle[place] = last
            self._idle_place[last] = place

    def _next(self, process: int) -> None:
        """A process that has no task takes a message, or waits for one."""
        worker = self._worker_of(process)
        self._free[worker].append(process)
        if self._queue:
            self.visible -= 1
            self._begin(worker, self._queue.popleft())
            return
        if worker not in self._idle_place:
            self._idle_place[worker] = len(self._idle)
            self._idle.append(worker)
        generation = self._generation[worker] = self._generation[worker] + 1
        if self._is_idle(worker) and self.idle_seconds < math.inf:
            self._push(self.now + self.idle_seconds, _IDLE, worker, generation)

    def _place(self) -> None:
        while self._runnable and self._placed < self.setting.capacity:
            worker = self._runnable.popleft()
            self._placed += 1
            self._since[worker] = self.now
            self._placed_since += self.now
            self._launch(worker)

    def _launch(self, worker: int) -> None:
        setting = self.setting
        latency = setting.startup_seconds * math.exp(
            self._latencies.gauss(0, 1) * setting.startup_spread
        )
        self._push(self.now + latency, _UP, worker, self._generation[worker])

    def _up(self, _sequence: int, worker: int, generation: int) -> None:
        if generation != self._generation[worker]:
            return
        self.starting -= 1
        self.running += 1
        self._state[worker] = _UP
        self._up_now[worker] = None
        self._begins(worker)
        if self.setting.spot_per_hour:
            life = self._taking.expovariate(self.setting.spot_per_hour / 3600)
            self._push(self.now + life, _TAKEN, worker, 0)
        for process in self._processes_of(worker):
            self._next(process)

    def _done(self, _sequence: int, process: int, turn: int) -> None:
        if turn != self._turn[process]:
            return
        message, self._message[process] = self._message[process], -1
        self.in_flight -= 1
        self._left -= 1
        self._finished.append(self.now)
        hour = self.now // learning.PERIOD_SECONDS * learning.PERIOD_SECONDS
        tasks = self._tasks[hour] = self._tasks.get(hour, 0) + 1
        mean = self._means.get(hour, 0.0)
        self._means[hour] = mean + (self._load.task_seconds[message] - mean) / tasks
        for sent in self._load.sends.get(message, ()):
            self._arrived[sent] = self.now
            self._arrive(sent)
        self._next(process)

    def _idle_long(self, _sequence: int, worker: int, generation: int) -> None:
        if generation == self._generation[worker]:
            self._end(worker)

    def _end(self, worker: int) -> None:
        self._unidle(worker)
        self._free[worker].clear()
        self._generation[worker] += 1
        self._state[worker] = _DONE
        del self._up_now[worker]
        self.running -= 1
        self._placed -= 1
        billed = self.now - self._since[worker]
        self._placed_since -= self._since[worker]
        self.figures.billed_seconds += billed
        self._ended.append((self.now, billed))
        self._ended_seconds += billed
        self.endings.appendleft(self.now)
        self._place()

    def _cut(self, worker: int) -> None:
        """Ends a worker whatever it does; its messages come back after the lease."""
        for process in self._processes_of(worker):
            message, self._message[process] = self._message[process], -1
            self._turn[process] += 1
            if message >= 0:
                self._push(self.now + self.setting.lease_seconds, _BACK, message, 0)
        self._end(worker)

    def _take(self, _sequence: int, worker: int, _generation: int) -> None:
        if self._state[worker] != _UP:
            return
        self.figures.taken += 1
        self._cut(worker)
        self._state[worker] = _CALL  # Batch starts the job again
        self.starting += 1
        self._runnable.append(worker)
        self._place()

    def _back(self, _sequence: int, message: int, _generation: int) -> None:
        self.in_flight -= 1
        if self._idle:
            self._begin(self._idle[-1], message)
        else:
            self._queue.appendleft(message)
            self.visible += 1

    def _summed_up(self) -> Figures:
        figures = self.figures
        figures.billed_seconds += self._open_seconds()
        arrivals = self._arrived
        figures.waits = sorted(
            started - arrived if started >= 0 else math.inf
            for arrived, started in zip(arrivals, self._first_start, strict=True)
        )
        figures.never = self._left
        figures.surplus = self._worked.count(False)
        if self._left:
            figures.drained_seconds = math.inf
        return figures
