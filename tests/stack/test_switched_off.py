"""A job queue or compute environment that is to be deleted is disabled first, or enabled again."""

import asyncio

import pulumi
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from stack.before_delete import workers
from stack.before_delete.workers import Switch, WorkersLeftError

QUEUE = "arn:aws:batch:us-east-1:123456789012:job-queue/small"


class Batch:
    """A job queue that takes a look to be updated, and jobs as they are at each scan."""

    def __init__(self, *, scans=([],), failures=()):
        self.calls = []
        self.state = "ENABLED"
        self.updating = 0
        self.scans = list(scans)
        self.failures = list(failures)
        self.found = []

    def describe_job_queues(self, **_which):
        status = "UPDATING" if self.updating else "VALID"
        self.updating = max(0, self.updating - 1)
        self.calls.append(status)
        return {"jobQueues": [{"jobQueueName": "small", "status": status, "state": self.state}]}

    def update_job_queue(self, *, state, **_which):
        if state == "ENABLED" and self.failures:
            raise self.failures.pop(0)
        self.calls.append(state)
        self.state = state
        self.updating = 1

    def get_paginator(self, name):
        assert name == "list_jobs"
        return self

    def paginate(self, *, jobStatus, **_which):  # noqa: N803 - Batch's own
        if jobStatus == workers.NOT_STARTED[0]:
            self.calls.append("scan")
            self.found = self.scans.pop(0) if len(self.scans) > 1 else self.scans[0]
        ids = [job for job, status in self.found if status == jobStatus]
        yield {"jobSummaryList": [{"jobId": each, "jobName": "worker"} for each in ids]}


@pytest.fixture(autouse=True)
def logged(monkeypatch):
    """Nothing waits for long, and what is said is kept."""
    told = []
    monkeypatch.setattr(workers, "_PAUSE_MIN_SECONDS", 0)
    monkeypatch.setattr(workers, "_ENABLE_PAUSES_SECONDS", (0, 0))
    monkeypatch.setattr(pulumi.log, "info", lambda _text: None)
    monkeypatch.setattr(pulumi.log, "error", told.append)
    return told


def switch_off(batch, drain=60):
    switch = Switch(batch, workers.KINDS["aws:batch/jobQueue:JobQueue"], QUEUE)
    asyncio.run(workers.switched_off(switch, drain, "us-east-1"))


def refused(code):
    return ClientError({"Error": {"Code": code, "Message": "."}}, "UpdateJobQueue")


def test_jobs_are_looked_for_when_the_update_is_over_and_once_more_when_none_is_found():
    batch = Batch()
    switch_off(batch)
    assert batch.calls == ["VALID", "DISABLED", "UPDATING", "VALID", "scan", "scan"]


def test_a_job_that_a_retry_takes_past_one_look_is_found_by_the_next():
    job = [("job", "RUNNABLE")]
    with pytest.raises(WorkersLeftError, match=r"job \(worker, RUNNABLE\)"):
        switch_off(Batch(scans=[[], job]), drain=0)
    waited = Batch(scans=[[], job, job, []])
    switch_off(waited)
    assert waited.calls.count("scan") == 5
    assert waited.state == "DISABLED"


@pytest.mark.parametrize(
    "failure", [refused("ClientException"), EndpointConnectionError(endpoint_url="https://batch")]
)
def test_what_is_refused_is_enabled_again_though_batch_fails_twice(failure, logged):
    batch = Batch(scans=[[("job", "RUNNING")]], failures=[failure] * 2)
    with pytest.raises(WorkersLeftError):
        switch_off(batch, drain=0)
    assert batch.state == "ENABLED"
    assert logged == []


def test_what_cannot_be_enabled_again_is_said_with_the_way_on(logged):
    batch = Batch(scans=[[("job", "RUNNING")]], failures=[refused("ClientException")] * 3)
    with pytest.raises(WorkersLeftError):
        switch_off(batch, drain=0)
    assert batch.state == "DISABLED"
    (said,) = logged
    assert said.startswith("job queue small was disabled and could not be set to ENABLED again: An")
    assert said.endswith(f"`aws batch update-job-queue --job-queue {QUEUE} --state ENABLED`.")


def test_what_was_disabled_before_stays_so_when_its_deletion_is_refused():
    batch = Batch(scans=[[("job", "RUNNING")]])
    batch.state = "DISABLED"
    with pytest.raises(WorkersLeftError):
        switch_off(batch, drain=0)
    assert batch.state == "DISABLED"
