"""The breaker, from what Batch lists to what is decided."""

from dataclasses import replace

import pytest

from launcher.observe import Observer
from launcher.policy import decide
from tests.launcher.fakes import NOW, SETTINGS

HOUR = 3600
LIMITS = replace(SETTINGS.limits, max_workers=200)


@pytest.fixture
def decided(aws):
    observer = Observer(SETTINGS, aws, now=lambda: aws.now)

    def decided():
        observation = observer.observe(())
        assert observation.complete, observation.problem
        return decide(LIMITS, observation)

    return decided


def running(aws, job_id, seconds):
    aws.job(job_id, "RUNNING", startedAt=int((aws.now - seconds) * 1000))


def three_fail(aws, seconds_ago, *, seconds=5):
    for index in range(3):
        aws.ended(f"failed-{index}", seconds_ago + index, seconds=seconds)


def test_a_worker_that_runs_since_before_the_failures_is_no_probe(aws, decided):
    aws.visible, aws.in_flight = 50, 1
    three_fail(aws, 1801)
    running(aws, "of ten hours", 2 * HOUR)
    probe = decided()
    assert (probe.verb, probe.start, probe.desired) == ("start", 1, 2)
    assert "half open" in probe.reason


@pytest.mark.parametrize("status", ["RUNNABLE", "RUNNING"])
def test_a_worker_that_started_after_the_newest_failure_is_the_probe(aws, decided, status):
    aws.visible = 50
    three_fail(aws, 1801)
    aws.job("probe", status, createdAt=int((NOW - 9) * 1000), startedAt=int((NOW - 9) * 1000))
    assert (decided().verb, decided().start) == ("wait", 0)


def test_a_probe_that_never_comes_up_gets_a_successor(aws, decided):
    aws.visible = 50
    three_fail(aws, 1801)
    long_ago = NOW - LIMITS.patience_seconds - 1
    aws.job("stuck", "STARTING", createdAt=int(long_ago * 1000))
    assert (decided().verb, decided().start) == ("start", 1)


def test_what_older_workers_finish_is_no_progress(aws, decided):
    aws.visible, aws.in_flight = 50, 1
    aws.metrics["NumberOfMessagesDeleted", "Sum"] = {1: 7.0}
    three_fail(aws, 60)
    assert decided().verb != "halt"  # only new workers can have done that
    running(aws, "old", HOUR)
    assert (decided().verb, decided().halted_by) == ("halt", "breaker")
    aws.jobs.pop()
    aws.ended("old", 30, seconds=HOUR, exit_code=0)
    assert (decided().verb, decided().halted_by) == ("halt", "breaker")


def test_a_worker_that_outlives_those_that_failed_is_progress(aws, decided):
    aws.visible, aws.in_flight = 50, 2
    three_fail(aws, 1000, seconds=300)
    running(aws, "old", HOUR)
    assert decided().halted_by == "breaker"
    running(aws, "no longer than they", 2 * 300)
    assert decided().halted_by == "breaker"
    running(aws, "longer", 2 * 300 + LIMITS.startup_seconds + 1)
    assert decided().halted_by is None


def test_a_worker_that_ended_well_and_started_later_is_progress(aws, decided):
    aws.visible = 50
    three_fail(aws, 60)
    aws.ended("old", 10, seconds=HOUR, exit_code=0)
    assert decided().halted_by == "breaker"
    aws.ended("new", 5, seconds=20, exit_code=0)
    assert decided().halted_by is None


def test_a_broken_image_behind_old_workers_that_drain_starts_a_probe_each_half_hour(aws, decided):
    """Twenty workers of the image before go on for four hours, one leaves each ten minutes."""
    aws.visible = 10_000
    for index in range(20):
        running(aws, f"old-{index}", HOUR)
    started = []
    aws.page = 10_000
    for at in range(0, 4 * HOUR, 60):
        aws.now = NOW + at
        old = [job for job in aws.jobs if job["status"] == "RUNNING"]
        aws.in_flight = len(old)
        aws.metrics["NumberOfMessagesDeleted", "Sum"] = {60 - at: float(len(old))}
        if at % 600 == 0 and old:
            stopped = {"stoppedAt": int(aws.now * 1000), "container": {"exitCode": 0}}
            old[0].update(status="SUCCEEDED", **stopped)
        if new := decided().start:
            started.append(new)
            assert sum(started) < 300
            for index in range(new):
                aws.ended(f"new-{at}-{index}", -at - 10, seconds=5)
    first, *probes = started
    assert first > 100
    assert probes == [1] * 7  # each at the first look 1800 s after the failure of the last
