"""Hundreds of tasks while workers, their processes and their calls to AWS are cut at random."""

import random
import time
from collections import Counter

import pytest
from celery import chord
from faults import SEND
from storm import (
    LEASE_SECONDS,
    QUEUE_CALLS,
    RATES,
    TABLE_CALLS,
    UNTOLD_FAULTS,
    Storm,
    check_runs,
    runs_of,
)

from taskpacks.contract import ExitCode

CHORDS = 4
HEADER = 20
SINGLE_TASKS = 216
"""With the tasks of the chords: 300."""
CALM_AFTER_TASKS = 240
CALM_AFTER_SECONDS = 45
"""After so many tasks, or so long, the harm ends, and what is left must be done."""
NEVER_NEEDED = {"DeleteItem"}
"""Calls that may not have come before the harm ends."""


def run_seconds(chance):
    """At most 2.5 s, mostly short."""
    return round(
        chance.choices(
            [chance.uniform(0, 0.2), chance.uniform(0.2, 0.8), chance.uniform(0.8, 2.5)],
            [85, 11, 4],
        )[0],
        3,
    )


class Load:
    """Single tasks and chords; some fail, and some ask for a retry, before they are done."""

    def __init__(self, site, journal, seed):
        self.site = site
        self.journal = journal
        self.chance = random.Random(seed)  # noqa: S311 -- a seeded test, no secret
        self.ids = {f"task {number}": f"single-{number}-{seed}" for number in range(SINGLE_TASKS)}
        self.bodies = [f"body {number}" for number in range(CHORDS)]
        self.headers = {
            body: [f"{body}, part {number}" for number in range(HEADER)] for body in self.bodies
        }
        for body, parts in self.headers.items():
            self.ids |= {name: f"{name}-{seed}".replace(" ", "-") for name in (body, *parts)}

    def send(self):
        """Sends the chords, then the rest in any order."""
        for body in self.bodies:
            self._chord(body)
        singles = [name for name in self.ids if name.startswith("task")]
        self.chance.shuffle(singles)
        for name in singles:
            self._work(name).apply_async()

    def _chord(self, body):
        header = [
            self._work(name, failures=int(number % 5 == 0), retries=int(number % 3 == 0))
            for number, name in enumerate(self.headers[body])
        ]
        chord(header, self._signature("gather", body)).apply_async()

    def _work(self, name, **changes):
        return self._signature("work", name, seconds=run_seconds(self.chance), **changes)

    def _signature(self, task, name, **arguments):
        arguments |= {"journal": str(self.journal), "name": name}
        signature = self.site.producer.signature(f"probe.{task}", kwargs=arguments)
        return signature.set(task_id=self.ids[name])

    def left(self):
        """The names of tasks that never ended well."""
        return set(self.ids) - {line["name"] for line in self.journal.lines("end")}

    def check_outcomes(self):
        """Each has succeeded for whoever waits, and each chord's body has all its parts."""
        results = map(self.site.producer.AsyncResult, self.ids.values())
        assert Counter(result.state for result in results) == {"SUCCESS": len(self.ids)}
        for body, parts in self.headers.items():
            for line in self.journal.lines("end", body):
                assert line["values"] == sorted(parts)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("storm_of", [(1, 1), (2, 1), (3, 3)])
def test_whatever_is_cut_every_task_is_done_and_none_twice_without_cause(
    storm_of, site, proxy, journal, wait_until
):
    seed, processes = storm_of
    print(f"seed {seed}")
    site.environment["TASKPACKS_PROCESSES"] = str(processes)
    site.configure_queue(lease_seconds=LEASE_SECONDS, max_receives=50)
    load = Load(site, journal, seed)
    began_at = time.monotonic()
    proxy.random.seed(seed)
    proxy.rates = RATES
    proxy.script(SEND, *UNTOLD_FAULTS)
    storm = Storm(site, proxy, seed)
    storm.start()
    try:
        load.send()

        def done():
            seconds = time.monotonic() - began_at
            left = load.left()
            if len(load.ids) - len(left) >= CALM_AFTER_TASKS or seconds > CALM_AFTER_SECONDS:
                storm.calm.set()
                proxy.calm()
            assert storm.error is None
            return not left

        try:
            wait_until(done, 90)
        except AssertionError as error:
            left = load.left()
            lines = [line for line in journal.lines() if line["name"] in left]
            depths = (site.depth(), site.depth(site.dead_url))
            raise AssertionError(f"{left} never ended; depths {depths}; {lines}") from error
        storm.calm.set()
        proxy.calm()
        wait_until(lambda: site.depth() == (0, 0), 60)
    finally:
        storm.stop.set()
        storm.join()
    codes = Counter(worker.wait(30) for worker in site.started if worker not in storm.killed)
    seconds = time.monotonic() - began_at

    by_name = {name: [] for name in load.ids}
    for line in journal.lines():
        by_name[line["name"]].append(line)
    runs = {name: runs_of(lines) for name, lines in by_name.items()}
    completions = {name: sum(run.completed for run in each) for name, each in runs.items()}
    print(
        f"seed {seed}, processes {processes}: "
        f"{len(runs)} tasks in {seconds:.0f} s, {sum(map(len, runs.values()))} runs, "
        f"{sum(count - 1 for count in completions.values())} completed again; "
        f"{len(site.started)} workers, {len(storm.signalled)} SIGTERM, {dict(storm.told)}, "
        f"{len(storm.doubled)} delivered again, {storm.outages} outages; codes {dict(codes)}; "
        f"{proxy.injected().total()} faults in {len(proxy.calls)} calls: {dict(proxy.injected())}"
    )
    for name, each in runs.items():
        doubled = any(load.ids[name] in body for body in storm.doubled)
        check_runs(name, each, storm.harms, doubled=doubled)
    load.check_outcomes()
    assert site.depth(site.dead_url) == (0, 0)
    assert set(codes) <= {ExitCode.DRAINED, ExitCode.STOPPED, ExitCode.QUEUE_UNUSABLE}
    # The harm was real.
    assert storm.signalled
    assert {"worker", "child", "stop"} == set(storm.told)
    faulty = {call.action for call in proxy.calls if call.fault}
    assert faulty >= {*QUEUE_CALLS, *TABLE_CALLS} - NEVER_NEEDED
