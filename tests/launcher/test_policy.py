import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.policy import (
    SETTLE_SECONDS,
    STALE_SECONDS,
    Decision,
    Ending,
    Limits,
    Observation,
    decide,
)
from tests.launcher.limits import limits_with

LIMITS = limits_with(max_workers=200, max_vcpus=1000)
FAILED = tuple(Ending(seconds_ago=10.0 * i + 10, failed=True) for i in range(5))

counts = st.integers(0, 1_000_000)
few = st.integers(0, 300)
seconds = st.floats(0, 100_000)
some_limits = st.builds(
    limits_with,
    vcpus=st.sampled_from([0.25, 0.5, 1, 4, 16]),
    processes=st.integers(1, 32),
    max_vcpus=st.integers(0, 1000),
    max_workers=st.integers(0, 1000),
    task_seconds=st.floats(0, 10_000),
    startup_seconds=st.floats(0, 1000),
    idle_seconds=st.floats(0, 300),
    start_within_seconds=st.floats(60, 5000),
    drain_within_seconds=st.floats(60, 10_000),
    break_even=st.floats(0, 10),
)
some_observations = st.builds(
    Observation,
    visible=counts,
    in_flight=counts,
    delayed=counts,
    visible_before=st.none() | counts,
    oldest_age_seconds=st.none() | seconds,
    recently_done=st.none() | counts,
    waited=st.none() | counts,
    starting=few,
    runnable=few,
    running=few,
    young=few,
    task_seconds=st.none() | seconds,
    endings=st.lists(st.builds(Ending, seconds_ago=seconds, failed=st.booleans()), max_size=8).map(
        tuple
    ),
    deleted_since_first_of_those_failures=st.none() | counts,
    survived_seconds=seconds,
    probes=few,
    vcpu_hours_last_day=st.floats(0, 400),
)


def test_one_message_starts_exactly_one_worker_and_no_second_one_while_it_starts_or_runs():
    assert decide(LIMITS, Observation(visible=1)).start == 1
    assert decide(LIMITS, Observation(visible=1, starting=1)).start == 0
    assert decide(LIMITS, Observation(visible=1, running=1)).start == 0  # SQS's count lags
    assert decide(LIMITS, Observation(in_flight=1, running=1)).start == 0


def test_a_thousand_minutes_of_work_start_all_the_workers_that_are_allowed():
    decision = decide(LIMITS, Observation(visible=1000))
    assert (decision.verb, decision.start, decision.desired) == ("start", 200, 200)


def test_short_tasks_are_not_worth_a_worker_each():
    assert decide(LIMITS, Observation(visible=300, task_seconds=3)).start == 4


def test_long_tasks_are_worth_a_worker_each():
    assert decide(LIMITS, Observation(visible=7, task_seconds=3600)).start == 7
    running = Observation(visible=3, in_flight=50, running=50, task_seconds=7200)
    assert decide(LIMITS, running).start == 3


def test_a_worker_that_will_be_free_before_a_new_one_is_up_is_waited_for():
    assert decide(LIMITS, Observation(visible=1, in_flight=1, running=1)).start == 0


def test_busy_workers_count_with_the_messages_that_they_hold():
    flowing = Observation(visible=120, in_flight=60, running=60)
    assert decide(LIMITS, flowing).start == 0
    growing = Observation(visible=200, in_flight=60, running=60)
    assert decide(LIMITS, growing).start == 9  # 260 minutes of work, 225 s each: 69 workers


def test_tasks_take_at_least_the_time_that_workers_have_spent_on_those_ended_and_in_hand():
    """Forty tasks of twenty minutes, which were thought to take one: 11 workers began."""
    begun = Observation(visible=29, in_flight=11, running=11, recently_done=0)
    assert decide(LIMITS, begun).start == 0
    decision = decide(LIMITS, replace(begun, worked_seconds=11 * 300))
    assert decision.start == 25  # four of the busy ones are taken to be free before these
    assert decision.figures["task_seconds"] == 300


