"""No task runs twice at the same time, and none that is done runs again, whatever is cut."""

import os
import signal
import threading
import time
from dataclasses import replace

import boto3
import pytest
from faults import (
    DELETE,
    DENIED,
    DROP_AFTER,
    GET,
    HTML,
    PUT,
    PUT_SEVERAL,
    RECEIVE,
    SEND,
    THROTTLED,
    TRUNCATED,
    UPDATE,
    Fault,
    Kind,
)

from taskpacks.contract import ExitCode, attempts_key
from worker import task_table
from worker.deadline import Deadline
from worker.lease import boot_seconds, lease_of
from worker.locks import Locks, TaskLock
from worker.task_table import Claim, Reason, Receive, TableUnavailableError, TaskTable

LEASE_SECONDS = 10
BROKEN = Fault(Kind.ANSWER, 500, "InternalServerError")
TABLE_CALLS = (PUT, PUT_SEVERAL, UPDATE)


def runs(journal):
    """The signs of life of each run of the task, as times; the first run first."""
    found = {}
    for line in journal.lines(name="s"):
        found.setdefault(line["pid"], []).append(line["at"])
    return sorted(found.values())


@pytest.mark.parametrize("fault", [HTML, TRUNCATED], ids=str)
@pytest.mark.parametrize("action", [GET, PUT_SEVERAL, UPDATE])
def test_what_is_not_the_tables_whole_answer_is_none(site, proxy, monkeypatch, action, fault):
    # botocore takes it for an empty answer, and a write for done.
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    task_table._client.cache_clear()
    table = TaskTable(f"{site.name}-results", "us-east-1", site.name)
    receive = Receive("task", "message", 0, "owner")
    proxy.script(action, fault, fault)
    try:
        with pytest.raises(TableUnavailableError):
            {
                GET: table.has_cancels,
                PUT_SEVERAL: lambda: table.finish([(receive, 0)]),
                UPDATE: lambda: table.claim(receive, time.time() + 10),
            }[action]()
    finally:
        task_table._client.cache_clear()


def test_a_result_whose_store_is_answered_by_a_page_of_html_is_stored(site, proxy):
    proxy.script(PUT, None, HTML)  # that it started; its result
    result = site.send("add", left=1, right=2)
    worker = site.start(**site.through(proxy))
    assert result.get(timeout=20) == 3
    assert worker.wait(30) == ExitCode.DRAINED


def item_of(site, task_id):
    key = {"id": {"S": attempts_key(site.name, task_id)}}
    table = f"{site.name}-results"
    return boto3.client("dynamodb").get_item(TableName=table, Key=key).get("Item", {})


def deliver_again(site, proxy):
    """Makes the message visible that a worker holds, as SQS may: at least once is its promise."""
    handle = [call for call in proxy.calls if call.action == RECEIVE and call.answer][-1]
    (message,) = handle.answer["Messages"]
    site.sqs.change_message_visibility(
        QueueUrl=site.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
    )


def test_a_message_that_is_delivered_twice_runs_once(site, proxy, journal, wait_until):
    site.configure_queue(lease_seconds=LEASE_SECONDS, max_receives=10)
    result = site.send("ticking", seconds=9, journal=str(journal), name="s")
    first = site.start(**site.through(proxy))
    wait_until(lambda: len(journal.lines("tick")) > 12)  # it has run for more than a second
    second = site.start(TASKPACKS_IDLE_SECONDS="20")
    wait_until(lambda: "ready" in second.log)
    deliver_again(site, proxy)
    wait_until(lambda: "another worker runs it" in second.log, seconds=8)
    assert result.get(timeout=30) == "s"
    assert first.wait(30) == ExitCode.DRAINED
    assert second.wait(60) == ExitCode.DRAINED
    assert len(runs(journal)) == 1
    assert site.depth() == (0, 0)


@pytest.mark.parametrize("whole_group", [False, True])
def test_a_worker_that_is_stopped_past_its_lease_does_not_go_on(
    site, journal, wait_until, whole_group
):
    site.configure_queue(lease_seconds=LEASE_SECONDS, max_receives=10)
    result = site.send("ticking", seconds=14, journal=str(journal), name="s")
    first = site.start(TASKPACKS_IDLE_SECONDS="30")
    wait_until(lambda: len(journal.lines("tick")) > 12)
    stopped = [first.pid, *(first.children if whole_group else [])]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    second = site.start(TASKPACKS_IDLE_SECONDS="15")
    wait_until(lambda: len(runs(journal)) == 2, seconds=40)
    resumed_at = time.time()
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    assert result.get(timeout=40) == "s"
    first.signal(signal.SIGTERM)
    assert first.wait(30) == ExitCode.STOPPED
    assert second.wait(60) == ExitCode.DRAINED
    # Ten a second: the window that docs/worker.md names.
    assert sum(at > resumed_at for at in runs(journal)[0]) <= 10 * whole_group
    assert len(journal.lines("end")) == 1
    assert "attempts" not in item_of(site, result.id)  # what was cut is no failed attempt


