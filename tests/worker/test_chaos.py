"""Hundreds of tasks while workers, their processes and their calls to SQS are cut at random."""

import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import pytest
from faults import (
    BLACK_HOLE,
    DELETE,
    DROP_AFTER,
    DROP_BEFORE,
    EXPIRED,
    FAILED_AFTER,
    HTML,
    RECEIVE,
    TRUNCATED,
    UNAVAILABLE,
    VISIBILITY,
    hang,
)

from taskpacks.contract import ExitCode

TASKS = 300
LEASE_SECONDS = 10
CALM_AFTER_TASKS = 240
CALM_AFTER_SECONDS = 90
"""After so many tasks, or so long, the harm ends, and what is left must be done."""
DEATH_SECONDS = 0.3
"""Between a worker's SIGKILL and the end of its child, which the kernel kills."""
SLACK_SECONDS = 0.02
"""Between the last line that a task writes and its end."""
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
OUTAGES = (UNAVAILABLE, EXPIRED, DROP_BEFORE)


@dataclass(frozen=True)
class Kill:
    """A SIGKILL: a worker's, and with it its child's, or a child's alone."""

    what: str
    pids: frozenset[int]
    at: float


class Storm(threading.Thread):
    """Keeps two to four workers alive and does harm to them until the test stops it."""

    def __init__(self, site, proxy, seed):
        super().__init__()
        self.site = site
        self.proxy = proxy
        self.chance = random.Random(seed)  # noqa: S311 -- a seeded test, no secret
        self.kills: list[Kill] = []
        self.signalled = []
        self.killed = []
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
                if not self.calm.is_set() and time.monotonic() >= harm_at:
                    self.harm()
                    harm_at = time.monotonic() + self.chance.uniform(0.4, 1.6)
        except Exception as error:  # noqa: BLE001 -- it is raised where the test looks
            self.error = error

    @property
    def alive(self):
        return [worker for worker in self.site.started if worker.code is None]

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
            self.ways = [self.terminate] * 3 + [self.kill] * 2 + [self.kill_child, self.outage] * 2
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
            pids = frozenset({worker.pid, *worker.children})
            self.kills.append(Kill("worker", pids, time.time()))
            self.killed.append(worker)
            worker.kill()

    def kill_child(self):
        if workers := [worker for worker in self.alive if worker.serving and worker.children]:
            child = self.chance.choice(self.chance.choice(workers).children)
            self.kills.append(Kill("child", frozenset({child}), time.time()))
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                self.kills.pop()

    def outage(self):
        action = self.chance.choice([RECEIVE, DELETE, VISIBILITY])
        self.proxy.outage(action, self.chance.choice(OUTAGES), self.chance.uniform(0.5, 2))
        self.outages += 1


def run_seconds(chance):
    """0.1 to 2.5 s, mostly short."""
    return round(
        chance.choices(
            [chance.uniform(0.1, 0.2), chance.uniform(0.2, 0.8), chance.uniform(0.8, 2.5)],
            [82, 14, 4],
        )[0],
        3,
    )


@dataclass(frozen=True)
class Run:
    """One run of a task, as its journal tells."""

    pid: int
    parent: int
    began_at: float
    ended_at: float
    completed: bool


def runs_of(lines, kills):
    """The runs of one task; one whose process was killed ends with it."""
    runs = []
    for line in lines:
        if line["event"] != "begin":
            continue
        end = next(
            (
                other
                for other in lines
                if other["pid"] == line["pid"]
                and other["event"] != "begin"
                and other["at"] >= line["at"]
            ),
            None,
        )
        if end is not None:
            ended_at, completed = end["at"], end["event"] == "end"
        else:
            kill = killed(line["pid"], line["parent"], line["at"], kills)
            assert kill is not None, f"a run neither ended nor was killed: {line}"
            ended_at, completed = max(kill.at, line["at"]) + DEATH_SECONDS, False
        runs.append(Run(line["pid"], line["parent"], line["at"], ended_at, completed))
    return sorted(runs, key=lambda run: run.began_at)


