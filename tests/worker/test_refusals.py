"""Whoever waits for a task that is refused is answered, and no other task's result is touched."""

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from celery import Celery, chain, chord, signature
from celery.exceptions import ChordError
from faults import BLACK_HOLE, RECEIVE, SEND
from messages import nested, spoilt_in

from taskpacks.contract import ExitCode, attempts_key

REFUSALS = {
    "an unknown task": ({"name": "probe.ad"}, r"there is no task 'probe.ad'.* Did you mean"),
    "a pickle": ({"serializer": "pickle"}, "only application/json is accepted"),
    "yaml": ({"serializer": "yaml"}, "only application/json is accepted"),
    "next year": ({"eta": datetime.now(UTC) + timedelta(days=365)}, "is to start in"),
    "deep arguments": ({"args": (nested(300), [])}, "deeper than 100 levels"),
}


def poison_lines(worker):
    lines = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
    return [line["message"] for line in lines if line.get("message", "").startswith("poison: ")]


def test_a_refused_task_has_a_failure_with_the_sentence_of_the_log(site):
    results = {
        kind: site.producer.send_task(**{"name": "probe.add", "args": (1, 1), **sent})
        for kind, (sent, _) in REFUSALS.items()
    }
    worker = site.start(TASKPACKS_IDLE_SECONDS="2")
    for kind, (_, reason) in REFUSALS.items():
        with pytest.raises(Exception, match=reason) as raised:
            results[kind].get(timeout=20)
        assert type(raised.value).__name__ == "RefusedMessageError", kind
        assert any(line.endswith(f": {raised.value}") for line in poison_lines(worker)), kind
    assert worker.wait() == ExitCode.DRAINED
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (len(REFUSALS), 0))


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "STARTED", "RETRY", "attempts"])
def test_a_forged_message_changes_no_other_tasks_result(site, state):
    task_id = "somebody-elses"
    if state == "attempts":
        boto3.client("dynamodb").put_item(
            TableName=f"{site.name}-results",
            Item={"id": {"S": attempts_key(site.name, task_id)}, "attempts": {"N": "1"}},
        )
    else:
        value = ValueError("its own") if state in ("FAILURE", "RETRY") else "its own"
        site.producer.backend.store_result(task_id, value, state)
    before = site.producer.AsyncResult(task_id)._get_task_meta()
    site.send_text(spoilt_in({"headers.id": task_id, "headers.task": "probe.forged"}))
    worker = site.start(TASKPACKS_IDLE_SECONDS="2")
    assert worker.wait() == ExitCode.DRAINED
    after = site.producer.AsyncResult(task_id)._get_task_meta()
    assert repr(after) == repr(before)
    assert site.depth(site.dead_url) == (1, 0)
    assert f"task {task_id} was refused and has a result or attempts, which stay" in worker.log


def test_a_refused_task_that_is_sent_again_and_can_run_has_its_result(site):
    site.send_text(spoilt_in({"headers.id": "later", "headers.task": "probe.unknown_here"}))
    first = site.start(TASKPACKS_IDLE_SECONDS="2")
    assert first.wait() == ExitCode.DRAINED
    result = site.producer.AsyncResult("later")
    assert result.state == "FAILURE"
    site.send_text(spoilt_in({"headers.id": "later"}))  # as from the dead-letter queue
    assert site.start().wait() == ExitCode.DRAINED
    assert site.producer.AsyncResult("later").get(timeout=5) == 2


def test_without_a_table_that_answers_the_message_goes_its_way(site):
    site.send("nonsense")
    worker = site.start(
        AWS_ENDPOINT_URL_DYNAMODB="http://127.0.0.1:9",
        AWS_MAX_ATTEMPTS="1",
        TASKPACKS_IDLE_SECONDS="2",
    )
    assert worker.wait() == ExitCode.DRAINED
    # Tried at each receive.
    assert worker.log.count("was refused cannot be stored") == len(poison_lines(worker)) == 3
    assert site.depth(site.dead_url) == (1, 0)


@pytest.mark.parametrize("kind", ["another", "none"])
def test_another_backend_is_used_as_it_is(site, kind):
    backend = f"file://{site.folder}" if kind == "another" else ""
    waiting = Celery("waiting", set_as_current=False, backend=backend or None)
    done, refused = site.send("add", left=1, right=1), site.send("nonsense")
    worker = site.start(TASKPACKS_RESULT_BACKEND=backend, TASKPACKS_IDLE_SECONDS="2")
    assert worker.wait() == ExitCode.DRAINED
    assert site.depth(site.dead_url) == (1, 0)
    if kind == "another":
        assert waiting.AsyncResult(done.id).get(timeout=5) == 2
        with pytest.raises(Exception, match="there is no task"):
            waiting.AsyncResult(refused.id).get(timeout=5)


