"""Leases, with a clock and an SQS of the tests' own."""

import threading
import time

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from scripted_sqs import (
    DROPPED,
    UNAVAILABLE,
    URL,
    Clock,
    Interrupted,
    Overtaken,
    Sqs,
    message,
    refused,
)

from taskpacks import limits
from worker.lease import boot_seconds, lease_of
from worker.leases import Leases
from worker.sqs import MangledAnswerError


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sqs():
    return Sqs()


@pytest.fixture
def lost():
    return []


@pytest.fixture
def leases(sqs, clock, lost):
    return Leases(sqs, URL, settling=sqs, lease_seconds=90, on_lost=lost.append, clock=clock)


def test_a_lease_is_extended_at_every_third_of_it_and_not_before(leases, sqs, clock):
    leases.hold(message())
    for seconds, calls in ((29.9, 0), (0.2, 1), (29.8, 1), (0.2, 2), (30, 3)):
        clock.now += seconds
        leases.beat()
        assert sqs.calls == [("hide", "handle", 90)] * calls


def test_every_message_held_is_extended(leases, sqs, clock):
    for handle in ("a", "b"):
        leases.hold(message(handle))
    clock.now += 30
    leases.beat()
    assert sorted(sqs.calls) == [("hide", "a", 90), ("hide", "b", 90)]


@pytest.mark.parametrize("error", [DROPPED, refused("ExpiredToken"), UNAVAILABLE])
def test_an_extension_that_fails_is_tried_again_soon(leases, sqs, clock, lost, error):
    leases.hold(message())
    sqs.errors = [error, error]
    clock.now += 30
    for seconds in (0, 0.1, 0.15, 0.1, 0.6):
        clock.now += seconds
        leases.beat()
    assert len(sqs.calls) == 3
    clock.now += 29
    leases.beat()
    assert len(sqs.calls) == 3
    assert (len(leases.held), lost) == (1, [])


@pytest.mark.parametrize(
    "code",
    ["ReceiptHandleIsInvalid", "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight"],
)
def test_a_lost_lease_is_told_once_and_never_settled(leases, sqs, clock, lost, code):
    lease = leases.hold(message())
    sqs.errors = [refused(code)]
    clock.now += 30
    leases.beat()
    assert lost == [lease]
    assert leases.held == ()
    calls = len(sqs.calls)
    leases.delete(lease)
    leases.give_back(lease, 0)
    clock.now += 90
    leases.beat()
    assert len(sqs.calls) == calls
    assert lost == [lease]


def test_a_deletion_that_fails_is_tried_again_until_it_is_done(leases, sqs, clock):
    lease = leases.hold(message())
    sqs.errors = [DROPPED, refused("ExpiredToken"), None]
    leases.delete(lease)
    leases.settle()
    leases.settle()  # not due again yet
    assert leases.held == (lease,)
    for _ in range(3):
        clock.now += 1
        leases.settle()
    assert sqs.calls == [("delete", "handle")] * 3
    assert leases.held == ()


def test_what_is_done_is_noted_once_also_after_an_extension_that_failed(sqs, clock, lost):
    noted = []
    leases = Leases(
        sqs,
        URL,
        settling=sqs,
        lease_seconds=90,
        on_lost=lost.append,
        on_deleting=noted.extend,
        clock=clock,
    )
    lease = leases.hold(message())
    sqs.errors = [DROPPED]
    clock.now += 30
    leases.beat()
    sqs.errors = [DROPPED]
    leases.delete(lease)
    leases.settle()
    clock.now += 1
    leases.settle()
    assert sqs.calls[-2:] == [("delete", "handle")] * 2
    assert noted == [lease]


def test_what_is_done_is_deleted_in_calls_of_ten_and_each_is_settled_by_itself(leases, sqs, clock):
    messages = [leases.hold(message(f"handle {n}")) for n in range(12)]
    sqs.refused = {"handle 3": "ReceiptHandleIsInvalid", "handle 4": "InternalError"}
    for lease in messages[:11]:
        leases.delete(lease)
    leases.settle()
    assert [len(call) - 1 for call in sqs.calls] == [10, 1]
    assert leases.held == (messages[4], messages[11])
    sqs.refused = {}
    clock.now += 1
    leases.settle()
    assert sqs.calls[-1] == ("delete", "handle 4")
    assert leases.held == (messages[11],)


def test_a_deletion_of_what_is_gone_ends_quietly(leases, sqs, lost):
    sqs.refused = {"handle": "ReceiptHandleIsInvalid"}
    leases.delete(leases.hold(message()))
    leases.settle()
    assert (leases.held, lost) == ((), [])


