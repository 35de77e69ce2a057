"""Only the final outcome of a task is one to Celery: its state, errbacks, chains and chords."""

import pytest
from celery import chain, chord, group, signature
from celery.exceptions import TimeoutError as NoResultError
from faults import BLACK_HOLE, EXPIRED, GET

from taskpacks.contract import ExitCode


@pytest.fixture
def of(site, journal):
    """Makes signatures of the probe pack's tasks."""

    def make(task, **arguments):
        return signature(
            f"probe.{task}", kwargs={"journal": str(journal), **arguments}, app=site.producer
        )

    return make


def drain(site, **changes):
    with site.worker(**{"TASKPACKS_IDLE_SECONDS": "3", **changes}) as worker:
        assert worker.wait(60) == ExitCode.DRAINED


def names(journal, event="begin"):
    return [line["name"] for line in journal.lines(event)]


def test_an_errback_and_on_failure_hear_of_the_last_attempt_alone(site, of, journal):
    task = of("flaky", name="f", failures=9)
    result = task.apply_async(link_error=of("note", name="errback"))
    drain(site)
    assert names(journal) == ["f", "f", "f", "errback"]
    assert [line["event"] for line in journal.lines(name="on_retry")] == ["f 1", "f 2"]
    assert [line["event"] for line in journal.lines(name="on_failure")] == ["f 3"]
    assert result.state == "FAILURE"
    with pytest.raises(Exception, match="f 3"):
        result.get(timeout=1)


def test_a_caller_does_not_hear_of_an_attempt_that_is_tried_again(site, of, journal):
    result = of("flaky", name="f", failures=1).apply_async(link_error=of("note", name="errback"))
    states = set()
    with site.worker(TASKPACKS_IDLE_SECONDS="3") as worker:
        while not states & {"SUCCESS", "FAILURE"}:
            states.add(result.state)
        assert worker.wait(20) == ExitCode.DRAINED
    assert {"RETRY", "SUCCESS"} <= states
    assert "FAILURE" not in states
    assert names(journal) == ["f", "f"]


def test_a_chain_goes_on_after_an_attempt_that_failed(site, of, journal):
    result = chain(of("flaky", name="f", failures=1), of("note", name="after")).apply_async()
    drain(site)
    assert names(journal) == ["f", "f", "after"]
    assert result.state == "SUCCESS"


@pytest.mark.parametrize("kill", [False, True])
def test_a_chord_of_tasks_that_fail_once_has_its_body_run_once(site, of, journal, kill):
    header = [of("flaky", name=f"f{index}", failures=1) for index in range(5)]
    if kill:
        header.append(
            signature("probe.die_once", kwargs={"journal": str(journal)}, app=site.producer)
        )
    result = chord(header)(of("note", name="body"))
    drain(site)
    body = [line for line in journal.lines("begin") if line["name"] == "body"]
    expected = [f"f{index}" for index in range(5)] + ["lived"] * kill
    assert [line["values"] for line in body] == [expected]
    assert result.state == "SUCCESS"


IMPATIENT = "import worker.results\nworker.results.STORE_SECONDS = 1\n"


def test_a_chord_whose_results_cannot_be_read_for_a_while_has_its_body_run_once(
    site, proxy, of, journal
):
    (site.folder / "site" / "sitecustomize.py").write_text(IMPATIENT)
    site.configure_queue(lease_seconds=10, max_receives=10)
    header = [of("flaky", name=f"f{index}", failures=0) for index in range(3)]
    result = chord(header)(of("note", name="body"))
    proxy.outage(GET, EXPIRED, 60)
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="3")
    assert worker.wait(30) == ExitCode.QUEUE_UNUSABLE
    assert proxy.count(GET) > 2
    proxy.end_outage(GET)
    with site.worker(TASKPACKS_IDLE_SECONDS="3"):
        assert result.get(timeout=30) == [f"f{index}" for index in range(3)]
    assert names(journal).count("body") == 1


def test_a_chord_fails_once_with_a_task_of_its_header(site, of, journal):
    header = [of("flaky", name="good", failures=0), of("flaky", name="bad", failures=9)]
    result = chord(header)(of("note", name="body").on_error(of("note", name="errback")))
    drain(site)
    assert "body" not in names(journal)
    assert names(journal).count("errback") == 1
    with pytest.raises(Exception, match="bad 3"):
        result.get(timeout=1)


