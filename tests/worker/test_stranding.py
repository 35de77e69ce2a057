"""No message is left in flight to a worker that is gone."""

import os
import random
import signal
import threading
import time
from collections import Counter

import pytest
from faults import ATTRIBUTES, RECEIVE

from taskpacks.contract import ExitCode

LEASE_SECONDS = 300
"""Longer than a test: what is stranded stays so until it is counted."""


class Crew(threading.Thread):
    """Keeps three short-lived workers alive, and signals one now and then."""

    def __init__(self, site, chance):
        super().__init__()
        self.site = site
        self.chance = chance
        self.stop = threading.Event()
        self.signalled = []

    def run(self):
        while not self.stop.wait(0.1):
            alive = [worker for worker in self.site.started if worker.code is None]
            if len(alive) < 3:
                idle_seconds = round(self.chance.uniform(0.1, 0.6), 2)
                self.site.start(TASKPACKS_IDLE_SECONDS=str(idle_seconds))
            serving = [
                worker for worker in alive if worker.serving and worker not in self.signalled
            ]
            if serving and self.chance.random() < 0.06:
                self.signalled.append(self.chance.choice(serving))
                self.signalled[-1].signal(signal.SIGTERM)


@pytest.mark.timeout(180)
def test_sixty_messages_around_idle_exits_and_signals_strand_none(site, journal):
    site.configure_queue(lease_seconds=LEASE_SECONDS, max_receives=50)
    chance = random.Random(7)  # noqa: S311 -- a seeded test, no secret
    crew = Crew(site, chance)
    crew.start()
    for number in range(60):
        seconds = chance.choice([0, 0, 0.05, 0.3])
        site.send("sleep", seconds=seconds, journal=str(journal), name=str(number))
        # Random moments are the point: an idle worker leaves about 1.5 s after its last task.
        time.sleep(chance.uniform(1, 2) if number % 4 == 3 else chance.uniform(0, 0.1))
    crew.stop.set()
    crew.join()
    ended = Counter()
    for worker in site.started:
        if worker.code is None and worker not in crew.signalled:
            worker.signal(signal.SIGTERM)
        ended[worker.wait(30)] += 1
    visible, in_flight = site.depth()
    assert in_flight == 0
    done = Counter(line["name"] for line in journal.lines("end"))
    assert set(done.values()) == {1}
    assert len(done) + visible == 60
    assert set(ended) <= {ExitCode.DRAINED, ExitCode.STOPPED}
    print(f"60 messages, {len(done)} done, {len(crew.signalled)} signals, ends {dict(ended)}")


def test_a_message_sent_while_the_worker_asks_whether_the_queue_is_drained_is_not_stranded(
    site, proxy
):
    site.configure_queue(lease_seconds=LEASE_SECONDS)
    sent = []

    def send(call):
        if "ApproximateNumberOfMessagesDelayed" in call.parameters["AttributeNames"]:
            sent.append(site.send("add", left=1, right=1))

    proxy.after(ATTRIBUTES, send)
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="0.2")
    assert worker.wait() == ExitCode.DRAINED
    assert len(sent) == 1
    assert site.depth() == (1, 0)


@pytest.mark.parametrize(("signals", "grace_seconds"), [(1, 5), (2, 5), (1, 0)])
def test_a_message_received_while_the_worker_is_signalled_is_given_back_at_once(
    site, proxy, signals, grace_seconds
):
    site.configure_queue(lease_seconds=LEASE_SECONDS)

    def signalled(call):
        if call.answer.get("Messages"):
            for _ in range(signals):
                worker.signal(signal.SIGTERM)
                time.sleep(0.3)  # the worker has the signal before the message

    proxy.after(RECEIVE, signalled)
    worker = site.start(**site.through(proxy), TASKPACKS_STOP_GRACE_SECONDS=str(grace_seconds))
    site.send("add", left=1, right=1)
    assert worker.wait() == ExitCode.STOPPED
    assert site.depth() == (1, 0)


def test_a_message_sent_to_a_worker_that_has_just_been_signalled_stays_visible(
    site, proxy, wait_until
):
    site.configure_queue(lease_seconds=LEASE_SECONDS)
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="60")
    wait_until(lambda: proxy.count(RECEIVE) > 1)
    worker.signal(signal.SIGTERM)
    site.send("add", left=1, right=1)
    assert worker.wait() == ExitCode.STOPPED
    assert site.depth() == (1, 0)


def test_a_signal_while_the_worker_starts_or_tidies_up_is_no_crash(site, wait_until):
    workers = [site.start(TASKPACKS_IDLE_SECONDS="0.1") for _ in range(5)]
    wait_until(lambda: all(worker.listens for worker in workers))
    for worker in workers:
        worker.signal(signal.SIGTERM)
        time.sleep(0.5)  # into the imports of the next one, its checks, its start
    assert {worker.wait() for worker in workers} <= {ExitCode.STOPPED, ExitCode.DRAINED}
    worker = site.start(TASKPACKS_IDLE_SECONDS="0.1")
    wait_until(lambda: "drained: " in worker.log)
    while worker.code is None:
        worker.signal(signal.SIGTERM)
        time.sleep(0.01)
    assert worker.code in {ExitCode.STOPPED, ExitCode.DRAINED}


def test_the_code_before_any_import_is_the_contracts():
    assert os.EX_TEMPFAIL == ExitCode.STOPPED
