"""Hazards of a task and of its queue: the worker goes on, or says why not."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import boto3
import pytest
from celery.exceptions import Reject
from faults import ATTRIBUTES, DELETE_ONE, DENIED, RECEIVE, UNAVAILABLE, VISIBILITY

from taskpacks.contract import ExitCode


def outcomes(worker):
    return [report["Outcome"] for report in worker.reports if "Outcome" in report]


def letters(worker):
    return [report for report in worker.reports if "DeadLetter" in report]


@pytest.mark.parametrize(
    ("task", "outcome", "error"),
    [
        ("memory", "failed", "TaskMemoryError: the task ran out of memory"),
        ("exit", "failed", "TaskExitedError: the task ended its process with SystemExit(3)"),
        ("kill", "lost", "WorkerLostError: "),
        ("fill", "failed", "ScratchFullError: the task needs"),
        ("fail", "failed", "RuntimeError: broken on purpose"),
    ],
)
def test_a_task_that_harms_its_process_has_its_attempts_and_the_worker_goes_on(
    site, task, outcome, error
):
    site.configure_queue(max_receives=6)
    site.send(task)
    worker = site.start(
        TASKPACKS_IDLE_SECONDS="1", TASKPACKS_MAX_ATTEMPTS="2", TASKPACKS_RETRY_BACKOFF_SECONDS="0"
    )
    after = site.send("add", left=1, right=1)
    assert after.get(timeout=20) == 2
    assert worker.wait(30) == ExitCode.DRAINED
    assert sorted(outcomes(worker)) == sorted(["done", outcome, outcome])
    (letter,) = letters(worker)
    assert letter["Error"].startswith(error)
    assert letter["Attempts"] == 2
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (1, 0))


@pytest.mark.parametrize(("kind", "outcome"), [("hard", "timed_out"), ("soft", "failed")])
def test_a_time_limit_ends_the_attempt_and_the_worker_goes_on(site, journal, kind, outcome):
    limits = {"soft_time_limit": 1} if kind == "soft" else {}
    site.producer.send_task(
        "probe.sleep", kwargs={"seconds": 60, "journal": str(journal), "name": "long"}, **limits
    )
    after = site.send("add", left=1, right=1)
    worker = site.start(
        TASKPACKS_TASK_TIME_LIMIT_SECONDS="2" if kind == "hard" else "60",
        TASKPACKS_MAX_ATTEMPTS="1",
    )
    assert after.get(timeout=20) == 2
    assert worker.wait() == ExitCode.DRAINED
    assert outcomes(worker) == [outcome, "done"]
    assert "TimeLimitExceeded" in letters(worker)[0]["Error"]
    assert site.depth(site.dead_url) == (1, 0)


def test_a_message_cannot_ask_for_more_time_than_the_pack_allows(site, journal):
    site.producer.send_task(
        "probe.sleep",
        kwargs={"seconds": 8, "journal": str(journal), "name": "long"},
        time_limit=3600,
    )
    worker = site.start(TASKPACKS_TASK_TIME_LIMIT_SECONDS="2", TASKPACKS_MAX_ATTEMPTS="1")
    assert worker.wait(30) == ExitCode.DRAINED
    assert outcomes(worker) == ["timed_out"]


def test_a_tasks_soft_limit_above_the_packs_is_lowered_and_it_can_send_itself(site, journal):
    result = site.send("patient", journal=str(journal), times=1)
    worker = site.start(TASKPACKS_IDLE_SECONDS="2", TASKPACKS_TASK_TIME_LIMIT_SECONDS="60")
    sent = site.producer.AsyncResult(result.get(timeout=20))
    assert sent.get(timeout=20) is None
    assert worker.wait() == ExitCode.DRAINED
    assert [line["retries"] for line in journal.lines()] == [0, 1, 0]
    assert outcomes(worker) == ["retried", "done", "done"]
    for change in ("time_limit of task probe.patient is overridden: 7300 -> 60", "7200 -> 54"):
        assert change in worker.log


def test_a_messages_soft_limit_is_lowered_with_its_hard_one(site, journal):
    site.producer.send_task(
        "probe.sleep",
        kwargs={"seconds": 60, "journal": str(journal), "name": "long"},
        time_limit=3600,
        soft_time_limit=1800,
    )
    worker = site.start(TASKPACKS_TASK_TIME_LIMIT_SECONDS="30", TASKPACKS_MAX_ATTEMPTS="1")
    assert worker.wait(90) == ExitCode.DRAINED
    # The task is asked first: after 27 s, before the pack's 30 s; billiard looks once a second.
    assert [line["by"] for line in journal.lines("cut")] == ["SoftTimeLimitExceeded"]
    assert outcomes(worker) == ["failed"]


def test_a_task_that_rejects_its_message_for_good_does_not_run_again(site, journal):
    site.configure_queue(max_receives=6)
    result = site.send("reject", journal=str(journal))
    worker = site.start(TASKPACKS_IDLE_SECONDS="2", TASKPACKS_RETRY_BACKOFF_SECONDS="0")
    with pytest.raises(Reject):
        result.get(timeout=20)
    assert worker.wait(40) == ExitCode.DRAINED
    assert len(journal.lines("begin")) == 1
    assert outcomes(worker) == ["rejected"]
    (letter,) = letters(worker)
    assert "not this one" in letter["Error"]
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (1, 0))


@pytest.mark.parametrize("task", ["reject", "unsendable"])
def test_a_task_that_rejects_its_message_to_have_it_again_has_its_attempts(site, journal, task):
    """Also one that asks for a retry that cannot be sent, which is Celery's own rejection."""
    site.configure_queue(max_receives=6)
    arguments = {"requeue": True} if task == "reject" else {}
    result = site.send(task, journal=str(journal), **arguments)
    worker = site.start(TASKPACKS_IDLE_SECONDS="4")
    with pytest.raises(Reject):
        result.get(timeout=20)
    assert worker.wait(40) == ExitCode.DRAINED
    begun = [line["at"] for line in journal.lines("begin")]
    waits = [later - earlier for earlier, later in pairwise(begun)]
    assert len(waits) == 2, "three attempts"
    assert waits[0] >= 1, "seconds, the back-off after the first attempt"
    assert waits[1] >= 2, "seconds, the back-off after the second"
    assert outcomes(worker) == ["rejected"] * 3
    (letter,) = letters(worker)
    assert letter["Attempts"] == 3
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (1, 0))


