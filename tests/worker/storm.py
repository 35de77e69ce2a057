"""Harm at random to workers, and what the journals of tasks then tell about the promises."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from botocore.exceptions import ClientError
from faults import (
    ATTRIBUTES,
    BLACK_HOLE,
    DELETE,
    DELETE_ITEM,
    DROP_AFTER,
    DROP_BEFORE,
    EXPIRED,
    FAILED_AFTER,
    GET,
    HTML,
    PUT,
    PUT_SEVERAL,
    RECEIVE,
    SEND,
    THROTTLED,
    TRUNCATED,
    UNAVAILABLE,
    UPDATE,
    VISIBILITY,
    hang,
)

from worker.shutdown import descendants

LEASE_SECONDS = 10
STOPPED_SECONDS = LEASE_SECONDS + 2
"""A SIGSTOP lasts for longer than a lease."""
DEATH_SECONDS = 0.3
"""Between a worker's SIGKILL and the end of its child, which the kernel kills."""
SLACK_SECONDS = 0.02
"""Between the last line that a task writes and its end."""
WINDOW_SECONDS = 1.0
"""The overlap that docs/worker.md names, after a SIGSTOP or a message that is delivered twice."""
SILENCE_SECONDS = 0.5
"""A task that says nothing for so long was stopped: it says something every tenth of a second."""
FAULTS = {
    UNAVAILABLE: 0.05,
    EXPIRED: 0.03,
    DROP_BEFORE: 0.03,
    DROP_AFTER: 0.03,
    FAILED_AFTER: 0.02,
    TRUNCATED: 0.02,
    HTML: 0.01,
    hang(1): 0.01,
    BLACK_HOLE: 0.003,
}
QUEUE_CALLS = (RECEIVE, DELETE, VISIBILITY, SEND, ATTRIBUTES)
TABLE_CALLS = (GET, PUT, UPDATE, PUT_SEVERAL, DELETE_ITEM)
TABLE_FAULTS = {**FAULTS, THROTTLED: 0.03}
RATES = {
    **dict.fromkeys(QUEUE_CALLS, FAULTS),
    **dict.fromkeys(TABLE_CALLS, TABLE_FAULTS),
}
UNTOLD_FAULTS = (DROP_AFTER, FAILED_AFTER, TRUNCATED, HTML)
"""The client does not know that its call was executed, or takes it for executed."""
OUTAGES = (UNAVAILABLE, EXPIRED, DROP_BEFORE)


@dataclass(frozen=True)
class Harm:
    """Something that was done to processes: a SIGKILL, or a SIGSTOP until a SIGCONT.

    Attributes:
        what: "worker" and with it its child, "child" alone, "stop".
        pids: Those that it was done to.
        at: When.
        until: When a stopped one goes on; the same as `at` for a kill.
    """

    what: str
    pids: frozenset[int]
    at: float
    until: float


class Storm(threading.Thread):
    """Keeps two to four workers alive and does harm to them until the test stops it."""

    def __init__(self, site, proxy, seed):
        super().__init__()
        self.site = site
        self.proxy = proxy
        self.chance = random.Random(seed)  # noqa: S311 -- a seeded test, no secret
        self.harms: list[Harm] = []
        self.signalled = []
        self.killed = []
        self.stopped = {}
        self.doubled: set[str] = set()
        """The messages that were delivered once more."""
        self.outages = 0
        self.ways = []
        self.calm = threading.Event()
        self.stop = threading.Event()
        self.error = None

    def run(self):
        try:
            harm_at = time.monotonic() + 3
            while not self.stop.wait(0.1):
                self.staff()
                self.go_on()
                if not self.calm.is_set() and time.monotonic() >= harm_at:
                    self.harm()
                    harm_at = time.monotonic() + self.chance.uniform(0.4, 1.6)
        except Exception as error:  # noqa: BLE001 -- it is raised where the test looks
            self.error = error
        finally:
            self.go_on(at_once=True)

    @property
    def alive(self):
        """The workers that run, those that are stopped apart."""
        return [
            worker
            for worker in self.site.started
            if worker.code is None and worker not in self.stopped
        ]

    def staff(self):
        wanted = 4 if self.calm.is_set() else self.chance.choice([2, 3, 3, 4])
        if len(self.alive) < wanted:
            self.site.start(
                **self.site.through(self.proxy),
                TASKPACKS_IDLE_SECONDS="1",
                TASKPACKS_MAX_ATTEMPTS="15",
                TASKPACKS_RETRY_BACKOFF_SECONDS="0",
            )

    def harm(self):
        if not self.ways:  # each way comes again and again, in any order
            self.ways = [self.terminate] * 3 + [self.kill, self.kill_child, self.outage] * 2
            self.ways += [self.deliver_again] * 2 + [self.stop_parent, self.stop_all]
            self.chance.shuffle(self.ways)
        self.ways.pop()()

    def terminate(self):
        """SIGTERM, at whatever it does: starting, receiving, running, leaving."""
        if workers := [worker for worker in self.alive if worker not in self.signalled]:
            worker = self.chance.choice(workers)
            if worker.listens:
                self.signalled.append(worker)
                worker.signal(signal.SIGTERM)

    def kill(self):
        if workers := self.alive:
            worker = self.chance.choice(workers)
            self._note("worker", {worker.pid, *worker.children})
            self.killed.append(worker)
            worker.kill()

    def kill_child(self):
        if workers := self._busy:
            child = self.chance.choice(self.chance.choice(workers).children or [0])
            if child and _signalled(child, signal.SIGKILL):
                self._note("child", {child})

    def stop_parent(self):
        """SIGSTOP of the main process alone: its task goes on."""
        if workers := self._busy:
            worker = self.chance.choice(workers)
            self._hold(worker, {worker.pid})

    def stop_all(self):
        if workers := self._busy:
            worker = self.chance.choice(workers)
            self._hold(worker, {worker.pid, *descendants(worker.pid)})

    def go_on(self, *, at_once=False):
        """SIGCONT to what was stopped for long enough."""
        for worker, (pids, until) in tuple(self.stopped.items()):
            if at_once or time.monotonic() >= until:
                del self.stopped[worker]
                for pid in pids:
                    _signalled(pid, signal.SIGCONT)

    def outage(self):
        action = self.chance.choice((*QUEUE_CALLS[:-1], *TABLE_CALLS[:-1]))
        self.proxy.outage(action, self.chance.choice(OUTAGES), self.chance.uniform(0.5, 2))
        self.outages += 1

    def deliver_again(self):
        """Makes a message visible that a worker may hold: at least once is SQS's promise."""
        answers = [
            call.answer["Messages"]
            for call in self.proxy.calls[-100:]
            if call.action == RECEIVE and call.answer.get("Messages")
        ]
        if answers:
            message = self.chance.choice(self.chance.choice(answers))
            try:
                self.site.sqs.change_message_visibility(
                    QueueUrl=self.site.url,
                    ReceiptHandle=message["ReceiptHandle"],
                    VisibilityTimeout=0,
                )
            except ClientError:
                return  # it is deleted, or not in flight
            self.doubled.add(message["Body"])

    @property
    def _busy(self):
        return [worker for worker in self.alive if worker.serving and worker.children]

    def _hold(self, worker, pids):
        self.stopped[worker] = (pids, time.monotonic() + STOPPED_SECONDS)
        for pid in pids:
            _signalled(pid, signal.SIGSTOP)
        self._note("stop", pids | set(worker.children), STOPPED_SECONDS)

    def _note(self, what, pids, seconds=0.0):
        now = time.time()
        self.harms.append(Harm(what, frozenset(pids), now, now + seconds))

    @property
    def told(self):
        """How often each harm was done."""
        return Counter(harm.what for harm in self.harms)