def killed(pid, parent, since, kills):
    """The first kill of a task's process, or of its worker, after a moment."""
    # A process may write a line before the signal that was noted reaches it.
    since -= DEATH_SECONDS
    return next((kill for kill in kills if kill.at >= since and {pid, parent} & kill.pids), None)


def twice_without_cause(name, runs, kills):
    """Completed runs that were followed by another, though nobody cut their acknowledgement."""
    return [
        (name, earlier, later)
        for earlier, later in pairwise(runs)
        if earlier.completed
        and (
            (kill := killed(earlier.pid, earlier.parent, earlier.ended_at - 0.5, kills)) is None
            or kill.at > later.began_at
        )
    ]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("storm_of", [(1, 1), (2, 1), (3, 1), (1, 3)])
def test_whatever_is_cut_every_task_is_done_and_none_twice_without_cause(
    storm_of, site, proxy, journal, wait_until
):
    seed, processes = storm_of
    site.environment["TASKPACKS_PROCESSES"] = str(processes)
    site.configure_queue(lease_seconds=LEASE_SECONDS, max_receives=50)
    chance = random.Random(seed)  # noqa: S311 -- a seeded test, no secret
    names = [f"task {number}" for number in range(TASKS)]
    began_at = time.monotonic()
    proxy.random.seed(seed)
    proxy.rates = {RECEIVE: FAULTS, DELETE: FAULTS, VISIBILITY: FAULTS}
    storm = Storm(site, proxy, seed)
    storm.start()
    try:
        for name in names:
            site.send("sleep", seconds=run_seconds(chance), journal=str(journal), name=name)

        def done():
            ended = {line["name"] for line in journal.lines("end")}
            seconds = time.monotonic() - began_at
            if len(ended) >= CALM_AFTER_TASKS or seconds > CALM_AFTER_SECONDS:
                storm.calm.set()
                proxy.calm()
            assert storm.error is None
            return ended >= set(names)

        try:
            wait_until(done, 150)
        except AssertionError as error:
            left = set(names) - {line["name"] for line in journal.lines("end")}
            runs = [line for line in journal.lines() if line["name"] in left]
            depths = (site.depth(), site.depth(site.dead_url))
            raise AssertionError(f"{left} never ended; depths {depths}; {runs}") from error
        storm.calm.set()
        proxy.calm()
        wait_until(lambda: site.depth() == (0, 0), 30)
    finally:
        storm.stop.set()
        storm.join()
    codes = Counter(worker.wait(30) for worker in site.started if worker not in storm.killed)
    seconds = time.monotonic() - began_at

    by_name = {name: [] for name in names}
    for line in journal.lines():
        by_name[line["name"]].append(line)
    runs = {name: runs_of(lines, storm.kills) for name, lines in by_name.items()}
    completions = {name: sum(run.completed for run in each) for name, each in runs.items()}
    told = Counter(kill.what for kill in storm.kills)
    print(
        f"seed {seed}, processes {processes}: "
        f"{TASKS} tasks in {seconds:.0f} s, {sum(map(len, runs.values()))} runs, "
        f"{sum(count - 1 for count in completions.values())} completed again; "
        f"{len(site.started)} workers, {len(storm.signalled)} SIGTERM, {dict(told)} SIGKILL, "
        f"{storm.outages} outages; codes {dict(codes)}; "
        f"{proxy.injected().total()} faults in {len(proxy.calls)} calls: {dict(proxy.injected())}; "
        f"deletes cut after execution: {len(proxy.cuts(DELETE))}"
    )
    assert min(completions.values()) >= 1
    for name, each in runs.items():
        for earlier, later in pairwise(each):
            assert later.began_at >= earlier.ended_at - SLACK_SECONDS, (name, earlier, later)
        assert not twice_without_cause(name, each, storm.kills)
    assert site.depth(site.dead_url) == (0, 0)
    assert set(codes) <= {ExitCode.DRAINED, ExitCode.STOPPED, ExitCode.QUEUE_UNUSABLE}
    # The harm was real.
    assert storm.signalled
    assert {"worker", "child"} == set(told)
    assert {call.action for call in proxy.calls if call.fault} == {RECEIVE, DELETE, VISIBILITY}