def test_no_extension_goes_beyond_what_sqs_allows_in_all(leases, sqs, clock, lost):
    lease = leases.hold(message())
    taken_at = clock.now
    while clock.now < taken_at + limits.VISIBILITY_SECONDS_MAX - 10:
        clock.now += 10
        leases.beat()
        leases.expire()
    assert sqs.calls[-1] == ("hide", "handle", 30)
    leases.give_back(lease, 600)
    assert sqs.calls[-1] == ("hide", "handle", 10)
    assert lost == []


def test_a_task_that_runs_for_twelve_hours_loses_its_lease_and_is_not_made_visible_before(
    leases, sqs, clock, lost
):
    lease = leases.hold(message())
    ends_at = clock.now + limits.VISIBILITY_SECONDS_MAX
    while clock.now < ends_at - 0.5:
        clock.now += 0.5
        leases.beat()
        leases.expire()
    assert {call for call in sqs.calls if call[-1] == 0} == set()
    assert lost == []
    clock.now = ends_at
    leases.expire()
    assert lost == [lease]


@pytest.mark.parametrize("error", [DROPPED, UNAVAILABLE, refused("ExpiredToken", 403)])
def test_a_lease_that_nobody_could_extend_is_lost_when_it_ends(leases, sqs, clock, lost, error):
    lease = leases.hold(message())
    sqs.errors = [error] * 100
    for _ in range(89):
        clock.now += 1
        leases.beat()
        leases.expire()
    assert lost == []
    clock.now += 1
    leases.expire()
    assert lost == [lease]
    leases.give_back(lease, 0)  # another worker may have it
    assert {call[-1] for call in sqs.calls} == {90}


def test_a_worker_that_was_stopped_for_longer_than_a_lease_starts_nothing_by_it(
    leases, sqs, clock, lost
):
    lease = leases.hold(message())
    late = leases.hold(message("late"), asked_at=clock.now - 91)
    assert (leases.may_start(lease), leases.may_start(late)) == (True, False)
    clock.now += 90
    assert not leases.may_start(lease)
    leases.expire()
    leases.beat()
    assert (sqs.calls, leases.held, lost) == ([], (), [])  # there is no task to end


def test_a_message_is_given_back_for_as_long_as_its_lease_says(leases, sqs):
    lease = leases.hold(message())
    lease.return_after_seconds = 17
    leases.give_back(lease)
    leases.give_back(leases.hold(message("other")), 0)
    assert sqs.calls == [("hide", "handle", 17), ("hide", "other", 0)]
    assert leases.held == ()


@pytest.mark.parametrize(
    "error",
    [
        refused("AccessDenied", 403),
        refused("RequestThrottled"),
        EndpointConnectionError(endpoint_url=URL),
        RuntimeError("the refreshed credentials are still expired"),
    ],
)
def test_giving_back_that_certainly_failed_is_tried_again_until_the_lease_ends(
    leases, sqs, clock, error
):
    lease = leases.hold(message())
    sqs.errors = [error, error]
    leases.give_back(lease, 0)
    clock.now += 1
    leases.settle()
    assert (len(sqs.calls), leases.held) == (2, (lease,))
    clock.now += 89  # somebody else may have it now
    leases.settle()
    assert (len(sqs.calls), leases.held) == (2, ())


@pytest.mark.parametrize(
    "error",
    [
        DROPPED,
        UNAVAILABLE,
        refused("InternalError", 500),
        ReadTimeoutError(endpoint_url=URL),
        MangledAnswerError(status=200, received=1, announced=2),
    ],
)
def test_giving_back_that_may_have_been_done_is_not_done_again(leases, sqs, clock, error):
    # Another worker may have the message: see Leases.
    sqs.errors = [error]
    leases.give_back(leases.hold(message()), 0)
    clock.now += 1
    leases.settle()
    assert (len(sqs.calls), leases.held) == (1, ())


def test_what_is_done_and_cannot_be_deleted_stays_hidden(leases, sqs, clock, lost):
    lease = leases.hold(message())
    leases.delete(lease)
    sqs.refused = {"handle": "InternalError"}
    for _ in range(31):
        clock.now += 1
        leases.settle()
        leases.beat()
    assert [call for call in sqs.calls if call[0] == "hide"] == [("hide", "handle", 90)]
    sqs.errors = [refused("MessageNotInflight")]  # deleted after all, or another has it
    clock.now += 30
    leases.beat()
    assert (leases.held, lost) == ((lease,), [])
    sqs.refused = {}
    clock.now += 2
    leases.settle()
    assert leases.held == ()