def _signalled(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


@dataclass(frozen=True)
class Run:
    """One run of a task, as its journal tells.

    Attributes:
        pid: Of the process.
        parent: Of its worker.
        signs: When it said that it lives, its begin and end included.
        end: The event that ended it; None when its process was killed.
    """

    pid: int
    parent: int
    signs: tuple[float, ...]
    end: str | None

    @property
    def began_at(self):
        return self.signs[0]

    @property
    def ended_at(self):
        return self.signs[-1]

    @property
    def completed(self):
        return self.end == "end"

    @property
    def spans(self):
        """The times in which it ran: it was stopped where it says nothing for long."""
        spans, began_at = [], self.signs[0]
        for earlier, later in pairwise(self.signs):
            if later - earlier > SILENCE_SECONDS:
                spans.append((began_at, earlier))
                began_at = later
        return [*spans, (began_at, self.signs[-1])]

    def overlap_seconds(self, other):
        return sum(
            max(0.0, min(mine[1], its[1]) - max(mine[0], its[0]))
            for mine in self.spans
            for its in other.spans
        )


def runs_of(lines):
    """The runs of one task, in the order of their begin."""
    runs = []
    for pid in {line["pid"] for line in lines}:
        mine = [line for line in lines if line["pid"] == pid]
        begins = [index for index, line in enumerate(mine) if line["event"] == "begin"]
        for begin, end in pairwise([*begins, len(mine)]):
            part = mine[begin:end]
            last = part[-1]["event"]
            runs.append(
                Run(
                    pid,
                    part[0]["parent"],
                    tuple(line["at"] for line in part),
                    last if last not in ("begin", "tick") else None,
                )
            )
    return sorted(runs, key=lambda run: run.began_at)


def harm_to(run, harms, since, until):
    """The first harm to a run's process or worker within a time."""
    # A process may write a line before the signal that was noted reaches it.
    return next(
        (
            harm
            for harm in harms
            if {run.pid, run.parent} & harm.pids
            and harm.at <= until
            and harm.until >= since - DEATH_SECONDS
        ),
        None,
    )


def check_runs(name, runs, harms, *, doubled):
    """Checks what is promised of a task's runs.

    Args:
        name: For the message.
        runs: In the order of their begin.
        harms: All that was done to processes.
        doubled: The task's message was delivered once more.
    """
    for run in runs:
        if run.end is None:
            assert harm_to(run, harms, run.began_at, run.ended_at + 2 * LEASE_SECONDS), (
                f"{name}: a run neither ended nor was killed: {run}"
            )
    for earlier, later in pairwise(runs):
        stopped = any(
            harm_to(run, [harm], run.began_at, later.ended_at)
            for run in (earlier, later)
            for harm in harms
            if harm.what == "stop"
        )
        most = SLACK_SECONDS + (WINDOW_SECONDS if doubled or stopped else 0)
        overlap = earlier.overlap_seconds(later)
        assert overlap <= most, f"{name}: two runs overlap for {overlap:.2f} s: {earlier}, {later}"
        # What is done is not run again, unless what notes that it is done was cut; and unless it
        # was delivered twice and took less than a second, so that it had no lock.
        twice = doubled and earlier.ended_at - earlier.began_at < WINDOW_SECONDS
        assert (
            not earlier.completed
            or twice
            or stopped
            or harm_to(earlier, harms, earlier.ended_at - 0.5, later.began_at)
        ), f"{name}: it was done and ran again: {earlier}, {later}"
