"""The launcher's answers, round by round."""

import json
from dataclasses import replace

import pytest

from tests.launcher.conftest import asking
from tests.launcher.fakes import EXECUTION, NOW, SETTINGS, throttled


def second(answer, **more):
    """The state in which the machine asks for the second time."""
    return {**answer, **more}


@pytest.fixture
def asked_again(ask):
    """Asks twice: an execution's first look starts nothing."""

    def asked_again(**more):
        return ask(second(ask(), **more))

    return asked_again


def test_an_empty_queue_without_workers_is_done(ask):
    answer = ask()
    assert (answer["verb"], answer["start"]) == ("done", 0)
    assert "empty" in answer["reason"]


def test_the_first_look_starts_nothing_and_says_what_the_second_will(aws, ask):
    aws.visible = 100
    answer = ask()
    assert (answer["verb"], answer["start"], answer["wait_seconds"]) == ("wait", 0, 3)
    assert answer["reason"].startswith("second look in 3 s, then: start ")


def test_the_second_look_starts(aws, asked_again):
    aws.visible = 1
    answer = asked_again()
    assert (answer["verb"], answer["start"]) == ("start", 1)
    assert answer["memory"]["round"] == 2


@pytest.mark.parametrize(
    "state",
    [
        {},
        None,
        "text",
        [1, 2],
        {"memory": "not a mapping"},
        {"source": "aws.cloudwatch", "detail": {"state": {"value": "ALARM"}}},
        {"version": "0", "detail-type": "Scheduled Event", "detail": {}},
    ],
)
def test_whatever_woke_the_machine_begins_with_the_first_round(ask, state):
    assert ask(state)["memory"]["round"] == 1


def test_more_than_an_array_job_holds_is_split_over_rounds(aws, ask):
    aws.visible = 1_000_000
    answer = ask(second(ask()))
    assert (answer["verb"], answer["start"]) == ("start", 10_000)
    assert "the rest in the next round" in answer["reason"]
    aws.array("job", [("RUNNABLE", {})] * 10_000)
    rest = ask(second(answer, submitted={"job_id": "job"}))
    assert rest["start"] == 10_000
    assert rest["active"] == 10_000


def test_what_was_just_submitted_counts_until_batch_lists_it(aws, ask):
    aws.visible = 100
    first = ask(second(ask()))
    assert first["start"] > 1
    # Batch's listing does not show the job yet.
    next_round = ask(second(first, submitted={"job_id": "new"}))
    assert next_round["active"] == first["start"]
    assert next_round["start"] == 0
    # It is remembered over further rounds too.
    assert ask(next_round)["active"] == first["start"]
    # And counted once when the listing has it.
    aws.array("new", [("RUNNABLE", {})] * first["start"])
    assert ask(next_round)["active"] == first["start"]


def test_what_was_submitted_and_never_shows_is_forgotten_in_the_end(aws, ask):
    aws.visible = 100
    first = ask(second(ask()))
    answer = ask(second(first, submitted={"job_id": "lost"}))
    aws.now = NOW + 301
    answer = ask(answer)
    assert answer["active"] == 0
    assert answer["start"] == first["start"]


PAUSE = "/taskpacks/prod/paused/pi"


def paused(aws, queue_url=SETTINGS.queue_url):
    aws.parameters[PAUSE] = json.dumps(
        {"since": "2026-11-28T10:00:00+00:00", "reason": "bad input", "queue_url": queue_url}
    )


def test_a_paused_deployment_starts_nothing_and_says_why(aws, asked_again, capsys):
    aws.visible = 50
    paused(aws)
    answer = asked_again()
    assert (answer["verb"], answer["start"], answer["halted_by"]) == ("halt", 0, "pause")
    assert answer["reason"] == "it is paused since 2026-11-28T10:00:00+00:00: bad input"
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["HaltedBy"] == "pause"


def test_a_pause_is_heard_of_in_the_next_round_and_ends_with_its_parameter(aws, ask):
    aws.visible = 50
    first = ask()
    paused(aws)
    assert ask(second(first))["verb"] == "halt"
    aws.parameters.clear()
    assert ask(second(ask()))["verb"] == "start"