def test_a_task_with_a_countdown_starts_when_it_is_due_and_one_in_a_year_is_poison(site):
    sent_at = time.time()
    soon = site.producer.send_task("probe.add", (1, 1), countdown=2)
    site.producer.send_task("probe.add", (1, 1), eta=datetime.now(UTC) + timedelta(days=365))
    worker = site.start(TASKPACKS_IDLE_SECONDS="3")
    assert soon.get(timeout=20) == 2
    assert time.time() - sent_at >= 2
    assert worker.wait() == ExitCode.DRAINED
    assert "is to start in" in worker.log
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (1, 0))


def test_a_task_that_retries_itself_is_done_in_the_end(site, journal):
    result = site.send("again", journal=str(journal), times=2)
    worker = site.start(TASKPACKS_IDLE_SECONDS="2", TASKPACKS_MAX_ATTEMPTS="1")
    assert result.get(timeout=20) == 2
    assert worker.wait() == ExitCode.DRAINED
    assert [line["retries"] for line in journal.lines()] == [0, 1, 2]
    assert outcomes(worker) == ["retried", "retried", "done"]
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (0, 0))


def test_a_result_table_that_is_gone_ends_the_worker_which_holds_no_message(site, journal):
    worker = site.start(TASKPACKS_IDLE_SECONDS="2")
    assert site.send("add", left=1, right=1).get(timeout=20) == 2
    boto3.client("dynamodb").delete_table(TableName=f"{site.name}-results")
    site.send("sleep", seconds=0, journal=str(journal), name="after")
    assert worker.wait(80) == ExitCode.QUEUE_UNUSABLE
    assert (site.depth(), site.depth(site.dead_url)) == ((1, 0), (0, 0))
    assert "does not serve results" in worker.log