def test_time_that_went_into_many_short_tasks_does_not_make_them_long():
    short = Observation(visible=200, in_flight=4, running=4, task_seconds=3)
    assert decide(LIMITS, short).start == 0
    assert decide(LIMITS, replace(short, worked_seconds=800, recently_done=260)).start == 0


def test_idle_workers_spend_no_time_on_tasks():
    idle = Observation(visible=3, in_flight=1, running=4, worked_seconds=2000, recently_done=0)
    assert decide(LIMITS, idle).figures["task_seconds"] == 500  # one of four


def test_starting_workers_count_as_those_that_run():
    assert decide(LIMITS, Observation(visible=1000, starting=150)).start == 50
    assert decide(LIMITS, Observation(visible=1000, starting=200)).start == 0


def test_a_message_that_waited_too_long_gets_a_worker_though_others_should_have_taken_it():
    stuck = {"visible": 1, "in_flight": 5, "running": 5, "oldest_age_seconds": 500}
    assert decide(LIMITS, Observation(**stuck, recently_done=0)).start == 1
    assert decide(LIMITS, Observation(**stuck)).start == 1  # unknown: better one too many
    assert decide(LIMITS, Observation(**stuck | {"running": 6}, young=1)).start == 0  # it is free
    assert decide(LIMITS, Observation(**stuck | {"starting": 1}, young=1)).start == 0


@pytest.mark.parametrize(
    "idle",
    [
        {"visible": 1, "running": 1},
        {"visible": 50, "running": 50},
        {"visible": 1, "starting": 1},
        {"visible": 9, "in_flight": 3, "running": 3, "starting": 9},
    ],
)
def test_workers_that_have_had_time_and_took_nothing_do_not_excuse_a_late_message(idle):
    late = Observation(**idle, oldest_age_seconds=23 * 3600, recently_done=0)
    decision = decide(LIMITS, late)
    assert (decision.verb, decision.start) == ("start", 1)
    assert "one would wait longer than 600 s" in decision.reason
    # The one that was started for it has time again.
    assert decide(LIMITS, replace(late, starting=late.starting + 1, young=1)).start == 0
    assert decide(LIMITS, replace(late, oldest_age_seconds=300)).start == 0


def test_a_worker_starts_for_each_message_that_is_late():
    stuck = Observation(
        visible=20, in_flight=5, running=5, oldest_age_seconds=500, recently_done=0, waited=12
    )
    assert decide(LIMITS, stuck).start == 6  # they are thought to take a minute: two in a start
    long = replace(stuck, task_seconds=120)
    assert decide(LIMITS, long).start == 12
    assert decide(LIMITS, replace(long, starting=12, young=12)).start == 0
    assert decide(LIMITS, replace(long, starting=5, young=5)).start == 7
    came_later = decide(LIMITS, replace(long, waited=0))
    assert (came_later.start, came_later.figures["late"]) == (8, 0)  # by the share
    assert decide(limits_with(processes=4), replace(long, in_flight=20)).start == 3


def test_without_metrics_a_message_may_be_late_and_one_worker_starts():
    busy = Observation(visible=1, in_flight=5, running=5, metrics_problem="throttled")
    assert decide(LIMITS, busy).start == 1
    assert decide(LIMITS, replace(busy, starting=1, young=1)).start == 0
    assert decide(LIMITS, replace(busy, metrics_problem="")).start == 0


def test_messages_that_have_just_come_are_looked_at_twice_while_workers_run():
    """Ten messages in flight are hidden, and ten workers look busy with them."""
    hidden = Observation(visible=10, in_flight=10, running=10, task_seconds=600, visible_before=0)
    first = decide(LIMITS, hidden)
    assert (first.verb, first.start, first.wait_seconds) == ("wait", 0, 3)
    assert "second look in 3 s" in first.reason
    assert decide(LIMITS, replace(hidden, visible_before=10)).start == 8
    some = decide(LIMITS, replace(hidden, visible_before=3))
    assert (some.verb, some.start, some.wait_seconds) == ("start", 3, 3)
    # Nobody else takes them; and a first look has the second of its own.
    assert decide(LIMITS, Observation(visible=10, visible_before=0, task_seconds=600)).start == 10
    assert decide(LIMITS, replace(hidden, visible_before=None)).start == 8