def test_a_pause_of_an_earlier_deployment_of_this_name_is_none(aws, asked_again):
    aws.visible = 50
    paused(aws, "https://sqs.us-east-1.amazonaws.com/111122223333/pi-tasks-before")
    assert asked_again()["verb"] == "start"


def test_an_older_execution_at_work_has_this_one_stand_down(aws, ask):
    aws.visible = 100
    aws.executions["older"] = NOW - 1
    answer = ask()
    assert (answer["verb"], answer["start"]) == ("stand_down", 0)
    assert answer["reason"] == "another execution is active: older"
    assert not aws.called("list_jobs")


def test_a_younger_execution_is_none_of_this_ones_business(aws, ask):
    aws.executions["younger"] = NOW + 1
    assert ask()["verb"] == "done"


def test_of_two_that_began_in_one_instant_the_same_one_stands_down_whoever_asks(aws, ask):
    other = f"{EXECUTION}-2"
    aws.executions[other] = NOW
    assert ask()["verb"] == "done"
    assert ask(execution=other)["verb"] == "stand_down"


def test_a_successor_does_not_wait_for_its_predecessor_and_knows_what_it_submitted(aws, ask):
    aws.visible = 100
    first = ask(second(ask()))
    last = ask(second(first, submitted={"job_id": "new"}))
    aws.executions["predecessor"] = NOW - 3600
    answer = ask({"predecessor": "predecessor", "memory": last["memory"]})
    assert answer["verb"] == "wait"
    assert answer["active"] == first["start"]
    assert answer["memory"]["round"] == 1
    # In its later rounds too.
    assert ask(answer)["verb"] == "wait"
    assert ask(answer)["memory"]["predecessor"] == "predecessor"


def test_a_successor_starts_in_its_first_round(aws, ask):
    aws.visible = 1
    memory = ask()["memory"]
    assert ask({"predecessor": "predecessor", "memory": memory})["verb"] == "start"


@pytest.mark.parametrize(
    "operation",
    ["get_queue_attributes", "list_jobs", "list_executions", "get_parameters"],
)
def test_a_throttled_call_starts_nothing_and_asks_again(aws, ask, operation):
    aws.visible = 100
    first = ask()
    aws.fails[operation] = throttled(operation)
    answer = ask(first)
    assert (answer["verb"], answer["start"]) == ("wait", 0)
    assert "TooManyRequestsException" in answer["reason"]
    assert answer["memory"]["troubles"] == 1
    del aws.fails[operation]
    assert ask(answer)["memory"]["troubles"] == 0


def test_what_an_idle_worker_takes_between_two_looks_gets_no_other(aws, ask):
    aws.metrics["RunSeconds", "Average"] = {600: 1200.0}
    aws.metrics["RunSeconds", "SampleCount"] = {600: 40.0}
    aws.in_flight = 2  # hidden, until their back-off ends
    for index in range(2):
        aws.job(f"idle-{index}", "RUNNING", startedAt=int((NOW - 5) * 1000))
    answer = ask(ask())
    aws.visible, aws.in_flight = 2, 2
    answer = ask(answer)
    assert (answer["verb"], answer["start"], answer["wait_seconds"]) == ("wait", 0, 3)
    assert ask(answer)["verb"] == "start"  # still there
    aws.visible, aws.in_flight = 0, 4
    assert ask(answer)["start"] == 0


def waits(aws, ask, seconds_ago=1000):
    """Two jobs and an array that wait for machines, and nothing to do."""
    created = {"createdAt": int((NOW - seconds_ago) * 1000)}
    aws.job("older", "RUNNABLE", createdAt=int((NOW - seconds_ago - 60) * 1000))
    aws.array("array", [("RUNNABLE", {}), ("STARTING", {}), ("RUNNABLE", {})])
    aws.jobs[-1] |= created
    return ask(ask())