def test_a_worker_that_is_cut_off_past_its_lease_does_not_go_on(site, proxy, journal, wait_until):
    site.configure_queue(lease_seconds=LEASE_SECONDS, max_receives=10)
    result = site.send("ticking", seconds=14, journal=str(journal), name="s")
    first = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="30")
    wait_until(lambda: len(journal.lines("tick")) > 12)
    with proxy.refusing():
        second = site.start(TASKPACKS_IDLE_SECONDS="15")
        wait_until(lambda: len(runs(journal)) == 2, seconds=40)
    assert result.get(timeout=60) == "s"
    first.signal(signal.SIGTERM)
    assert first.wait(30) == ExitCode.STOPPED
    assert second.wait(60) == ExitCode.DRAINED
    first_run, second_run = runs(journal)
    assert first_run[-1] < second_run[0]


def test_what_is_done_is_not_repeated_though_its_message_could_not_be_deleted(
    site, proxy, journal, wait_until
):
    site.configure_queue(lease_seconds=LEASE_SECONDS, max_receives=10)
    result = site.send("ticking", seconds=0.3, journal=str(journal), name="s")
    proxy.outage(DELETE, DENIED, 60)
    first = site.start(**site.through(proxy))
    assert result.get(timeout=30) == "s"
    wait_until(lambda: proxy.count(DELETE) > 1)
    first.kill()
    second = site.start(TASKPACKS_IDLE_SECONDS="12")
    assert second.wait(60) == ExitCode.DRAINED
    assert len(journal.lines("end")) == 1
    assert "it is done" in second.log
    assert site.depth() == (0, 0)


def test_a_dead_letter_that_is_sent_again_runs_though_its_first_attempt_is_killed(site, journal):
    failed = site.send("flaky", journal=str(journal), name="f", failures=3)
    with site.worker(TASKPACKS_IDLE_SECONDS="3") as worker:
        assert worker.wait(60) == ExitCode.DRAINED
    assert failed.state == "FAILURE"
    (letter,) = site.sqs.receive_message(QueueUrl=site.dead_url)["Messages"]
    site.configure_queue(lease_seconds=LEASE_SECONDS, max_receives=10)
    site.sqs.send_message(QueueUrl=site.url, MessageBody=letter["Body"])
    # Received by a worker that ended at once.
    site.sqs.receive_message(QueueUrl=site.url, VisibilityTimeout=0)
    with site.worker(TASKPACKS_IDLE_SECONDS="3") as worker:
        assert worker.wait(60) == ExitCode.DRAINED
    assert site.producer.AsyncResult(failed.id).get(timeout=1) == "f"
    assert site.depth() == (0, 0)


@pytest.mark.parametrize("fault", [BROKEN, DENIED, THROTTLED], ids=str)
def test_a_table_that_is_away_for_long_makes_no_task_dead(site, proxy, journal, fault):
    """It ends the worker instead, which another one follows."""
    site.configure_queue(lease_seconds=LEASE_SECONDS, max_receives=10)
    result = site.send("flaky", journal=str(journal), name="f", failures=1)
    for action in TABLE_CALLS:
        proxy.outage(action, fault, 600)
    first = site.start(**site.through(proxy))
    assert first.wait(100) == ExitCode.QUEUE_UNUSABLE
    for action in TABLE_CALLS:
        proxy.end_outage(action)
    second = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="12")
    assert second.wait(60) == ExitCode.DRAINED
    assert result.state == "SUCCESS"
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (0, 0))


@pytest.mark.parametrize("action", TABLE_CALLS)
def test_a_lost_answer_of_the_table_costs_no_attempt(site, proxy, journal, action):
    result = site.send("flaky", journal=str(journal), name="f", failures=2)
    proxy.script(action, DROP_AFTER, DROP_AFTER, None, DROP_AFTER)
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="4")
    assert worker.wait(60) == ExitCode.DRAINED
    assert result.state == "SUCCESS"
    assert [line["name"] for line in journal.lines("begin")] == ["f"] * 3
    assert site.depth(site.dead_url) == (0, 0)


