"""Poison never kills, stops or starves a worker, and ends in the dead-letter queue."""

import base64
import json
import time
from collections import Counter

import pytest
from faults import DROP_AFTER, RECEIVE
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import LEFT_OUT, ODD, POISON, embedded, good, nested, spoilt_in, with_body

from taskpacks.contract import ExitCode
from worker.envelope import NESTING_MAX, Envelope, PoisonError, read

MAX_RECEIVES = 3
KNOWN = frozenset({"probe.add"})


def poison_lines(worker):
    lines = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
    return [line["message"] for line in lines if line.get("message", "").startswith("poison: ")]


def test_the_good_message_is_as_celery_sends_it(site):
    site.send("add", left=1, right=1)
    (message,) = site.sqs.receive_message(QueueUrl=site.url)["Messages"]
    sent, made = json.loads(message["Body"]), good()
    assert sent.keys() == made.keys()
    for part in ("headers", "properties"):
        assert sent[part].keys() == made[part].keys()
    for body in (sent["body"], made["body"]):
        assert json.loads(body)[1] == {"left": 1, "right": 1}


@pytest.mark.timeout(180)
def test_every_kind_of_poison_ends_in_the_dead_letter_queue_with_its_reason_in_the_log(site):
    sent = {kind: site.send_text(text) for kind, (text, _) in POISON.items()}
    after = site.send("add", left=20, right=22)
    worker = site.start(TASKPACKS_IDLE_SECONDS="2")
    assert after.get(timeout=60) == 42
    assert worker.wait(60) == ExitCode.DRAINED
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (len(POISON), 0))
    lines = poison_lines(worker)
    for kind, (_, reason) in POISON.items():
        told = [line for line in lines if sent[kind] in line]
        assert len(told) == 1, kind
        assert reason in told[0], (kind, reason, told[0])
    assert set(dead_letters(site).values()) == {MAX_RECEIVES}


def test_the_reason_is_told_although_the_answer_of_the_first_receive_was_lost(site, proxy):
    site.configure_queue(lease_seconds=1)
    message_id = site.send_text("poison")
    proxy.script(RECEIVE, DROP_AFTER)
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="3")
    assert worker.wait() == ExitCode.DRAINED
    (line,) = poison_lines(worker)
    assert message_id in line
    assert site.depth(site.dead_url) == (1, 0)


@pytest.mark.timeout(180)
def test_what_is_well_formed_and_odd_is_done_or_ends_in_the_dead_letter_queue(site):
    sent = {site.send_text(text): kind for kind, text in ODD.items()}
    after = site.send("add", left=20, right=22)
    worker = site.start(
        TASKPACKS_IDLE_SECONDS="2",
        TASKPACKS_RETRY_BACKOFF_SECONDS="0",
        TASKPACKS_MAX_ATTEMPTS=str(MAX_RECEIVES),
    )
    assert after.get(timeout=60) == 42
    assert worker.wait(60) == ExitCode.DRAINED
    assert site.depth() == (0, 0)
    # Without those that tasks sent themselves: errbacks, for one.
    dead = {sent[message_id] for message_id in dead_letters(site) if message_id in sent}
    done = sum(report.get("Outcome") in ("done", "cancelled") for report in worker.reports)
    assert len(dead) + done == len(ODD) + 1, sorted(set(ODD) - dead)
    assert "Pool callback raised exception" not in worker.log


SECRET = "Jane Doe, 4111-1111"


def test_a_refused_message_leaves_no_data_in_the_log(site):
    page = "x" * 300 + SECRET
    body = json.dumps([[SECRET, 1], {}, embedded()])
    for changed in (
        {"headers.compression": "gzip", "body": body},
        {"headers.task": page},
        {"headers.eta": page},
        {"headers.id": page},
        {"headers.timelimit": [page]},
        {"content-type": page},
        {"body": body[:-1]},
        {"body": base64.b64encode(body.encode()).decode()},
        {"properties.body_encoding": page},
    ):
        site.send_text(spoilt_in(changed))
    site.send("nonsense", value=page)
    worker = site.start(TASKPACKS_IDLE_SECONDS="2", TASKPACKS_MAX_ATTEMPTS="1")
    assert worker.wait() == ExitCode.DRAINED
    assert site.depth(site.dead_url) == (10, 0)
    assert SECRET not in worker.log
    assert max(len(line) for line in worker.log.splitlines()) < 16 * 1024