def test_the_newest_job_that_nobody_needs_is_cancelled_and_none_that_has_started(aws, ask):
    answer = waits(aws, ask)
    cancelled = []
    while answer["verb"] == "cancel":
        job_id = answer["cancel_job"]
        cancelled.append(job_id)
        ended = {"status": "FAILED", "statusReason": "taskpacks: no message needs it"}
        for job in (*aws.jobs, *aws.children["array"]):
            if job["jobId"] == job_id:
                job.update(ended)
        answer = ask(answer)
    assert cancelled == ["array:2", "array:0", "older"]
    assert (answer["verb"], answer["active"]) == ("wait", 1)


def test_a_job_that_starts_before_it_can_be_named_is_left_alone(aws, ask, monkeypatch):
    whole = aws.list_jobs

    def started_meanwhile(**arguments):
        if arguments.get("arrayJobId") and arguments["jobStatus"] == "RUNNABLE":
            return {"jobSummaryList": []}
        return whole(**arguments)

    monkeypatch.setattr(aws, "list_jobs", started_meanwhile)
    answer = waits(aws, ask)
    assert (answer["verb"], answer["wait_seconds"]) == ("wait", 3)
    assert "cancel_job" not in answer


def test_jobs_that_are_young_are_left_alone(aws, ask):
    assert waits(aws, ask, seconds_ago=250)["cancel_job"] == "older"


def test_without_metrics_workers_start_by_what_is_declared(aws, ask):
    aws.visible = 100
    aws.fails["get_metric_data"] = throttled("get_metric_data")
    answer = ask()
    for _ in range(6):  # however often
        answer = ask(answer)
        assert (answer["verb"], answer["start"]) == ("start", 27)
    assert "metrics were not to be had" in answer["reason"]
    assert "TooManyRequestsException" in answer["reason"]


def test_trouble_that_does_not_pass_fails_the_execution(aws, ask):
    aws.fails["list_jobs"] = throttled("list_jobs")
    answer = ask()
    for _ in range(3):
        answer = ask(answer)
        assert answer["verb"] == "wait"
    answer = ask(answer)
    assert (answer["verb"], answer["start"]) == ("fail", 0)
    assert answer["reason"].startswith("5 rounds in a row failed, the last with: ClientError")


def test_submissions_that_are_refused_again_and_again_fail_the_execution(aws, ask):
    aws.visible = 1
    refused = {"Error": "Batch.ClientException", "Cause": "JobQueue pi-jobs is disabled"}
    answer = ask()
    for _ in range(4):
        answer = ask(second(answer, trouble=refused))
        assert answer["verb"] == "start"
    answer = ask(second(answer, trouble=refused))
    assert answer["verb"] == "fail"
    assert "SubmitJob: Batch.ClientException: JobQueue pi-jobs is disabled" in answer["reason"]


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_round_is_a_line_that_cloudwatch_turns_into_metrics(aws, asked_again, capsys):
    aws.visible = 1
    asked_again()
    _, line = lines(capsys)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Taskpacks"
    assert directive["Dimensions"] == [["Stack", "Deployment"]]
    names = [metric["Name"] for metric in directive["Metrics"]]
    assert {name: line[name] for name in names} == {
        "VisibleMessages": 1,
        "ActiveWorkers": 0,
        "DesiredWorkers": 1,
        "StartedWorkers": 1,
        "VcpuHoursLastDay": 0,
    }
    assert line["Deployment"] == "pi"
    assert line["Reason"].startswith("start 1: 1 messages")


def test_a_round_without_figures_has_no_metrics_and_still_its_line(aws, ask, capsys):
    aws.fails["list_jobs"] = throttled("list_jobs")
    ask()
    (line,) = lines(capsys)
    assert "_aws" not in line
    assert line["Verb"] == "wait"


def test_an_idle_round_has_no_metrics(ask, capsys):
    ask()
    (line,) = lines(capsys)
    assert "_aws" not in line
    assert line["Verb"] == "done"


