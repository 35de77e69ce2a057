"""Several messages in one receive, where tasks are short; one, where they are not."""

import signal
from collections import Counter

import pytest
from faults import DELETE, RECEIVE, UNAVAILABLE
from hypothesis import given
from hypothesis import strategies as st

from taskpacks import limits
from taskpacks.contract import ExitCode
from worker.leases import UNDELETED_MAX, LeaseState, lease_of
from worker.prefetch import AHEAD_SECONDS, Prefetched, PrefetchPolicy, Received

SECONDS = st.floats(min_value=0, max_value=1e6)


def received(handle):
    message = {"ReceiptHandle": handle, "MessageId": handle}
    return Received(lease_of(message, 0), message)


@pytest.mark.parametrize(
    ("took", "messages"),
    [
        ([], 1),
        ([0.01], 10),
        ([0], 10),
        ([0.1], 5),
        ([0.3], 1),
        ([600], 1),
        ([0.01] * 100 + [600], 1),  # a slow one counts at once
        ([600] + [0.01] * 3, 1),  # and is remembered
        ([1] + [0.01] * 40, 10),
    ],
)
def test_as_much_is_received_as_half_a_second_takes(took, messages):
    policy = PrefetchPolicy()
    for seconds in took:
        policy.took(seconds)
    assert policy.messages == messages


@given(st.lists(SECONDS, min_size=1))
def test_never_more_work_than_allowed_by_what_the_last_task_took(took):
    policy = PrefetchPolicy()
    for seconds in took:
        policy.took(seconds)
    assert 1 <= policy.messages <= limits.MESSAGES_PER_CALL_MAX
    assert policy.messages == 1 or policy.messages * took[-1] <= AHEAD_SECONDS


def test_what_waits_is_taken_in_order_and_what_was_lost_is_passed_by():
    prefetched = Prefetched()
    first, second, third = (received(handle) for handle in ("1", "2", "3"))
    assert prefetched.add([first, second, third])
    second.lease.state = LeaseState.LOST
    assert [prefetched.take(), prefetched.take(), prefetched.take()] == [first, third, None]


def test_nothing_is_added_once_it_is_closed():
    prefetched = Prefetched()
    prefetched.add([received("1")])
    assert [each.lease.receipt_handle for each in prefetched.close()] == ["1"]
    assert not prefetched.add([received("2")])
    assert prefetched.take() is None


def asked(proxy):
    return [
        call.parameters["MaxNumberOfMessages"]
        for call in proxy.calls
        if call.action == RECEIVE and call.answer.get("Messages")
    ]


def test_short_tasks_come_ten_at_a_time_and_each_is_deleted(site, proxy):
    sent = [site.send("add", left=number, right=1) for number in range(60)]
    worker = site.start(**site.through(proxy))
    assert worker.wait(30) == ExitCode.DRAINED
    assert [result.get(timeout=5) for result in sent] == list(range(1, 61))
    assert (asked(proxy)[0], max(asked(proxy))) == (1, 10)
    deletes = [len(call.parameters["Entries"]) for call in proxy.calls if call.action == DELETE]
    assert sum(deletes) == 60
    assert proxy.count(RECEIVE) <= 30
    assert site.depth() == (0, 0)


def test_long_tasks_come_one_by_one(site, proxy, journal):
    for number in range(3):
        site.send("sleep", seconds=0.6, journal=str(journal), name=str(number))
    worker = site.start(**site.through(proxy))
    assert worker.wait(30) == ExitCode.DRAINED
    assert asked(proxy) == [1, 1, 1]
    assert len(journal.lines("end")) == 3


def test_what_waits_behind_a_task_that_takes_long_after_all_is_given_back(
    site, journal, wait_until
):
    site.configure_queue(lease_seconds=300, max_receives=9)
    for _ in range(30):
        site.send("add", left=1, right=1)
    # One in five is long, so one comes with others behind it, in whatever order they come.
    for number in range(20):
        seconds = 4 if number % 5 == 0 else 0
        site.send("sleep", seconds=seconds, journal=str(journal), name=f"{number} {seconds}")
    worker = site.start(TASKPACKS_RESULT_BACKEND="", TASKPACKS_MAX_ATTEMPTS="9")
    wait_until(lambda: any(line["name"].endswith("4") for line in journal.lines("begin")))
    wait_until(lambda: site.depth()[1] == 1, 3)  # the long one itself
    assert not [line for line in journal.lines("end") if line["name"].endswith("4")]
    others = site.start()
    assert (worker.wait(40), others.wait(40)) == (ExitCode.DRAINED, ExitCode.DRAINED)
    assert set(Counter(line["name"] for line in journal.lines("end")).values()) == {1}
    assert len(journal.lines("end")) == 20
    assert site.depth() == site.depth(site.dead_url) == (0, 0)


def test_what_was_received_ahead_is_visible_at_once_after_a_signal(site, journal, wait_until):
    site.configure_queue(lease_seconds=300, max_receives=9)
    for number in range(300):
        site.send("sleep", seconds=0.02, journal=str(journal), name=str(number))
    worker = site.start()
    wait_until(lambda: len(journal.lines("end")) > 50)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == ExitCode.STOPPED
    assert site.depth() == (300 - len(journal.lines("end")), 0)
    assert site.start().wait(60) == ExitCode.DRAINED
    assert set(Counter(line["name"] for line in journal.lines("end")).values()) == {1}
    assert len(journal.lines("end")) == 300


def test_a_worker_that_cannot_delete_what_is_done_starts_nothing_more(
    site, proxy, journal, wait_until
):
    for number in range(60):
        site.send("sleep", seconds=0, journal=str(journal), name=str(number))
    proxy.outage(DELETE, UNAVAILABLE, 60)
    worker = site.start(**site.through(proxy))
    wait_until(lambda: len(journal.lines("end")) >= UNDELETED_MAX)
    tries = proxy.count(DELETE)
    wait_until(lambda: proxy.count(DELETE) > tries + UNDELETED_MAX)
    assert len(journal.lines("end")) == UNDELETED_MAX
    proxy.end_outage(DELETE)
    assert worker.wait() == ExitCode.DRAINED
    assert len(journal.lines("end")) == 60