def test_a_deletion_that_is_refused_for_one_message_counts_until_all_are_done(leases, sqs, clock):
    for handle in ("good", "bad"):
        leases.delete(leases.hold(message(handle)))
    sqs.refused = {"bad": "InvalidAddress"}
    leases.settle()
    refused_at = time.monotonic()
    time.sleep(0.05)  # the policy's clock is the real one
    clock.now += 3
    leases.delete(leases.hold(message("another")))
    leases.settle()
    assert leases.access.hopeless(refused_at + 29) is None
    assert "sqs:DeleteMessage was refused" in leases.access.hopeless(refused_at + 30)
    sqs.refused = {}
    clock.now += 3
    leases.settle()
    assert leases.held == ()
    assert leases.access.hopeless(refused_at + 10_000) is None


def test_what_an_answer_does_not_name_is_deleted_again_after_a_pause(leases, sqs, clock):
    lease = leases.hold(message())
    sqs.unnamed = {"handle"}
    leases.delete(lease)
    for _ in range(3):
        leases.settle()
    assert (sqs.calls, leases.held) == ([("delete", "handle")], (lease,))
    sqs.unnamed = set()
    clock.now += 1
    leases.settle()
    assert leases.held == ()


def test_a_deletion_and_a_giving_back_that_hang_hold_up_no_extension(sqs, lost):
    settling = Sqs()
    settling.hold = threading.Event()
    leases = Leases(sqs, URL, settling=settling, lease_seconds=1, on_lost=lost.append)
    leases.hold(message("running"))
    leases.delete(leases.hold(message("done")))
    back = threading.Thread(
        target=leases.give_back, args=(leases.hold(message("back")), 1), daemon=True
    )
    back.start()
    leases.start()
    give_up_at = time.monotonic() + 10
    try:
        while sqs.calls.count(("hide", "running", 1)) < 5 and time.monotonic() < give_up_at:
            time.sleep(0.01)
    finally:
        settling.hold.set()
        back.join(5)
        leases.stop()
    assert sqs.calls.count(("hide", "running", 1)) >= 5
    assert lost == []


def test_what_one_thread_gives_back_no_other_gives_back_again(leases, sqs):
    # By then another worker may have the message: see Leases.
    lease = leases.hold(message())
    sqs.hold = threading.Event()
    threads = [
        threading.Thread(target=leases.give_back, args=(lease, 5)),
        threading.Thread(target=leases.beat),
        threading.Thread(target=leases.give_back, args=(lease, 0)),
    ]
    for thread in threads:
        thread.start()
        thread.join(0.1)  # each finds the call under way
    sqs.hold.set()
    for thread in threads:
        thread.join(5)
    assert sqs.calls == [("hide", "handle", 5)]
    assert leases.held == ()


def test_a_lease_is_lost_when_it_ends_although_its_extension_hangs_and_is_not_taken_back_after(sqs):
    lost = []
    sqs.hold = threading.Event()
    leases = Leases(sqs, URL, settling=Sqs(), lease_seconds=1, on_lost=lost.append)
    lease = leases.hold(message())
    ends_at = lease.ends_at
    leases.start()
    try:
        give_up_at = time.monotonic() + 3
        while not lost and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert lost == [lease]
        sqs.hold.set()
        while not sqs.calls and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert sqs.calls == [("hide", "handle", 1)]
    finally:
        sqs.hold.set()
        leases.stop()
    assert lease.ends_at == ends_at  # an extension that came too late counts no more


def test_a_part_of_a_second_is_waited_as_a_whole_one(leases, sqs):
    leases.give_back(leases.hold(message()), 0.2)
    assert sqs.calls == [("hide", "handle", 1)]


def test_a_heartbeat_that_fails_does_not_end_the_ones_after_it(sqs):
    def fail(lease):
        raise RuntimeError(f"nobody expected this of {lease.message_id}")

    leases = Leases(sqs, URL, settling=sqs, lease_seconds=1, on_lost=fail)
    sqs.errors = [refused("ReceiptHandleIsInvalid")]
    leases.hold(message("lost"))
    leases.start()
    try:
        give_up_at = time.monotonic() + 10
        while not sqs.calls and time.monotonic() < give_up_at:
            time.sleep(0.01)
        leases.hold(message("next"))
        while len(sqs.calls) < 2 and time.monotonic() < give_up_at:
            time.sleep(0.01)
    finally:
        leases.stop()
    assert sqs.calls[:2] == [("hide", "lost", 1), ("hide", "next", 1)]


def test_giving_back_is_the_last_word_even_while_an_extension_is_on_its_way(leases, sqs, clock):
    lease = leases.hold(message())
    sqs.hold = threading.Event()
    clock.now += 30
    beat = threading.Thread(target=leases.beat)
    beat.start()
    back = threading.Thread(target=leases.give_back, args=(lease, 0))
    back.start()
    back.join(0.2)  # if it does not wait for the extension, it has ended by now
    sqs.hold.set()
    beat.join(5)
    back.join(5)
    assert sqs.calls[-1] == ("hide", "handle", 0)
    assert leases.held == ()