def test_a_halt_is_a_metric_by_its_reason(aws, ask, capsys):
    aws.visible = 1
    for index in range(3):
        aws.ended(f"job-{index}", 60 * index + 10)
    answer = ask()
    assert (answer["verb"], answer["halted_by"]) == ("halt", "breaker")
    (line,) = lines(capsys)
    _, directive = line["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["Stack", "Deployment", "HaltedBy"]]
    assert (line["Halted"], line["HaltedBy"]) == (1, "breaker")


def test_after_the_cool_down_one_worker_probes(aws, asked_again):
    aws.visible = 50
    for index in range(3):
        aws.ended(f"job-{index}", 1800 + 60 * index)
    answer = asked_again()
    assert (answer["verb"], answer["start"]) == ("start", 1)


def test_the_cap_halts(aws, ask):
    aws.visible = 50
    aws.ended("long", 10, exit_code=0, seconds=101 * 3600)
    for index in range(9):
        aws.ended(f"long-{index}", 10, exit_code=0, seconds=24 * 3600)
    answer = ask()
    assert (answer["verb"], answer["halted_by"]) == ("halt", "cap")


def woken_by_a_send(ask, aws):
    """Each wait until the execution ends, with what it waited for."""
    answer, waits = ask({"woken_by": "send"}), []
    while answer["verb"] == "wait":
        waits.append(answer["wait_seconds"])
        aws.now += answer["wait_seconds"]
        answer = ask(answer)
    return answer, waits


def test_an_execution_that_a_send_woke_looks_again_for_a_minute_before_it_is_done(ask, aws):
    answer, waits = woken_by_a_send(ask, aws)
    assert (answer["verb"], answer["start"]) == ("done", 0)
    assert waits == [3, 3, 6, 12, 24, 12]
    assert ask({"woken_by": "look"})["verb"] == "done"


def test_it_starts_a_worker_as_soon_as_the_message_is_counted(ask, aws):
    first = ask({"woken_by": "send"})
    assert "a message was sent 0 s ago and is not counted yet" in first["reason"]
    aws.now += first["wait_seconds"]
    aws.visible = 1
    assert (ask(first)["verb"], ask(first)["start"]) == ("start", 1)


def test_an_execution_that_began_with_an_older_launcher_goes_on(ask, aws):
    aws.in_flight = 1
    answer = ask({})
    del answer["memory"]["sent_at_seconds"]
    assert ask(answer)["verb"] == "wait"


def stopping(aws):
    """A launcher whose cap stops workers, and workers that have used it up."""
    limits = replace(SETTINGS.limits, cap="stop", vcpu_hours_per_day=1)
    aws.job("long", "RUNNING", startedAt=int((NOW - 3600) * 1000))
    aws.array("array", [("RUNNING", {"startedAt": int((NOW - 3600) * 1000)}), ("RUNNABLE", {})])
    return asking(aws, replace(SETTINGS, limits=limits))


def test_a_cap_that_stops_names_every_job_in_turn_one_that_is_told_twice_too(aws):
    ask = stopping(aws)
    answer, named = None, []
    for _ in range(4):  # a job that ends is listed for a while
        answer = ask(answer)
        assert (answer["verb"], answer["halted_by"]) == ("stop", "cap")
        named.append(answer["stop_job"])
    assert sorted(named[:2]) == ["array", "long"]
    assert named[2:] == named[:2]


def test_a_job_that_starts_while_a_cap_stops_others_is_stopped_too(aws):
    ask = stopping(aws)
    first = ask()
    aws.jobs.clear()
    # Submitted before the cap was reached, and not listed yet.
    memory = {**first["memory"], "submitted": [{"job_id": "late", "workers": 1, "at_seconds": NOW}]}
    answer = ask({**first, "memory": memory})
    assert answer["verb"] != "stop"  # what the others used is not known of jobs that are not listed
    aws.job("long", "FAILED", startedAt=int((NOW - 7200) * 1000), stoppedAt=int(NOW * 1000))
    answer = ask({**first, "memory": memory})
    assert (answer["verb"], answer["stop_job"]) == ("stop", "late")
    aws.job("late", "RUNNING", startedAt=int(NOW * 1000))
    assert ask(answer)["stop_job"] == "late"
    aws.jobs[-1] |= {"status": "FAILED", "stoppedAt": int(NOW * 1000)}
    assert ask(answer)["verb"] in ("wait", "done")