def test_a_task_of_many_leases_keeps_its_lock(site, journal):
    site.configure_queue(lease_seconds=LEASE_SECONDS)
    result = site.send("ticking", seconds=1.5 * LEASE_SECONDS, journal=str(journal), name="s")
    with site.worker() as worker:
        began = time.time()
        while not item_of(site, result.id).get("until"):
            assert time.time() < began + 20
            time.sleep(0.1)
        first_end = float(item_of(site, result.id)["until"]["N"])
        assert result.get(timeout=40) == "s"
        assert worker.wait(30) == ExitCode.DRAINED
    assert time.time() > first_end
    assert {"done", "fence"} <= item_of(site, result.id).keys()
    assert len(journal.lines("end")) == 1


def test_the_tasks_process_learns_of_an_extension_while_the_table_hangs(wait_until):
    asked, answers = threading.Event(), threading.Event()

    class Hanging:
        def claim(self, _receive, _until):
            asked.set()
            answers.wait(10)
            return Claim(attempts=0, fence=1, failure=None)

    lease = lease_of({"ReceiptHandle": "handle", "MessageId": "id"}, boot_seconds())
    lease.ends_at = boot_seconds() + 30
    lock = TaskLock(receive=Receive("task", "id", 0, "owner"), lease=lease)
    deadline = Deadline()
    locks = Locks(Hanging(), lambda *_: None)
    locks.runs(lock, deadline)
    locks.start()
    try:
        assert asked.wait(5)
        lease.ends_at += 30
        wait_until(lambda: deadline.ends_at == lease.ends_at, seconds=2)
        assert not answers.is_set()
    finally:
        answers.set()
        locks.stop()


@pytest.fixture
def table(site):
    task_table._client.cache_clear()
    yield TaskTable(f"{site.name}-results", "us-east-1", site.name)
    task_table._client.cache_clear()


def test_a_retry_is_not_held_up_by_the_run_that_sent_it_nor_unlocked_by_its_end(table):
    sender = Receive("task", "first", 0, "sender")
    retry = Receive("task", "second", 1, "retry")
    until = time.time() + 60
    assert isinstance(table.claim(sender, until), Claim)
    assert isinstance(table.claim(retry, until), Claim)
    table.replaced(sender)
    assert table.renew(retry, until + 1) is None
    twin = Receive("task", "third", 1, "twin")  # the retry, sent once more
    assert table.claim(twin, until).reason is Reason.RUNNING
    table.finish([(retry, 2)])
    assert table.claim(twin, until).reason is Reason.DONE
    assert table.claim(sender, until).reason is Reason.DONE


def test_the_end_of_a_run_that_was_sent_again_takes_nothing_back(table):
    sender = Receive("task", "first", 0, "sender")
    retry = Receive("task", "second", 1, "retry")
    twin = Receive("task", "third", 1, "twin")
    until = time.time() + 60
    table.finish([(retry, 0)])  # a short one, which was not locked
    table.replaced(sender)
    assert table.claim(twin, until).reason is Reason.DONE
    other, again = replace(sender, task_id="other"), replace(retry, task_id="other")
    assert isinstance(table.claim(again, until), Claim)
    assert table.claim(other, until).reason is Reason.DONE  # it has sent the other one


def test_a_retry_that_is_sent_twice_because_no_answer_came_runs_once(site, proxy, journal):
    proxy.script(SEND, DROP_AFTER)
    result = site.send("work", seconds=0, journal=str(journal), name="s", retries=1)
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="3")
    assert worker.wait(60) == ExitCode.DRAINED
    assert proxy.count(SEND) == 2
    assert result.state == "SUCCESS"
    assert [line["event"] for line in journal.lines()] == ["begin", "retry", "begin", "end"]


def test_a_retry_in_a_new_worker_needs_one_receive(site, journal, wait_until):
    result = site.send("late_again", journal=str(journal))
    first = site.start()
    wait_until(lambda: journal.lines("begin"))
    first.signal(signal.SIGTERM)  # it finishes the run, which was locked, and leaves
    assert first.wait(30) == ExitCode.STOPPED
    second = site.start(TASKPACKS_IDLE_SECONDS="3")
    assert second.wait(30) == ExitCode.DRAINED
    assert result.get(timeout=1) == 1
    tasks = [line for line in second.reports if "Outcome" in line]
    assert [(line["Outcome"], line["Receives"]) for line in tasks] == [("done", 1)]


def test_progress_that_no_item_holds_fails_its_task_and_not_the_worker(site):
    result = site.send("progress", characters=500_000)
    with site.worker() as worker:
        with pytest.raises(Exception, match="an item of the result table holds"):
            result.get(timeout=20)
        assert worker.wait(30) == ExitCode.DRAINED
    assert site.depth(site.dead_url) == (1, 0)