def test_a_lease_takes_its_facts_from_the_message():
    lease = lease_of(message(receives=4, SentTimestamp="1700000000123"), 5.0)
    assert (lease.receives, lease.sent_at, lease.received_at) == (4, 1700000000.123, 5.0)
    bare = lease_of({"ReceiptHandle": "h", "MessageId": "m"}, 5.0)
    assert (bare.receives, bare.sent_at) == (1, None)


@pytest.mark.parametrize("answer", [None, refused("MessageNotInflight")])
def test_what_was_given_back_before_the_heartbeat_came_to_it_is_not_hidden_again(
    leases, sqs, clock, lost, answer
):
    lease = leases.hold(message())
    lease.calling = Overtaken(first=lambda: leases.give_back(lease, 0))
    sqs.errors = [None, answer]
    clock.now += 30
    leases.beat()
    assert sqs.calls == [("hide", "handle", 0)]
    assert (leases.held, lost) == ((), [])


def test_a_lease_that_is_found_lost_is_given_back_by_no_thread_that_waited(
    leases, sqs, clock, lost
):
    lease = leases.hold(message())
    lease.calling = Overtaken(next_=lambda: leases.give_back(lease, 0))
    sqs.errors = [refused("MessageNotInflight")]
    clock.now += 30
    leases.beat()
    assert sqs.calls == [("hide", "handle", 90)]
    assert (leases.held, lost) == ((), [lease])


def test_two_threads_that_give_back_at_once_do_it_once(leases, sqs):
    lease = leases.hold(message())
    Interrupted.make(lease, between=lambda: leases.give_back(lease, 5))
    leases.give_back(lease, 0)
    lease.others[0].join(5)
    assert len(sqs.calls) == 1
    assert leases.held == ()


def test_a_lease_that_is_lost_while_another_thread_gives_it_back_is_either_lost_or_given_back(
    leases, sqs, clock
):
    lease = leases.hold(message())
    clock.now += 30

    def find_it_lost():
        sqs.errors = [refused("MessageNotInflight")]
        leases.beat()

    Interrupted.make(lease, between=find_it_lost)
    leases.give_back(lease, 0)
    lease.others[0].join(5)
    assert len(sqs.calls) == 1
    assert leases.held == ()


def test_what_is_done_is_not_given_back(leases, sqs):
    lease = leases.hold(message())
    leases.delete(lease)
    leases.give_back(lease, 0)  # by a worker that ends, and saw the task still running
    leases.settle()
    assert sqs.calls == [("delete", "handle")]
    assert leases.held == ()


@pytest.mark.parametrize("answer", [None, DROPPED, UNAVAILABLE, refused("MessageNotInflight")])
def test_what_is_done_while_it_is_given_back_is_deleted(leases, sqs, clock, answer):
    lease = leases.hold(message())
    sqs.during = lambda: leases.delete(lease)
    sqs.errors = [answer]
    leases.give_back(lease, 0)
    clock.now += 1
    leases.settle()
    assert sqs.calls == [("hide", "handle", 0), ("delete", "handle")]
    assert leases.held == ()


def test_what_is_done_while_its_extension_is_refused_is_deleted_and_not_lost(
    leases, sqs, clock, lost
):
    lease = leases.hold(message())
    sqs.during = lambda: leases.delete(lease)
    sqs.errors = [refused("MessageNotInflight")]
    clock.now += 30
    leases.beat()
    leases.settle()
    assert sqs.calls == [("hide", "handle", 90), ("delete", "handle")]
    assert (leases.held, lost) == ((), [])


def test_a_lease_ends_as_long_after_its_extension_was_asked_for_as_sqs_gave(leases, sqs, clock):
    def answer_late():
        clock.now += 5

    lease = leases.hold(message())
    clock.now += 30
    sqs.during = answer_late
    leases.beat()
    clock.now += 84  # 89 s after the question
    sqs.errors = [UNAVAILABLE]
    leases.give_back(lease, 0)
    clock.now += 1  # somebody else may have it now
    leases.beat()
    assert (len(sqs.calls), leases.held) == (2, ())


def test_a_lease_says_when_it_ends_from_its_question_on_and_from_each_extension_on(
    leases, sqs, clock
):
    lease = leases.hold(message("a"), asked_at=clock.now - 20)  # the answer took so long
    assert lease.ends_at == 1070
    clock.now += 10
    sqs.errors = [UNAVAILABLE]
    leases.beat()
    assert lease.ends_at == 1070
    clock.now += 1
    leases.beat()
    assert lease.ends_at == 1101


def test_the_clock_of_leases_goes_on_while_the_machine_is_suspended():
    by_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 0 <= boot_seconds() - by_boot < 1