def test_a_job_that_waits_for_a_machine_is_cancelled_when_no_message_needs_it():
    outlived = Observation(visible=3, visible_before=3, starting=90, runnable=90)
    decision = decide(LIMITS, outlived)
    assert (decision.verb, decision.start, decision.wait_seconds) == ("cancel", 0, 3)
    assert "87 of 90" in decision.reason
    drained = Observation(visible_before=0, starting=2, runnable=2)
    assert decide(LIMITS, drained).verb == "cancel"
    for needed in (
        {"visible_before": 90},  # the count may lag
        {"visible_before": None},
        {"visible": 90},
        {"runnable": 3},  # the others are young, or about to run
        {"in_flight": 87},  # held by no worker: they come back
    ):
        assert decide(LIMITS, replace(outlived, **needed)).verb != "cancel"


def test_an_old_task_is_no_late_message_while_others_come_and_go():
    flowing = {"visible": 1, "in_flight": 5, "running": 5, "oldest_age_seconds": 5000}
    assert decide(LIMITS, Observation(**flowing, recently_done=6)).start == 0


def test_a_deadline_that_presses_starts_more_than_break_even_would():
    slack = limits_with(max_workers=200, max_vcpus=1000, break_even=10)
    pressed = limits_with(max_workers=200, max_vcpus=1000, break_even=10, drain_within_seconds=420)
    load = Observation(visible=500)
    assert decide(slack, load).start == 20
    assert decide(pressed, load).start == 100


def test_a_deadline_that_has_passed_presses_no_less_than_the_second_before():
    load = Observation(visible=99, running=1, young=1, in_flight=1)
    starts = [
        decide(LIMITS, replace(load, oldest_age_seconds=age, waited=1)).start
        for age in (3300, 3479, 3480, 3481, 9000)
    ]
    assert starts == [32, 98, 98, 98, 98]
    # An old task is no old message.
    for younger in ({"waited": 0}, {"recently_done": 100}):
        assert decide(LIMITS, replace(load, oldest_age_seconds=9000, **younger)).start == 26


def test_a_worker_with_four_processes_takes_four_messages():
    four = limits_with(processes=4)
    started = [
        decide(four, Observation(visible=n, task_seconds=3600)).start for n in (1, 4, 5, 8, 9)
    ]
    assert started == [1, 1, 2, 2, 3]


def test_processes_that_are_free_or_will_be_take_messages_without_another_worker():
    four = limits_with(processes=4)
    two = {"in_flight": 3, "running": 2, "task_seconds": 3600}  # five of eight processes are free
    assert decide(four, Observation(visible=5, **two)).start == 0
    assert decide(four, Observation(visible=6, **two)).start == 1
    assert decide(four, Observation(visible=9, **two)).start == 1
    assert decide(four, Observation(visible=6, **two, starting=1)).start == 0
    busy = Observation(visible=1, in_flight=4, running=1, oldest_age_seconds=500)
    assert decide(four, busy).start == 1
    # It has a free process, and time to take the message.
    assert decide(four, replace(busy, in_flight=3, young=1)).start == 0


def test_a_backlog_is_worth_a_quarter_of_the_workers_where_each_has_four_processes():
    assert decide(LIMITS, Observation(visible=900, task_seconds=3)).start == 12
    four = replace(LIMITS, processes=4)
    decision = decide(four, Observation(visible=900, task_seconds=3))
    assert decision.start == 3
    assert "3 s each and 4 at a time, are worth 3 workers" in decision.reason


def test_the_limit_and_the_cap_count_workers_and_not_processes():
    four = limits_with(processes=4, vcpus=2, max_vcpus=6, max_workers=100)
    assert decide(four, Observation(visible=1000)).start == 3
    used = Observation(visible=1000, vcpu_hours_last_day=four.vcpu_hours_per_day)
    assert decide(four, used).halted_by == "cap"


