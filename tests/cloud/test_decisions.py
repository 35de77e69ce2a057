"""Value tests of the small decisions: clock, retries, capacity, parents, commands, targets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.cloud.capacity import Environment, JobQueue, Waiting, admitted, can_never_run
from local.cloud.clock import Clock, last_minute, minutes_between
from local.cloud.job_logs import LineSplitter
from local.cloud.jobs import parent_status
from local.cloud.metrics import metric_data, oldest_age_seconds
from local.cloud.process import container_details, vcpus_of, with_parameters
from local.cloud.retries import Ending, runs_again
from local.cloud.targets import DeliveryError, as_delivered, event_in_words, submission

# The clock


def test_a_cloud_minute_at_pace_60_is_a_real_second_away():
    clock = Clock(60)
    assert clock.real_seconds_until(clock.now_seconds() + 60) == pytest.approx(1, abs=0.05)
    assert clock.real_seconds_until(clock.now_seconds() - 60) == 0


def test_a_pace_that_stands_still_is_refused():
    with pytest.raises(ValueError, match="pace is 0"):
        Clock(0)


def test_minutes_that_were_missed_are_made_up_for_within_limits():
    assert last_minute(179.9) == 120
    assert minutes_between(120, 120, at_most=3) == []
    assert minutes_between(120, 240, at_most=3) == [180, 240]
    assert minutes_between(0, 6000, at_most=2) == [5940, 6000]


# Metrics


def test_the_age_is_that_of_the_oldest_message_in_cloud_seconds():
    assert oldest_age_seconds([(90.0, 0), (95.0, 1)], now_seconds=100, pace=60) == 600


def test_a_message_received_three_times_drops_out_of_the_age():
    assert oldest_age_seconds([(10.0, 3), (95.0, 2)], now_seconds=100, pace=1) == 5
    assert oldest_age_seconds([(10.0, 3)], now_seconds=100, pace=1) == 0
    assert oldest_age_seconds([], now_seconds=100, pace=1) == 0


def test_a_sample_stands_for_the_minute_that_ends_with_it():
    [point] = metric_data("tasks", {"ApproximateAgeOfOldestMessage": 7.0}, [120])
    assert point["Timestamp"].timestamp() == 60
    assert point["Unit"] == "Seconds"
    assert point["Dimensions"] == [{"Name": "QueueName", "Value": "tasks"}]


# Retries

EXITED = "Essential container in task exited"
RULES = [
    {"onStatusReason": "Host EC2*", "action": "RETRY"},
    {"onReason": "OutOfMemory*", "action": "retry"},
    {"onExitCode": "75", "action": "RETRY"},
    {"onExitCode": "1*", "onStatusReason": EXITED, "action": "RETRY"},
    {"onReason": "*", "action": "EXIT"},
]


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Ending(exit_code=None, status_reason="Host EC2 (i-1) terminated."), True),
        (Ending(exit_code=137, status_reason="x", reason="OutOfMemoryError: killed"), True),
        (Ending(exit_code=75, status_reason="x"), True),
        (Ending(exit_code=7, status_reason="x"), False),
        (Ending(exit_code=12, status_reason=EXITED), True),
        (Ending(exit_code=12, status_reason="x"), False),
        (Ending(exit_code=64, status_reason=EXITED), False),
    ],
)
def test_the_first_rule_whose_conditions_all_hold_decides(ending, expected):
    assert runs_again({"attempts": 3, "evaluateOnExit": RULES}, 1, ending) is expected


def test_batch_retries_when_no_rule_matches():
    strategy = {"attempts": 2, "evaluateOnExit": [{"onExitCode": "75", "action": "EXIT"}]}
    assert runs_again(strategy, 1, Ending(exit_code=1, status_reason=EXITED))
    assert not runs_again(strategy, 1, Ending(exit_code=75, status_reason=EXITED))


def test_the_number_of_attempts_is_a_ceiling_and_one_by_default():
    failed = Ending(exit_code=1, status_reason=EXITED)
    assert runs_again({"attempts": 2}, 1, failed)
    assert not runs_again({"attempts": 2}, 2, failed)
    assert not runs_again(None, 1, failed)


# Capacity


def queue(name="q", *environments, priority=1):
    return JobQueue(name, priority, environments or (Environment("e", 4),))


def waiting(*vcpus, queue="q"):
    return [Waiting(f"{queue}{index}", queue, each) for index, each in enumerate(vcpus)]


def test_jobs_start_in_order_until_the_environment_is_full():
    assert admitted(waiting(2, 1, 1, 1), [queue()], {}, 9) == {"q0": "e", "q1": "e", "q2": "e"}
    assert admitted(waiting(2, 1), [queue()], {"e": 3}, 9) == {}


def test_a_job_that_does_not_fit_holds_back_those_behind_it():
    assert admitted(waiting(3, 1), [queue()], {"e": 2}, 9) == {}


def test_a_full_environment_passes_jobs_on_to_the_next_in_order():
    two = queue("q", Environment("spot", 2), Environment("on-demand", 2))
    assert admitted(waiting(2, 2, 2), [two], {}, 9) == {"q0": "spot", "q1": "on-demand"}


def test_disabled_environments_start_nothing():
    off = queue("q", Environment("e", 4, enabled=False))
    assert admitted(waiting(1), [off], {}, 9) == {}


def test_the_queue_of_higher_priority_chooses_first():
    jobs = [*waiting(4, queue="low"), *waiting(4, queue="high")]
    queues = [queue("low", priority=1), queue("high", priority=2)]
    assert admitted(jobs, queues, {}, 9) == {"high0": "e"}


def test_the_machine_has_places_for_so_many_processes_only():
    assert admitted(waiting(1, 1, 1), [queue()], {}, 2) == {"q0": "e", "q1": "e"}
    assert admitted(waiting(1), [queue()], {}, 0) == {}


def test_a_job_larger_than_every_environment_can_never_run():
    two = queue("q", Environment("a", 2), Environment("b", 4))
    assert not can_never_run(Waiting("j", "q", 4), two)
    assert can_never_run(Waiting("j", "q", 4.5), two)


@given(
    sizes=st.lists(st.sampled_from([0.25, 0.5, 1, 2, 4, 8]), max_size=20),
    used=st.floats(0, 8),
    places=st.integers(0, 10),
)
def test_what_starts_is_a_head_of_the_queue_that_fits(sizes, used, places):
    jobs = waiting(*sizes)
    chosen = admitted(jobs, [queue("q", Environment("e", 8))], {"e": used}, places)
    assert list(chosen) == [job.job_id for job in jobs[: len(chosen)]]
    assert len(chosen) <= places
    assert not chosen or used + sum(job.vcpus for job in jobs[: len(chosen)]) <= 8


# Jobs and their commands


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        (["SUBMITTED", "SUBMITTED"], "SUBMITTED"),
        (["RUNNABLE", "SUBMITTED"], "PENDING"),
        (["RUNNING", "FAILED"], "PENDING"),
        (["SUCCEEDED", "RUNNABLE"], "PENDING"),
        (["SUCCEEDED", "FAILED"], "FAILED"),
        (["SUCCEEDED", "SUCCEEDED"], "SUCCEEDED"),
    ],
)
def test_an_array_jobs_parent_follows_its_children(children, expected):
    assert parent_status(children) == expected


def test_parameters_take_the_place_of_their_references():
    words = ["sort", "Ref::input", "--to=Ref::input_name", "Ref::unknown"]
    assert with_parameters(words, {"input": "a.csv", "input_name": "b"}) == [
        *("sort", "a.csv", "--to=b", "Ref::unknown")
    ]


def test_overrides_win_name_by_name_over_the_definition():
    definition = {
        "command": ["a"],
        "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "2048"},
        ],
    }
    merged = container_details(
        definition,
        {
            "command": [],
            "environment": [{"name": "B", "value": "2"}],
            "resourceRequirements": [{"type": "VCPU", "value": "4"}],
        },
    )
    assert merged["command"] == ["a"]
    assert merged["environment"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert vcpus_of(merged) == 4
    assert vcpus_of({"vcpus": 2}) == 2


@given(data=st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b""))), cuts=st.data())
def test_lines_are_the_same_however_the_output_comes_in_chunks(data, cuts):
    whole = b"\n".join(data)
    splitter, lines, rest = LineSplitter(), [], whole
    while rest:
        size = cuts.draw(st.integers(1, len(rest)))
        lines += splitter.feed(rest[:size])
        rest = rest[size:]
    expected = [line.decode(errors="replace").rstrip("\r") for line in data]
    assert lines + splitter.end() == [line for line in expected if line]


def test_a_line_without_an_end_does_not_grow_for_ever():
    assert LineSplitter().feed(b"x" * 300_000) == ["x" * 300_000]


# Targets

TARGET = {
    "Id": "1",
    "Arn": "arn:aws:batch:us-east-1:123456789012:job-queue/q",
    "RoleArn": "arn:aws:iam::123456789012:role/r",
    "BatchParameters": {"JobDefinition": "d:1", "JobName": "workers"},
}


def test_a_batch_target_becomes_one_job_or_an_array_job():
    request = {"jobName": "workers", "jobDefinition": "d:1", "jobQueue": TARGET["Arn"]}
    assert submission(TARGET).request == request
    array = submission(
        TARGET | {"BatchParameters": TARGET["BatchParameters"] | {"ArrayProperties": {"Size": 10}}}
    )
    assert array.request == request | {"arrayProperties": {"size": 10}}
    assert str(array) == "array job of 10 workers"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"RoleArn": None}, "NO_PERMISSIONS"),
        ({"BatchParameters": None}, "INVALID_PARAMETER"),
        ({"Input": "{}"}, "INVALID_PARAMETER"),
    ],
)
def test_a_batch_target_that_cannot_be_used_is_refused(change, code):
    with pytest.raises(DeliveryError) as refused:
        submission(TARGET | change)
    assert refused.value.code == code


def test_an_event_is_delivered_with_its_time_in_iso_and_without_motos_own_field():
    event = {"source": "a", "detail-type": "b", "time": 0.0, "ingestion-time": 1.0, "detail": {}}
    assert as_delivered(event)["time"] == "1970-01-01T00:00:00Z"
    assert "ingestion-time" not in as_delivered(event)
    assert event_in_words(event) == "a b"