def test_a_task_whose_process_is_killed_each_time_fails_for_whoever_waits(site, of, journal):
    result = site.producer.send_task("probe.kill", link_error=of("note", name="errback"))
    with site.worker(TASKPACKS_IDLE_SECONDS="3") as worker:
        with pytest.raises(Exception, match="signal 9"):
            result.get(timeout=40)
        assert worker.wait(30) == ExitCode.DRAINED
    assert names(journal) == ["errback"]


def test_a_task_that_takes_too_long_each_time_fails_for_whoever_waits(site, of, journal):
    result = of("sleep", name="s", seconds=30).apply_async(
        link_error=of("note", name="errback"), time_limit=1
    )
    with site.worker(TASKPACKS_IDLE_SECONDS="3", TASKPACKS_MAX_ATTEMPTS="2") as worker:
        with pytest.raises(NoResultError):
            result.get(timeout=0.5)
        with pytest.raises(Exception, match="TimeLimitExceeded"):
            result.get(timeout=30)
        assert worker.wait(30) == ExitCode.DRAINED
    assert names(journal) == ["s", "s", "errback"]


def test_a_failure_whose_worker_died_before_reporting_it_is_reported_without_a_run(
    site, proxy, of, journal, wait_until
):
    site.configure_queue(lease_seconds=10, max_receives=10)
    result = of("flaky", name="f", failures=9).apply_async(link_error=of("note", name="errback"))
    proxy.script("PutItem", None, BLACK_HOLE, BLACK_HOLE)  # that it started; its failure
    first = site.start(**site.through(proxy), TASKPACKS_MAX_ATTEMPTS="1")
    wait_until(lambda: proxy.count("PutItem") == 2)
    first.kill()
    second = site.start(TASKPACKS_MAX_ATTEMPTS="1", TASKPACKS_IDLE_SECONDS="12")
    assert second.wait() == ExitCode.DRAINED
    with pytest.raises(Exception, match="RuntimeError: f 1"):
        result.get(timeout=1)
    assert names(journal) == ["f", "errback"]
    (letter,) = [report for report in second.reports if "DeadLetter" in report]
    assert letter["Attempts"] == 1


FOLLOWERS = {
    "callback": (["a"], lambda a, *_: {"link": a}),
    "group": (["a", "b"], lambda a, b, _: {"link": group(a, b)}),
    "chord": (["a", "b", "c"], lambda a, b, c: {"link": chord([a, b], c)}),
    "chain": (["a", "b"], lambda a, b, _: {"link": chain(a, b)}),
    "next in its chain": (["a"], lambda a, *_: {"chain": [a.set(task_id="next")]}),
}
"""Signatures that follow a task, and the names of the tasks that are then run."""


@pytest.mark.parametrize("what", FOLLOWERS)
def test_what_follows_a_task_runs_once_though_a_task_that_was_cut_off_sends_it_twice(
    site, proxy, of, journal, what
):
    site.configure_queue(lease_seconds=10, max_receives=10)
    expected, options = FOLLOWERS[what]
    after = [of("note", name=name) for name in "abc"]
    result = of("flaky", name="f", failures=0).apply_async(**options(*after))

    def kill_once_done(call):  # what follows is sent before
        if "succeeded" in call.parameters["Item"]:
            first.kill()

    proxy.before("PutItem", kill_once_done)
    first = site.start(**site.through(proxy))
    first.wait(60)
    assert sum(site.depth()) > 1
    drain(site, TASKPACKS_IDLE_SECONDS="12")
    assert sorted(names(journal)) == [*expected, "f", "f"]
    assert result.state == "SUCCESS"


def test_an_errback_is_run_once_though_its_worker_died_and_reports_twice(
    site, proxy, of, journal, wait_until
):
    site.configure_queue(lease_seconds=10, max_receives=10)
    of("flaky", name="f", failures=9).apply_async(link_error=of("note", name="errback"))
    proxy.after("SendMessage", lambda _: first.kill())
    first = site.start(**site.through(proxy), TASKPACKS_MAX_ATTEMPTS="1")
    wait_until(lambda: first.code is not None)
    drain(site, TASKPACKS_MAX_ATTEMPTS="1", TASKPACKS_IDLE_SECONDS="12")
    assert names(journal) == ["f", "errback"]