@pytest.mark.parametrize("body", ["a task", "a chain"])
def test_a_chord_on_a_backend_that_does_not_count_fails_with_a_sentence_and_nothing_is_sent_again(
    site, proxy, body
):
    site.producer.conf.result_backend = backend = f"file://{site.folder}"
    parts = [site.producer.signature("probe.add", (number, number)) for number in range(3)]
    last = site.producer.signature("probe.add", ([],))
    result = chord(parts, app=site.producer)(last if body == "a task" else chain(last, last))
    began = site.start(
        **site.through(proxy), TASKPACKS_RESULT_BACKEND=backend, TASKPACKS_IDLE_SECONDS="2"
    )
    with pytest.raises(Exception, match="a result backend that counts") as raised:
        result.get(timeout=20)
    assert type(raised.value).__name__ == "RefusedMessageError"
    assert began.wait() == ExitCode.DRAINED
    outcomes = [report["Outcome"] for report in began.reports if "Outcome" in report]
    assert outcomes == ["done"] * 3
    assert proxy.count(SEND) == 0
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (1, 0))


def test_the_polling_of_a_chord_is_answered_at_its_first_receive(site, proxy, wait_until):
    body = site.producer.signature("probe.add", ([],), task_id="the-body")
    site.producer.send_task("celery.chord_unlock", ("the-group", dict(body)), {"result": []})
    answered_after = []
    proxy.before(RECEIVE, lambda _: answered_after.append(result.state))
    result = site.producer.AsyncResult("the-body")
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="2")
    assert worker.wait() == ExitCode.DRAINED
    assert answered_after[:2] == ["PENDING", "FAILURE"]
    assert proxy.count(SEND) == 0
    assert not [report for report in worker.reports if "Outcome" in report]


@pytest.fixture
def refused(site):
    """Makes a task, by the kind of its refusal."""
    add = signature("probe.add", args=(1, 1), app=site.producer)
    unknown = signature("probe.unknown", app=site.producer)
    return {
        "an unknown task": unknown,
        "the first of a chain": chain(unknown, signature("probe.echo", app=site.producer)),
        "deep arguments": add.clone(args=(nested(300),)),
        "due in a year": add.clone().set(countdown=365 * 24 * 3600),
        "a time limit that is none": add.clone().set(time_limit="soon"),
    }


def chord_of(site, journal, *parts):
    """Sends a chord whose body and errback write into the journal."""
    body, errback = (
        signature("probe.note", kwargs={"journal": str(journal), "name": name}, app=site.producer)
        for name in ("body", "errback")
    )
    return chord(parts)(body.on_error(errback))


def check_failed(result, journal):
    assert result.state == "FAILURE"
    assert isinstance(result.result, ChordError)
    assert "RefusedMessageError" in str(result.result)
    assert [line["name"] for line in journal.lines("begin")] == ["errback"]


@pytest.mark.parametrize("at", ["first", "last"])
@pytest.mark.parametrize(
    "kind",
    [
        "an unknown task",
        "the first of a chain",
        "deep arguments",
        "due in a year",
        "a time limit that is none",
    ],
)
def test_a_refused_part_of_a_chord_fails_the_chord_once(site, journal, refused, kind, at):
    parts = [signature("probe.add", args=(1, number), app=site.producer) for number in range(2)]
    parts.insert(0 if at == "first" else 2, refused[kind])
    result = chord_of(site, journal, *parts)
    assert site.start(TASKPACKS_IDLE_SECONDS="2").wait() == ExitCode.DRAINED
    check_failed(result, journal)
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (1, 0))


def test_a_refused_part_counts_though_its_worker_died_before_it_was_counted(
    site, proxy, journal, refused, wait_until
):
    site.configure_queue(lease_seconds=5, max_receives=10)
    result = chord_of(site, journal, refused["an unknown task"], refused["deep arguments"])
    proxy.script("UpdateItem", BLACK_HOLE)  # the first part is counted
    first = site.start(**site.through(proxy))
    wait_until(lambda: proxy.count("UpdateItem") == 1)
    first.kill()
    assert site.start(TASKPACKS_IDLE_SECONDS="7").wait() == ExitCode.DRAINED
    check_failed(result, journal)


def test_what_follows_a_refused_task_fails_with_it(site, journal, refused):
    errback = signature(
        "probe.note", kwargs={"journal": str(journal), "name": "errback"}, app=site.producer
    )
    last = refused["the first of a chain"].apply_async(link_error=errback)
    assert site.start(TASKPACKS_IDLE_SECONDS="2").wait() == ExitCode.DRAINED
    assert last.state == "FAILURE"
    with pytest.raises(Exception, match=r"there is no task 'probe\.unknown'"):
        last.get(timeout=5)
    assert [line["name"] for line in journal.lines("begin")] == ["errback"]