def test_fractions_of_vcpus_are_counted_exactly():
    assert limits_with(vcpus=0.25, max_vcpus=16, max_workers=100).workers == 64
    assert limits_with(vcpus=3, max_vcpus=16, max_workers=100).workers == 5


@pytest.mark.parametrize(
    "doubtful",
    [
        {"age_seconds": STALE_SECONDS + 1},
        {"age_seconds": -1},
        {"age_seconds": math.nan},
        {"complete": False, "problem": "ListJobs: throttled"},
        {"visible": -1},
        {"task_seconds": math.nan},
        {"vcpu_hours_last_day": math.inf},
    ],
)
def test_doubtful_figures_start_nothing_and_ask_again(doubtful):
    decision = decide(LIMITS, Observation(**{"visible": 50, **doubtful}))
    assert (decision.verb, decision.start) == ("wait", 0)
    assert decision.wait_seconds == LIMITS.round_seconds


def test_a_failed_observation_says_what_failed():
    decision = decide(LIMITS, Observation(complete=False, problem="ListJobs: throttled"))
    assert "ListJobs: throttled" in decision.reason


def test_an_empty_task_queue_is_done_once_the_alarm_can_ring_again():
    assert decide(LIMITS, Observation()).verb == "done"
    assert decide(LIMITS, Observation(running=1)).verb == "wait"
    assert decide(LIMITS, Observation(in_flight=1)).verb == "wait"
    assert decide(LIMITS, Observation(delayed=1)).verb == "wait"
    just = Ending(seconds_ago=SETTLE_SECONDS - 1, failed=False)
    long = Ending(seconds_ago=SETTLE_SECONDS, failed=False)
    assert decide(LIMITS, Observation(endings=(just,))).verb == "wait"
    assert decide(LIMITS, Observation(endings=(long,))).verb == "done"


def test_the_breaker_opens_after_failures_in_a_row_without_progress():
    decision = decide(LIMITS, Observation(visible=9, endings=FAILED))
    assert (decision.verb, decision.start, decision.halted_by) == ("halt", 0, "breaker")
    assert "5 workers" in decision.reason
    assert "1790 s from now" in decision.reason


def test_four_failures_one_success_or_progress_keep_the_breaker_closed():
    fine = Ending(seconds_ago=1, failed=False)
    for endings, progress in (
        (FAILED[:4], {}),
        ((fine, *FAILED), {}),
        (FAILED, {"deleted_since_first_of_those_failures": 1}),
        (FAILED, {"survived_seconds": 121}),
    ):
        observation = Observation(visible=9, endings=endings, **progress)
        assert decide(LIMITS, observation).verb == "start"


def test_after_the_cool_down_one_probe_starts_and_only_one():
    old = tuple(Ending(seconds_ago=1800.0 + i, failed=True) for i in range(5))
    decision = decide(LIMITS, Observation(visible=900, endings=old))
    assert (decision.verb, decision.start) == ("start", 1)
    probing = decide(LIMITS, Observation(visible=900, endings=old, starting=1, probes=1))
    assert (probing.verb, probing.start) == ("wait", 0)


def test_the_cap_halts_and_says_what_to_raise():
    decision = decide(LIMITS, Observation(visible=9, vcpu_hours_last_day=200))
    assert (decision.verb, decision.start, decision.halted_by) == ("halt", 0, "cap")
    assert "vcpu_hours_per_day is 200" in decision.reason


@pytest.mark.parametrize(
    "observed",
    [
        {"visible": 2, "running": 4},  # each message has a free worker
        {"in_flight": 4, "running": 4},
        {"visible": 9, "in_flight": 100, "running": 100},  # the limit is reached
    ],
)
def test_people_hear_of_the_cap_while_workers_go_on_and_none_has_to_be_started(observed):
    below = decide(LIMITS, Observation(**observed, young=4, vcpu_hours_last_day=199))
    reached = decide(LIMITS, Observation(**observed, young=4, vcpu_hours_last_day=200))
    assert (below.verb, below.halted_by) == ("wait", None)
    assert (reached.verb, reached.halted_by) == ("wait", "cap")
    assert "the cap is reached: 200.0 vCPU-hours in the last day" in reached.reason