REFUSES_A_MESSAGE = """
from celery.exceptions import InvalidTaskError
from celery.worker.request import Request

make = Request.__init__

def refusing(self, message, *args, **kwargs):
    if message.headers["lang"] == "odd":
        raise InvalidTaskError("told to refuse it")
    make(self, message, *args, **kwargs)

Request.__init__ = refusing
"""


def test_a_message_that_celery_refuses_leaves_no_data_in_the_log(site):
    (site.folder / "site" / "sitecustomize.py").write_text(REFUSES_A_MESSAGE)
    body = json.dumps([[SECRET, 1], {}, embedded()])
    message_id = site.send_text(spoilt_in({"headers.lang": "odd", "body": body}))
    after = site.send("add", left=1, right=2)
    worker = site.start(TASKPACKS_IDLE_SECONDS="2")
    assert after.get(timeout=20) == 3
    assert worker.wait() == ExitCode.DRAINED
    assert site.depth(site.dead_url) == (1, 0)
    (line,) = poison_lines(worker)
    assert message_id in line
    assert line.endswith("Celery refuses it: InvalidTaskError")
    assert SECRET not in worker.log


def test_a_long_error_of_a_task_is_logged_shortened(site):
    site.send("raise_text", characters=100_000)
    worker = site.start(TASKPACKS_IDLE_SECONDS="2", TASKPACKS_MAX_ATTEMPTS="2")
    assert worker.wait() == ExitCode.DRAINED
    lines = worker.log.splitlines()
    assert any("it is tried again in" in line for line in lines)
    assert any("DeadLetter" in line for line in lines)
    assert max(len(line) for line in lines) < 16 * 1024


@pytest.mark.parametrize("encoding", ["utf-8", "base64"])
def test_a_compressed_task_is_done(site, encoding):
    site.producer.conf.broker_transport_options["body_encoding"] = encoding
    results = [
        site.producer.send_task("probe.add", ("a" * 1000, "b"), compression=method)
        for method in ("gzip", "bzip2", "xz")
    ]
    site.start()
    assert [result.get(timeout=30) for result in results] == ["a" * 1000 + "b"] * 3


def dead_letters(site):
    """The messages in the dead-letter queue, by id, with their receives before they came there."""
    found = {}
    while received := site.sqs.receive_message(
        QueueUrl=site.dead_url, MaxNumberOfMessages=10, AttributeNames=["All"]
    ).get("Messages"):
        for message in received:
            receives = int(message["Attributes"]["ApproximateReceiveCount"])
            found[message["MessageId"]] = receives - 1  # the last one is this
    return found


def test_a_task_that_is_moved_back_from_the_dead_letter_queue_has_all_its_attempts_again(site):
    failed = site.send("fail")
    changed = {"TASKPACKS_IDLE_SECONDS": "2", "TASKPACKS_RETRY_BACKOFF_SECONDS": "0"}
    first = site.start(**changed)
    assert first.wait(60) == ExitCode.DRAINED
    assert site.depth(site.dead_url) == (1, 0)
    # As StartMessageMoveTask does, which moto lacks: the same body as a new message.
    (dead,) = site.sqs.receive_message(QueueUrl=site.dead_url)["Messages"]
    site.send_text(dead["Body"])
    site.sqs.delete_message(QueueUrl=site.dead_url, ReceiptHandle=dead["ReceiptHandle"])
    second = site.start(**changed)
    assert second.wait(60) == ExitCode.DRAINED
    tries = [
        sum(report.get("TaskId") == failed.id and "Outcome" in report for report in worker.reports)
        for worker in (first, second)
    ]
    assert tries == [3, 3]
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (1, 0))


