"""The ends of long tasks: the heartbeat, the grace and its overrun, notices, lost leases."""

import os
import signal
import time
from pathlib import Path

import pytest
from faults import BLACK_HOLE, DELETE, DROP_BEFORE, EXPIRED, NOT_IN_FLIGHT, VISIBILITY, hang

from taskpacks.contract import ExitCode
from worker.shutdown import CLEANUP_SECONDS, RECEIVE_SECONDS, SETTLE_SECONDS, alive

KILL_SECONDS = 30
"""Between SIGTERM and SIGKILL on Fargate."""


def outcomes(worker):
    return [report["Outcome"] for report in worker.reports if "Outcome" in report]


def test_a_task_of_five_leases_runs_once_beside_an_idle_worker(site, journal, wait_until):
    site.configure_queue(lease_seconds=2)
    task = site.send("sleep", seconds=10, journal=str(journal), name="long")
    workers = [site.start(TASKPACKS_IDLE_SECONDS="15") for _ in range(2)]
    assert task.get(timeout=40) == "long"
    assert [line["event"] for line in journal.lines()] == ["begin", "end"]
    wait_until(lambda: site.depth() == (0, 0))
    for worker in workers:
        worker.signal(signal.SIGTERM)
    assert [worker.wait() for worker in workers] == [ExitCode.STOPPED] * 2
    assert sorted(outcomes(worker) for worker in workers) == [[], ["done"]]


def test_after_the_grace_the_program_and_its_child_are_gone_and_the_message_visible(
    site, journal, wait_until
):
    site.send("program", journal=str(journal))
    worker = site.start(TASKPACKS_STOP_GRACE_SECONDS="1")
    (line,) = wait_until(lambda: journal.lines("begin"))
    assert all(alive(pid) for pid in line["pids"])
    asked_at = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait(KILL_SECONDS) == ExitCode.STOPPED
    print(f"left {time.monotonic() - asked_at:.1f} s after the signal, with 1 s of grace")
    wait_until(lambda: not any(alive(pid) for pid in line["pids"]), 2)
    wait_until(lambda: site.depth() == (1, 0), 2)
    assert journal.lines("cut"), "the task was never asked"
    assert not Path(line["folder"]).exists()
    assert not list(site.folder.glob("taskpacks-*"))


def test_a_task_that_is_cancelled_after_the_grace_cleans_up_and_runs_again(
    site, journal, wait_until
):
    site.configure_queue(max_receives=5)
    site.send("sleep", seconds=3, journal=str(journal), name="twice cut")
    for number in (1, 2):
        worker = site.start(TASKPACKS_STOP_GRACE_SECONDS="0.5", TASKPACKS_MAX_ATTEMPTS="1")
        wait_until(lambda count=number: len(journal.lines("begin")) == count)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == ExitCode.STOPPED
        assert site.depth() == (1, 0)
    worker = site.start(TASKPACKS_MAX_ATTEMPTS="1")
    assert worker.wait() == ExitCode.DRAINED
    events = [line["event"] for line in journal.lines()]
    assert events == ["begin", "cut", "begin", "cut", "begin", "end"]
    assert {line["by"] for line in journal.lines("cut")} == {"SystemExit"}
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (0, 0))


@pytest.mark.parametrize("attempts", ["1", "3"])
def test_a_cancelled_task_whose_cleaning_up_fails_comes_back_and_is_no_attempt(
    site, journal, wait_until, attempts
):
    result = site.send("untidy", journal=str(journal))
    first = site.start(TASKPACKS_STOP_GRACE_SECONDS="0", TASKPACKS_MAX_ATTEMPTS=attempts)
    wait_until(lambda: journal.lines("begin"))
    first.signal(signal.SIGTERM)
    assert first.wait(30) == ExitCode.STOPPED
    assert site.depth() == (1, 0)
    assert site.start(TASKPACKS_MAX_ATTEMPTS=attempts).wait(30) == ExitCode.DRAINED
    assert result.get(timeout=1) == "done"
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (0, 0))


def test_a_task_ends_well_although_credentials_expire_meanwhile(site, proxy, journal, wait_until):
    site.configure_queue(lease_seconds=6)
    task = site.send("sleep", seconds=8, journal=str(journal), name="long")
    site.start(**site.through(proxy))
    wait_until(lambda: journal.lines("begin"))
    proxy.outage(VISIBILITY, EXPIRED, 60)
    beside = site.start(TASKPACKS_IDLE_SECONDS="15")
    wait_until(lambda: proxy.injected()[f"{VISIBILITY} ExpiredToken"] >= 3)
    proxy.end_outage(VISIBILITY)
    assert task.get(timeout=30) == "long"
    assert [line["event"] for line in journal.lines()] == ["begin", "end"]
    assert beside.code is None
    wait_until(lambda: site.depth() == (0, 0))


