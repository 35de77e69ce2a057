"""A task's result is stored, or the task has failed for good: its work is not repeated."""

import pytest

from taskpacks import limits
from taskpacks.contract import ExitCode


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("too much", "has 410.* bytes as JSON.*at most 408576.*TASKPACKS_DATA_URI"),
        ("a folder", "returned a PosixPath that cannot be stored as JSON"),
        ("itself", "returned a list that cannot be stored as JSON"),
    ],
)
def test_a_result_that_cannot_be_stored_is_a_final_failure_with_a_sentence(
    site, journal, what, reason
):
    result = site.send("give", journal=str(journal), what=what)
    worker = site.start(TASKPACKS_RETRY_BACKOFF_SECONDS="0", TASKPACKS_IDLE_SECONDS="2")
    with pytest.raises(Exception, match=reason) as raised:
        result.get(timeout=30)
    assert type(raised.value).__name__ == "UnstorableResultError"
    assert worker.wait() == ExitCode.DRAINED
    assert len(journal.lines("begin")) == 1
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (1, 0))


def test_a_result_that_just_fits_is_stored(site, journal):
    page = site.send("give", journal=str(journal), what="a page")
    moment = site.send("give", journal=str(journal), what="a moment")
    site.start()
    assert len(page.get(timeout=30)) == 400_000
    assert moment.get(timeout=30).year == 2026
    assert limits.ITEM_BYTES_MAX - 400_000 < 10_000


def test_what_a_task_returns_to_itself_or_to_nobody_may_be_anything(site, journal):
    result = site.send("give_to_itself")
    site.producer.send_task(
        "probe.give", kwargs={"journal": str(journal), "what": "a folder"}, ignore_result=True
    )
    worker = site.start()
    assert result.get(timeout=30).startswith("<object")
    assert worker.wait() == ExitCode.DRAINED
    outcomes = [report["Outcome"] for report in worker.reports if "Outcome" in report]
    assert outcomes == ["done", "done"]


@pytest.mark.parametrize("task", ["raise_text", "raise_from_text"])
def test_an_error_that_is_too_long_to_be_stored_is_stored_shortened(site, task):
    result = site.send(task, characters=500_000)
    worker = site.start(TASKPACKS_MAX_ATTEMPTS="1", TASKPACKS_IDLE_SECONDS="2")
    with pytest.raises(Exception, match=r"^ValueError: (short|xxxxx)") as raised:
        result.get(timeout=20)
    assert type(raised.value).__name__ == "LongError"
    assert len(str(raised.value)) <= 2000
    assert worker.wait() == ExitCode.DRAINED
    assert site.depth(site.dead_url) == (1, 0)
