"""A cancelled task does not run, and one that runs is ended, without a word to any worker."""

import boto3
import pytest
from celery.exceptions import TaskRevokedError

from taskpacks.cancel import cancel
from taskpacks.contract import ExitCode


@pytest.fixture
def cancelling(site):
    client = boto3.client("dynamodb")
    return lambda result: cancel(client, f"{site.name}-results", site.name, result.id)


def test_a_task_that_is_cancelled_before_a_worker_is_there_never_runs(site, journal, cancelling):
    cancelled = site.send("sleep", seconds=0, journal=str(journal), name="cancelled")
    other = site.send("sleep", seconds=0, journal=str(journal), name="other")
    cancelling(cancelled)
    with site.worker() as worker:
        with pytest.raises(TaskRevokedError):
            cancelled.get(timeout=20)
        assert other.get(timeout=20) == "other"
        assert worker.wait(20) == ExitCode.DRAINED
    assert {line["name"] for line in journal.lines("begin")} == {"other"}
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (0, 0))


def test_a_running_task_is_cancelled_within_a_heartbeat(site, journal, cancelling, wait_until):
    site.configure_queue(lease_seconds=10)
    result = site.send("sleep", seconds=50, journal=str(journal), name="s")
    worker = site.start()
    wait_until(lambda: journal.lines("begin"))
    cancelling(result)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=10)
    assert worker.wait(20) == ExitCode.DRAINED
    assert [line["by"] for line in journal.lines("cut")] == ["SystemExit"]
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (0, 0))


def test_a_task_that_is_done_stays_done(site, cancelling):
    result = site.send("add", left=1, right=1)
    with site.worker() as worker:
        assert worker.wait(20) == ExitCode.DRAINED
    cancelling(result)
    assert result.get(timeout=1) == 2
