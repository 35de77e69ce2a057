"""The launcher's observations."""

import pytest

from launcher.learning import HALF_LIFE_SECONDS, mean
from launcher.observe import Observer
from launcher.policy import Ending
from tests.launcher.fakes import DEFINITION, NOW, SETTINGS, throttled

NAME = DEFINITION.rpartition("/")[2]


@pytest.fixture
def observer(aws):
    return Observer(SETTINGS, aws, now=lambda: aws.now)


@pytest.fixture
def observe(observer):
    def observe():
        observation = observer.observe(())
        assert observation.complete, observation.problem
        return observation

    return observe


def test_messages_are_counted_in_three_ways(aws, observe):
    aws.visible, aws.in_flight, aws.delayed = 7, 3, 2
    seen = observe()
    assert (seen.visible, seen.in_flight, seen.delayed) == (7, 3, 2)


@pytest.mark.parametrize("status", ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING"])
def test_a_job_is_starting_until_it_runs(aws, observe, status):
    aws.job("job", status)
    assert (observe().starting, observe().running) == (1, 0)


def test_a_running_job_is_a_running_worker(aws, observe):
    aws.job("job", "RUNNING", startedAt=int((NOW - 5) * 1000))
    assert (observe().starting, observe().running) == (0, 1)


def test_a_worker_is_young_until_it_has_had_time_to_take_a_message(aws, observe):
    patience = SETTINGS.limits.patience_seconds
    assert patience == 2 * 120 + 60
    for ago in (patience - 1, patience + 1):
        aws.job(f"waits-{ago}", "RUNNABLE", createdAt=int((NOW - ago) * 1000))
        aws.job(f"runs-{ago}", "RUNNING", startedAt=int((NOW - ago) * 1000))
    assert observe().young == 2
    aws.array("array", [("STARTING", {}), ("RUNNING", {"startedAt": int((NOW - 9) * 1000)})])
    assert observe().young == 3


def test_children_of_an_array_are_counted_one_by_one_and_their_parent_not_at_all(aws, observe):
    started = {"startedAt": int((NOW - 60) * 1000)}
    done = {**started, "stoppedAt": int((NOW - 30) * 1000)}
    children = [("RUNNABLE", {})] * 4 + [("RUNNING", started)] * 3 + [("SUCCEEDED", done)] * 2
    aws.array("array", children)
    seen = observe()
    assert (seen.starting, seen.running) == (4, 3)
    assert [ending.failed for ending in seen.endings] == [False, False]


def test_an_array_whose_children_are_not_known_yet_counts_by_its_size(aws, observe):
    aws.job("array", "SUBMITTED", arrayProperties={"size": 12})
    aws.children["array"] = []
    assert observe().starting == 12


def test_every_page_is_read(aws, observe):
    for index in range(7):
        aws.job(f"job-{index}", "RUNNABLE")
    assert observe().starting == 7


def test_jobs_of_another_definition_in_the_same_queue_are_none_of_ours(aws, observe):
    aws.job("other", "RUNNING", jobDefinition=f"{DEFINITION}-other:1")
    assert observe().running == 0


@pytest.mark.parametrize(
    "definition",
    [f"{DEFINITION}:1", DEFINITION, f"{NAME}:1", NAME],
)
def test_any_revision_of_the_definition_is_ours_in_whatever_form_it_is_named(
    aws, observe, definition
):
    aws.job("old", "RUNNABLE", jobDefinition=definition)
    assert observe().starting == 1


def test_endings_come_by_their_starts_newest_first_from_jobs_and_arrays_alike(aws, observe):
    aws.ended("a", 50, exit_code=0)
    aws.ended("b", 10)
    stopped = {"stoppedAt": int((NOW - 30) * 1000), "container": {"exitCode": 137}}
    aws.array("array", [("FAILED", stopped), ("FAILED", stopped)], status="FAILED")
    assert observe().endings == (
        Ending(seconds_ago=30, failed=True),
        Ending(seconds_ago=30, failed=True),
        Ending(seconds_ago=10, failed=True, lasted_seconds=60),
        Ending(seconds_ago=50, failed=False, lasted_seconds=60),
    )


def test_a_worker_that_was_asked_to_leave_has_not_failed(aws, observe):
    aws.ended("stopped", 10, exit_code=75)
    aws.ended("spot", 20, exit_code=137, statusReason="Host EC2 (instance i-1) terminated.")
    aws.ended("crashed", 30, exit_code=137, statusReason="Essential container in task exited")
    assert observe().endings == (Ending(seconds_ago=30, failed=True, lasted_seconds=60),)


def test_the_newest_end_is_known_though_a_hundred_others_started_later(aws, observe):
    for index in range(100):
        aws.ended(f"new-{index}", 500)
    aws.ended("old", 10, seconds=9000)
    endings = observe().endings
    assert len(endings) == 101
    assert endings[-1].seconds_ago == 10


def test_a_job_that_never_began_because_of_its_image_has_failed(aws, observe):
    aws.job(
        "no-image",
        "FAILED",
        stoppedAt=int((NOW - 5) * 1000),
        container={"reason": "CannotPullContainerError: not found"},
    )
    assert observe().endings == (Ending(seconds_ago=5, failed=True),)


def test_vcpu_hours_are_those_of_the_last_day_only(aws, observe):
    aws.job("running", "RUNNING", startedAt=int((NOW - 3600) * 1000))  # 1 h
    aws.ended("ended", 1800, seconds=7200)  # 2 h
    aws.ended("half-a-day-ago", 23 * 3600, seconds=5 * 3600)  # 1 h of 5 in the last day
    aws.ended("long-gone", 25 * 3600, seconds=3600)  # none
    assert observe().vcpu_hours_last_day == pytest.approx(2 * (1 + 2 + 1))


def test_an_array_that_has_ended_is_listed_once(aws, observe):
    done = {"startedAt": int((NOW - 90) * 1000), "stoppedAt": int((NOW - 30) * 1000)}
    aws.array("array", [("SUCCEEDED", done)] * 5, status="SUCCEEDED")
    first = observe()
    listed = [call for call in aws.called("list_jobs") if "arrayJobId" in call]
    assert listed
    aws.calls.clear()
    assert observe() == first
    assert not [call for call in aws.called("list_jobs") if "arrayJobId" in call]


def test_children_that_end_meanwhile_are_listed_anew(aws, observe):
    done = {"startedAt": int((NOW - 90) * 1000), "stoppedAt": int((NOW - 30) * 1000)}
    running = {"startedAt": int((NOW - 90) * 1000)}
    aws.array("array", [("SUCCEEDED", done), ("RUNNING", running)])
    assert len(observe().endings) == 1
    aws.children["array"][1] |= {"status": "FAILED", **done, "container": {"exitCode": 1}}
    assert [ending.failed for ending in observe().endings] == [False, True]


def test_without_a_visible_message_no_metric_is_asked_for(aws, observe):
    aws.in_flight = 3
    observe()
    assert not aws.called("get_metric_data")


def test_the_age_of_the_oldest_message_is_the_metrics_newest(aws, observe):
    aws.visible = 1
    aws.metrics["ApproximateAgeOfOldestMessage", "Maximum"] = {120: 40.0, 60: 100.0, 180: 7.0}
    assert observe().oldest_age_seconds == 160  # as it is now


def test_what_waits_for_too_long_was_visible_then_and_not_received_since(aws, observe):
    aws.visible = 50
    aws.metrics["ApproximateAgeOfOldestMessage", "Maximum"] = {60: 300.0}
    assert observe().waited is None  # nothing is late
    assert len(aws.called("get_metric_data")) == 2
    aws.metrics["ApproximateAgeOfOldestMessage", "Maximum"] = {60: 500.0}
    assert observe().waited is None
    aws.metrics["ApproximateNumberOfMessagesVisible", "Minimum"] = {600: 90.0, 500: 40.0, 60: 50.0}
    aws.metrics["NumberOfMessagesReceived", "Sum"] = {600: 5.0, 500: 1.0, 90: 27.0}
    assert observe().waited == 40 - 28


def test_an_old_age_says_nothing_of_now(aws, observe):
    aws.visible = 1
    aws.metrics["ApproximateAgeOfOldestMessage", "Maximum"] = {600: 3000.0}
    assert observe().oldest_age_seconds is None


def test_what_a_task_takes_is_the_mean_of_two_weeks_in_which_the_newest_count_most(aws, observe):
    aws.visible = 1
    aws.metrics["RunSeconds", "Average"] = {600: 1.0, 4200: 21.0}
    aws.metrics["RunSeconds", "SampleCount"] = {600: 15.0, 4200: 5.0}
    assert 5 < observe().task_seconds < 6
    weeks = {NOW - HALF_LIFE_SECONDS: 10.0, NOW: 10.0}
    assert mean({NOW - HALF_LIFE_SECONDS: 90.0, NOW: 60.0}, weeks, NOW) == pytest.approx(70)
    hours = [call for call in aws.called("get_metric_data") if len(call["MetricDataQueries"]) == 2]
    assert hours[0]["StartTime"] == pytest.approx(NOW - 14 * 86_400, abs=60)


def test_what_was_learned_is_not_forgotten_over_a_quiet_week(aws, observe):
    aws.visible = 1
    aws.metrics["RunSeconds", "Average"] = {7 * 86_400: 1200.0}
    aws.metrics["RunSeconds", "SampleCount"] = {7 * 86_400: 40.0}
    assert observe().task_seconds == pytest.approx(1200)


def test_the_time_that_workers_spent_is_known_as_far_as_the_queues_metrics_are(aws, observe):
    aws.visible = 1
    for ago in (5000, 400, 100):
        aws.job(f"since-{ago}", "RUNNING", startedAt=int((NOW - ago) * 1000))
    assert observe().worked_seconds == 0
    aws.metrics["ApproximateAgeOfOldestMessage", "Maximum"] = {180: 40.0}
    # Known until 120 s ago; of the last 600 s (start_within_seconds).
    assert observe().worked_seconds == 480 + 280 + 0


def test_a_handful_of_measured_tasks_says_nothing(aws, observe):
    aws.visible = 1
    assert observe().task_seconds is None
    assert mean({1.0: 3.0}, {1.0: 4.0}, NOW) is None


def test_what_was_done_of_late_is_counted_within_start_within_seconds(aws, observe):
    aws.visible = 1
    assert observe().recently_done is None
    aws.metrics["NumberOfMessagesDeleted", "Sum"] = {60: 2.0, 540: 1.0, 660: 50.0}
    assert observe().recently_done == 3


def test_progress_is_asked_for_only_when_the_breaker_may_trip(aws, observe):
    aws.visible = 1
    aws.ended("a", 10)
    aws.ended("b", 20)
    assert observe().deleted_since_first_of_those_failures is None
    aws.ended("c", 30)
    aws.metrics["NumberOfMessagesDeleted", "Sum"] = {10: 2.0, 70: 1.0}
    assert observe().deleted_since_first_of_those_failures == 3
    last = aws.called("get_metric_data")[-1]
    assert NOW - 30 - 60 < last["StartTime"] <= NOW - 30


@pytest.mark.parametrize("operation", ["get_queue_attributes", "list_jobs", "describe_jobs"])
def test_whatever_fails_makes_the_observation_incomplete(aws, observer, operation):
    aws.visible = 1
    aws.array("array", [("RUNNING", {})] * 2)
    aws.fails[operation] = throttled(operation)
    seen = observer.observe(())
    assert not seen.complete
    assert "TooManyRequestsException" in seen.problem


def test_without_metrics_the_counts_and_the_workers_are_known_all_the_same(aws, observe):
    aws.visible = 7
    aws.job("job", "RUNNING", startedAt=int((NOW - 5) * 1000))
    aws.metrics["RunSeconds", "Average"] = {600: 1.0}
    aws.metrics["RunSeconds", "SampleCount"] = {600: 15.0}
    aws.fails["get_metric_data"] = throttled("get_metric_data")
    seen = observe()
    assert (seen.visible, seen.running) == (7, 1)
    assert (seen.task_seconds, seen.oldest_age_seconds) == (None, None)
    assert "TooManyRequestsException" in seen.metrics_problem
    assert len(aws.called("get_metric_data")) == 1  # the next would take as long


def test_a_metric_that_came_in_part_is_a_problem(aws, observer, monkeypatch):
    whole = aws.get_metric_data

    def partial(**arguments):
        answer = whole(**arguments)
        answer["MetricDataResults"][0]["StatusCode"] = "PartialData"
        return answer

    aws.visible = 1
    monkeypatch.setattr(aws, "get_metric_data", partial)
    assert observer.observe(()).metrics_problem == (
        "PartialAnswerError: CloudWatch gave PartialData for run"
    )


def test_a_metric_that_failed_on_a_page_before_the_last_is_a_problem(aws, observer, monkeypatch):
    whole = aws.get_metric_data

    def paged(NextToken=None, **arguments):  # noqa: N803 - AWS's name
        first, *later = whole(**arguments)["MetricDataResults"]
        if NextToken:
            return {"MetricDataResults": later}
        return {"MetricDataResults": [{**first, "StatusCode": "InternalError"}], "NextToken": "2"}

    aws.visible = 1
    monkeypatch.setattr(aws, "get_metric_data", paged)
    assert observer.observe(()).metrics_problem == (
        "PartialAnswerError: CloudWatch gave InternalError for run"
    )


def test_a_metric_that_was_not_answered_is_a_problem(aws, observer, monkeypatch):
    aws.visible = 1
    monkeypatch.setattr(aws, "get_metric_data", lambda **_: {"MetricDataResults": []})
    assert observer.observe(()).metrics_problem == (
        "PartialAnswerError: CloudWatch gave no answer for run"
    )


def test_an_array_that_batch_does_not_describe_makes_it_incomplete(aws, observer, monkeypatch):
    aws.array("array", [("RUNNING", {})] * 2)
    monkeypatch.setattr(aws, "describe_jobs", lambda jobs: {"jobs": []})
    assert "did not describe 1 of 1 array jobs" in observer.observe(()).problem


@pytest.mark.timeout(120)
def test_fifty_thousand_workers_and_a_week_of_jobs_are_seen_in_time(aws, observe):
    """A round submits one job at most, so that a week has no more of them than rounds."""
    aws.page = 1000  # https://docs.aws.amazon.com/batch/latest/APIReference/API_ListJobs.html
    aws.seconds_per_call = 0.3
    week_rounds = 7 * 86_400 // 30
    for index in range(week_rounds):
        aws.ended(f"job-{index}", 30 * index, exit_code=0, seconds=10)
    for index in range(5):
        aws.array(f"array-{index}", [("RUNNING", {"startedAt": int((NOW - 60) * 1000)})] * 10_000)
    assert observe().running == 50_000
    assert aws.now - NOW < 40


def test_an_observation_that_takes_too_long_is_given_up(aws, observer):
    aws.seconds_per_call = 7
    seen = observer.observe(())
    assert not seen.complete
    assert "more than 40 s" in seen.problem