@pytest.mark.timeout(120)
def test_a_thousand_poison_messages_do_not_starve_the_good_ones_between_them(site, wait_until):
    site.configure_queue(max_receives=2)
    journal = []
    for hundred in range(10):
        for ten in range(10):
            site.sqs.send_message_batch(
                QueueUrl=site.url,
                Entries=[
                    {"Id": str(number), "MessageBody": f"poison {hundred} {ten} {number}"}
                    for number in range(10)
                ],
            )
        journal.append(site.send("add", left=hundred, right=0))
    began_at = time.monotonic()
    workers = [site.start(TASKPACKS_IDLE_SECONDS="2") for _ in range(2)]
    assert [result.get(timeout=90) for result in journal] == list(range(10))
    print(
        f"the tenth good task of 1 010 messages was done after {time.monotonic() - began_at:.1f} s"
    )
    assert [worker.wait(60) for worker in workers] == [ExitCode.DRAINED] * 2
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (1000, 0))
    told = Counter(line.split()[2] for worker in workers for line in poison_lines(worker))
    # Once by each worker that met it, as long as it remembers.
    assert len(told) == 1000
    assert max(told.values()) <= 2


# Pure: whatever the text, `read` returns an envelope or says why not.

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["probe.add", "application/json", "utf-8", "base64", "2026-01-01", LEFT_OUT]),
)
VALUES = st.recursive(
    LEAVES.filter(lambda value: value is not LEFT_OUT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def places(value, path=()):
    """The paths of everything in nested objects and lists."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield (*path, key)
        if isinstance(value[key], dict | list):
            yield from places(value[key], (*path, key))


@st.composite
def mutated(draw):
    """A good message after some changes anywhere in it, its body's JSON included."""
    message = good()
    message["body"] = json.loads(message["body"])
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(sorted(places(message), key=str)))
        place = message
        for step in path[:-1]:
            place = place[step]
        value = draw(st.one_of(LEAVES, VALUES))
        if value is LEFT_OUT:
            del place[path[-1]]
        else:
            place[path[-1]] = value
    if "body" in message and draw(st.integers(0, 9)):
        message["body"] = json.dumps(message["body"])
    text = json.dumps(message)
    form = draw(st.sampled_from(["plain", "plain", "base64", "cut"]))
    if form == "base64":
        return base64.b64encode(text.encode()).decode()
    return text[: draw(st.integers(0, len(text)))] if form == "cut" else text


@settings(max_examples=1500, deadline=None)
@given(mutated())
def test_a_mutated_message_is_an_envelope_or_poison(text):
    check(text)


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), VALUES, st.binary().map(lambda raw: base64.b64encode(raw).decode())))
def test_any_value_is_an_envelope_or_poison(value):
    check(value)


def check(text):
    try:
        envelope = read(text, KNOWN)
    except PoisonError as error:
        reason = str(error)
    else:
        check_envelope(envelope)
        return
    assert len(reason) < 500


def check_envelope(envelope):
    assert isinstance(envelope, Envelope)
    assert envelope.task_name in KNOWN
    assert envelope.task_id
    assert isinstance(envelope.payload["properties"]["delivery_info"], dict)


@pytest.mark.parametrize("wrap", [str, lambda text: base64.b64encode(text.encode()).decode()])
def test_a_good_message_passes_as_it_is_and_in_base64(wrap):
    message = good()
    envelope = read(wrap(json.dumps(message)), KNOWN)
    assert envelope.payload == message
    assert (envelope.task_name, envelope.task_id) == ("probe.add", message["headers"]["id"])
    assert envelope.eta is None


def test_arguments_nested_as_deep_as_allowed_are_handed_to_the_task_and_back(site):
    deepest = NESTING_MAX - 2  # below the body's list and the keyword arguments
    with pytest.raises(PoisonError, match="deeper than 100 levels"):
        read(with_body([[], {"left": nested(deepest + 1), "right": []}, embedded()]), KNOWN)
    result = site.send("add", left=nested(deepest), right=[])
    site.start()
    assert result.get(timeout=20) == nested(deepest)