def test_celerys_own_tasks_run_once(site):
    task = dict(site.producer.signature("probe.add"))
    result = site.producer.send_task(
        "celery.starmap", kwargs={"task": task, "it": [[1, 1], [2, 2]]}
    )
    worker = site.start()
    assert result.get(timeout=20) == [2, 4]
    assert worker.wait() == ExitCode.DRAINED
    assert outcomes(worker) == ["done"]
    assert site.depth() == (0, 0)


@pytest.mark.parametrize("action", [ATTRIBUTES, VISIBILITY, DELETE_ONE])
def test_a_worker_that_may_not_serve_its_queue_says_so_and_takes_nothing(site, proxy, action):
    proxy.outage(action, DENIED, 60)
    site.send("add", left=1, right=1)
    worker = site.start(**site.through(proxy))
    assert worker.wait() == ExitCode.QUEUE_UNUSABLE
    assert f"sqs:{action}" in worker.log
    assert proxy.count(RECEIVE) == 0
    (message,) = site.sqs.receive_message(QueueUrl=site.url, AttributeNames=["All"])["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"  # this one


def test_a_worker_whose_queue_refuses_connections_says_so(site, proxy):
    site.send("add", left=1, right=1)
    with proxy.refusing():
        worker = site.start(**site.through(proxy))
        assert worker.wait() == ExitCode.QUEUE_UNUSABLE
    assert site.depth() == (1, 0)


def test_a_queue_without_redrive_costs_no_receive(site):
    bare = site.sqs.create_queue(QueueName=f"{site.name}-bare")["QueueUrl"]
    site.sqs.send_message(QueueUrl=bare, MessageBody="x")
    worker = site.start(TASKPACKS_QUEUE_URL=bare)
    assert worker.wait() == ExitCode.QUEUE_UNUSABLE
    (message,) = site.sqs.receive_message(QueueUrl=bare, AttributeNames=["All"])["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"  # this one


def test_a_worker_outlives_a_queue_that_is_away_for_a_while(site, proxy, wait_until):
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="6")
    wait_until(lambda: proxy.count(RECEIVE))
    with proxy.refusing():
        wait_until(lambda: "(2 in a row)" in worker.log)
    # A long poll that the server still answers would take the message to nobody.
    wait_until(lambda: proxy.quiet)
    proxy.outage(ATTRIBUTES, UNAVAILABLE, 4)  # asked whether it is drained, it does not know
    assert site.send("add", left=1, right=1).get(timeout=20) == 2
    assert worker.wait(40) == ExitCode.DRAINED


JUMPING_CLOCK = """
import time

real = time.time
time.time = lambda: real() + (3600 if time.monotonic() % 2 < 1 else -3600)
"""


@pytest.mark.timeout(180)
def test_a_clock_that_jumps_by_hours_neither_loses_a_lease_nor_cuts_a_task(
    site, journal, wait_until
):
    (site.folder / "site" / "sitecustomize.py").write_text(JUMPING_CLOCK)  # before all imports
    site.configure_queue(lease_seconds=10)
    site.send("sleep", seconds=15, journal=str(journal), name="long")
    worker = site.start(TASKPACKS_TASK_TIME_LIMIT_SECONDS="60")
    wait_until(lambda: journal.lines("begin"))
    other = site.start(TASKPACKS_IDLE_SECONDS="15")  # would take the message of a lost lease
    assert (worker.wait(40), other.wait(40)) == (ExitCode.DRAINED, ExitCode.DRAINED)
    assert [line["event"] for line in journal.lines()] == ["begin", "end"]
    begin, end = (line["at"] for line in journal.lines())
    assert abs(end - begin) > 3600  # 15 s, and a jump by two hours
    (report,) = [report for report in worker.reports if "Outcome" in report]
    assert report["Outcome"] == "done"
    assert report.get("WaitSeconds", 0) >= 0