@pytest.mark.parametrize("how", ["another has it", "deleted"])
def test_a_task_whose_lease_is_lost_is_cancelled_and_never_acknowledged(
    site, proxy, journal, wait_until, how
):
    site.configure_queue(lease_seconds=6)
    lost = site.send("sleep", seconds=30, journal=str(journal), name="lost")
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="1")
    wait_until(lambda: journal.lines("begin"))
    if how == "deleted":
        site.sqs.purge_queue(QueueUrl=site.url)
    else:
        proxy.outage(VISIBILITY, NOT_IN_FLIGHT, 60)
    (cut,) = wait_until(lambda: journal.lines("cut"))
    assert cut["by"] == "SystemExit"
    assert proxy.count(DELETE) == 0
    proxy.calm()
    if how == "another has it":
        site.sqs.purge_queue(QueueUrl=site.url)
    after = site.send("add", left=1, right=1)
    assert after.get(timeout=20) == 2
    assert worker.wait() == ExitCode.DRAINED
    assert outcomes(worker) == ["interrupted", "done"]
    assert lost.state == "STARTED"
    assert site.depth(site.dead_url) == (0, 0)


def test_a_task_whose_lease_was_lost_before_it_began_is_cancelled_too(
    site, proxy, journal, wait_until
):
    site.configure_queue(lease_seconds=6)
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="20")
    (process,) = wait_until(lambda: worker.serving and worker.children)
    os.kill(process, signal.SIGSTOP)  # it takes the task when it goes on
    proxy.outage(VISIBILITY, NOT_IN_FLIGHT, 60)
    site.send("sleep", seconds=30, journal=str(journal), name="lost")
    wait_until(lambda: "is lost" in worker.log)
    os.kill(process, signal.SIGCONT)
    wait_until(lambda: outcomes(worker) == ["interrupted"], 15)
    site.sqs.purge_queue(QueueUrl=site.url)
    proxy.calm()
    after = site.send("add", left=1, right=1)
    assert after.get(timeout=20) == 2
    wait_until(lambda: outcomes(worker) == ["interrupted", "done"])
    assert not journal.lines("end")
    wait_until(lambda: proxy.count(DELETE))
    assert proxy.count(DELETE) == 1


SLOW_PROCESS = """
import time
from celery import signals

@signals.worker_process_init.connect(weak=False)
def prepare(**_):
    time.sleep(6)
"""


@pytest.mark.parametrize("fault", [NOT_IN_FLIGHT, DROP_BEFORE, BLACK_HOLE], ids=str)
def test_a_task_whose_lease_is_lost_while_its_process_starts_does_not_run_on(
    site, proxy, journal, wait_until, fault
):
    (site.folder / "site" / "sitecustomize.py").write_text(SLOW_PROCESS)
    site.configure_queue(lease_seconds=3)
    site.send("sleep", seconds=30, journal=str(journal), name="lost")
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="3")
    wait_until(lambda: worker.serving)
    proxy.outage(VISIBILITY, fault, 60)
    wait_until(lambda: "its message is lost, cancelling it" in worker.log, 20)
    site.sqs.purge_queue(QueueUrl=site.url)
    proxy.calm()
    after = site.send("add", left=1, right=1)
    assert after.get(timeout=40) == 2
    assert worker.wait() == ExitCode.DRAINED
    assert not journal.lines("end")
    assert set(outcomes(worker)) == {"interrupted", "done"}


def test_a_task_that_begins_when_the_grace_is_over_is_ended_before_its_message_is_visible(
    site, proxy, journal, wait_until
):
    worker = site.start(
        **site.through(proxy), TASKPACKS_IDLE_SECONDS="20", TASKPACKS_STOP_GRACE_SECONDS="0"
    )
    (process,) = wait_until(lambda: worker.serving and worker.children)
    os.kill(process, signal.SIGSTOP)  # it takes the task when it goes on
    site.send("sleep", seconds=30, journal=str(journal), name="late")
    wait_until(lambda: "received" in worker.log)
    running = []

    def given_back(call):
        if call.parameters["VisibilityTimeout"] == 0:
            running.append(alive(process))

    proxy.after(VISIBILITY, given_back)
    proxy.script(VISIBILITY, hang(1))
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "the grace is over" in worker.log)
    os.kill(process, signal.SIGCONT)
    assert worker.wait() == ExitCode.STOPPED
    assert running == [False]
    assert site.depth() == (1, 0)


def test_a_signalled_worker_leaves_before_it_is_killed_although_sqs_hangs(
    site, proxy, journal, wait_until
):
    site.send("sleep", seconds=60, journal=str(journal), name="long")
    worker = site.start(**site.through(proxy), TASKPACKS_STOP_GRACE_SECONDS="1")
    wait_until(lambda: journal.lines("begin"))
    proxy.outage(VISIBILITY, hang(20), 60)
    asked_at = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait(KILL_SECONDS) == ExitCode.STOPPED
    assert time.monotonic() - asked_at < 1 + CLEANUP_SECONDS + RECEIVE_SECONDS + SETTLE_SECONDS + 1
    assert "could not give back every message" in worker.log