def test_a_cap_that_stops_ends_workers_until_none_is_left_and_then_halts():
    stops = limits_with(cap="stop")
    over = Observation(visible=9, in_flight=3, running=3, starting=1, vcpu_hours_last_day=200)
    decision = decide(stops, over)
    assert (decision.verb, decision.start, decision.halted_by) == ("stop", 0, "cap")
    assert decision.wait_seconds == 3
    assert decide(stops, replace(over, visible=0)).verb == "stop"
    assert decide(stops, replace(over, running=0)).verb == "stop"  # one may have started meanwhile
    assert decide(stops, replace(over, running=0, starting=0)).verb == "halt"
    assert decide(stops, replace(over, vcpu_hours_last_day=199)).verb != "stop"
    assert decide(stops, replace(over, complete=False, problem="x")).verb == "wait"
    assert decide(limits_with(cap="halt"), over).verb != "stop"


def test_a_limit_of_no_worker_starts_none():
    assert decide(limits_with(max_workers=0), Observation(visible=9)).start == 0


@given(some_limits, some_observations)
def test_no_limit_is_ever_passed_and_nothing_is_negative(limits, observation):
    decision = decide(limits, observation)
    assert decision.start >= 0
    if decision.start:
        assert decision.start + observation.active <= limits.max_workers
        assert (decision.start + observation.active) * limits.vcpus <= limits.max_vcpus
        assert observation.vcpu_hours_last_day < limits.vcpu_hours_per_day
    assert (decision.start > 0) == (decision.verb == "start")


@given(some_limits, some_observations)
def test_no_more_workers_start_than_messages_can_use(limits, observation):
    idle = max(0, observation.running - observation.in_flight)
    taken = observation.starting + idle
    decision = decide(limits, observation)
    more = 1 if decision.figures.get("overdue") else 0
    assert decision.start <= max(0, observation.visible - taken) + more


@given(some_limits, some_observations, counts)
def test_a_deeper_backlog_never_starts_fewer(limits, observation, more):
    deeper = Observation.from_json({**observation.as_json(), "visible": observation.visible + more})
    assert decide(limits, deeper).start >= decide(limits, observation).start


@given(some_limits, some_observations, st.sampled_from(["stale", "partial"]))
def test_doubt_starts_none_whatever_the_rest(limits, observation, kind):
    doubt = {"age_seconds": STALE_SECONDS + 1} if kind == "stale" else {"complete": False}
    decision = decide(limits, Observation.from_json({**observation.as_json(), **doubt}))
    assert (decision.verb, decision.start) == ("wait", 0)


@settings(deadline=None)
@given(
    st.integers(1, 500),
    st.floats(0.1, 5000),
    st.floats(0, 1000),
    st.floats(0.1, 10),
    st.integers(1, 50),
)
def test_with_perfect_workers_the_task_queue_always_drains(
    messages, task_seconds, startup_seconds, break_even, max_workers
):
    limits = limits_with(
        max_workers=max_workers,
        max_vcpus=max_workers,
        startup_seconds=startup_seconds,
        break_even=break_even,
        vcpu_hours_per_day=math.inf,
    )
    left = messages
    for _ in range(messages + 1):  # each worker that starts does at least one message
        decision = decide(limits, Observation(visible=left, task_seconds=task_seconds))
        if decision.verb == "done":
            break
        assert decision.verb == "start"
        left = max(0, left - decision.start)
    assert left == 0


@given(some_limits, some_observations)
def test_records_survive_json(limits, observation):
    assert Limits.from_json(json.loads(json.dumps(limits.as_json()))) == limits
    assert Observation.from_json(json.loads(json.dumps(observation.as_json()))) == observation
    decision = decide(limits, observation)
    assert Decision.from_json(json.loads(json.dumps(decision.as_json()))) == decision


def test_settings_of_another_version_are_refused_by_name():
    with pytest.raises(ValueError, match="no wrokers"):
        Limits.from_json({"wrokers": 1})
