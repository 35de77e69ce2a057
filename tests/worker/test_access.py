"""A worker that SQS does not serve, or not well: how long it stays, what it makes of answers."""

import threading
import time

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)
from faults import (
    ATTRIBUTES,
    BLACK_HOLE,
    DELETE,
    DENIED,
    EXPIRED,
    FAILED_AFTER,
    HTML,
    RECEIVE,
    TRUNCATED,
    VISIBILITY,
)
from scripted_sqs import DROPPED, URL, refused

from taskpacks.contract import ExitCode
from worker import sqs
from worker.policies import AccessPolicy

ACTIONS = (RECEIVE, DELETE, VISIBILITY)
EXPIRED_AFTER_ALL = RuntimeError("the refreshed credentials are still expired")
"""As botocore raises it."""


def receives_of(site):
    """How often the message in the task queue was received, this time included."""
    (message,) = site.sqs.receive_message(QueueUrl=site.url, AttributeNames=["All"])["Messages"]
    return int(message["Attributes"]["ApproximateReceiveCount"])


def test_a_worker_that_may_not_receive_says_so_at_its_first_receive(site, proxy):
    proxy.outage(RECEIVE, DENIED, 60)
    site.send("add", left=1, right=1)
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="60")
    assert worker.wait(20) == ExitCode.QUEUE_UNUSABLE
    assert "sqs:ReceiveMessage was refused" in worker.log
    assert "Allow it in the worker's role" in worker.log
    assert proxy.count(RECEIVE) == 1
    (report,) = [report for report in worker.reports if "LeftBecause" in report]
    assert report["LeftBecause"] == "unusable"
    assert receives_of(site) == 1


def test_a_worker_asks_about_its_task_queue_once_before_it_serves(site, proxy):
    proxy.script(ATTRIBUTES, None, EXPIRED)  # a second answer would end it
    result = site.send("add", left=1, right=1)
    worker = site.start(**site.through(proxy))
    assert result.get(timeout=20) == 2
    assert worker.wait(20) == ExitCode.DRAINED


@pytest.mark.timeout(120)
@pytest.mark.parametrize("actions", [[RECEIVE], [DELETE], ACTIONS], ids=str)
def test_a_worker_whose_calls_are_refused_for_half_a_minute_leaves(
    site, proxy, journal, wait_until, actions
):
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="300")
    assert site.send("add", left=1, right=1).get(timeout=20) == 2
    for action in actions:
        proxy.outage(action, EXPIRED, 5)  # credentials that come late
    wait_until(lambda: sum(proxy.injected().values()) if RECEIVE in actions else True)
    site.send("sleep", seconds=0, journal=str(journal), name="after")
    wait_until(lambda: journal.lines("end", "after"), 20)
    for action in actions:
        proxy.outage(action, EXPIRED, 300)
    if RECEIVE not in actions:
        site.send("sleep", seconds=0, journal=str(journal), name="last")
    began_at = time.monotonic()
    assert worker.wait(70) == ExitCode.QUEUE_UNUSABLE
    assert 20 < time.monotonic() - began_at < 60
    assert "was refused for 3" in worker.log


@pytest.mark.timeout(120)
def test_a_deletion_that_hangs_costs_the_next_task_no_lease(site, proxy, journal, wait_until):
    site.configure_queue(lease_seconds=4)
    workers = [site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="30")]
    wait_until(lambda: workers[0].serving)
    proxy.outage(DELETE, BLACK_HOLE, 12)
    site.send("sleep", seconds=0, journal=str(journal), name="done")
    wait_until(lambda: journal.lines("end", "done"))
    site.send("sleep", seconds=10, journal=str(journal), name="long")
    wait_until(lambda: journal.lines("begin", "long"))
    workers.append(site.start(TASKPACKS_IDLE_SECONDS="30"))
    wait_until(lambda: journal.lines("end", "long"), 30)
    wait_until(lambda: site.depth() == (0, 0), 20)
    assert [line["name"] for line in journal.lines("begin")] == ["done", "long"]
    assert not journal.lines("cut")


@pytest.mark.parametrize("fault", [FAILED_AFTER, TRUNCATED], ids=str)
def test_a_giving_back_that_was_done_and_not_told_so_is_not_done_again(
    site, proxy, wait_until, fault
):
    taken = []
    done = threading.Event()

    def take(call):
        """The next worker, which has the message before this one hears that it is visible."""
        if call.parameters["VisibilityTimeout"] == 0:
            taken.extend(
                site.sqs.receive_message(QueueUrl=site.url, VisibilityTimeout=60)["Messages"]
            )
            done.set()

    worker = site.start(
        **site.through(proxy), TASKPACKS_IDLE_SECONDS="4", TASKPACKS_RETRY_BACKOFF_SECONDS="0"
    )
    wait_until(lambda: worker.serving)
    proxy.after(VISIBILITY, take)
    proxy.script(VISIBILITY, fault)
    site.send("fail")
    assert done.wait(20)
    assert len(taken) == 1
    assert worker.wait(30) == ExitCode.DRAINED
    assert site.depth() == (0, 1)  # still the next worker's
    assert proxy.count(VISIBILITY) == 2  # the check at the start, and the giving back


@pytest.mark.parametrize("fault", [HTML, TRUNCATED], ids=str)
def test_a_receive_whose_answer_is_not_sqss_is_no_empty_one(site, proxy, wait_until, fault):
    site.configure_queue(lease_seconds=3)
    worker = site.start(**site.through(proxy), TASKPACKS_IDLE_SECONDS="8")
    wait_until(lambda: worker.serving)
    proxy.script(RECEIVE, fault, fault)
    result = site.send("add", left=1, right=1)
    wait_until(lambda: worker.log.count("the answer is truncated or not AWS's") == 2)
    assert result.get(timeout=20) == 2
    assert worker.wait(30) == ExitCode.DRAINED


@pytest.mark.parametrize(
    ("error", "executed"),
    [
        (refused("AccessDenied", 403), False),
        (refused("RequestThrottled", 400), False),
        (refused("InternalError", 500), True),
        (refused("ServiceUnavailable", 503), True),
        (DROPPED, True),
        (ReadTimeoutError(endpoint_url=URL), True),
        (SSLError(endpoint_url=URL, error="broken"), True),
        (sqs.MangledAnswerError(status=200, received=1, announced=2), True),
        (EndpointConnectionError(endpoint_url=URL), False),
        (ConnectTimeoutError(endpoint_url=URL), False),
        (NoCredentialsError(), False),
        (EXPIRED_AFTER_ALL, False),
    ],
)
def test_only_a_refusal_or_a_call_that_was_not_sent_proves_that_nothing_was_done(error, executed):
    assert sqs.not_executed(error) is not executed


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (refused("AccessDenied", 403), True),
        (refused("ExpiredToken", 403), True),
        (refused("KMS.DisabledException", 400), True),
        (refused("AWS.SimpleQueueService.NonExistentQueue", 400), True),
        (CredentialRetrievalError(provider="container-role", error_msg="gone"), True),
        (EXPIRED_AFTER_ALL, True),
        (refused("OverLimit", 403), False),
        (refused("RequestThrottled", 403), False),
        (refused("KMS.ThrottlingException", 400), False),
        (refused("ReceiptHandleIsInvalid", 404), False),
        (refused("ServiceUnavailable", 503), False),
        (ReadTimeoutError(endpoint_url=URL), False),
        (EndpointConnectionError(endpoint_url=URL), False),
    ],
)
def test_permissions_credentials_and_a_queue_that_is_gone_do_not_come_right_by_themselves(
    error, final
):
    assert sqs.refused(error) is final


def answer(body, status=200, announced=None):
    headers = {} if announced is None else {"Content-Length": announced}
    return {"body": body, "status_code": status, "headers": headers}


@pytest.mark.parametrize(
    ("body", "announced"), [(b"", "0"), (b"", None), (b"{}", "2"), (b'{"Messages": []}', None)]
)
def test_a_whole_answer_is_left_as_it_is(body, announced):
    whole = answer(body, announced=announced)
    sqs._check_answer(whole)
    assert whole == answer(body, announced=announced)


@pytest.mark.parametrize(
    ("body", "announced"),
    [(b"", "9"), (b'{"Mess', None), (b"[]", None), (b"<html>", "6"), (b"\xff", None), (b"{}", "9")],
)
def test_what_is_no_whole_answer_is_a_failure_or_an_error_by_its_status(body, announced):
    with pytest.raises(sqs.MangledAnswerError):
        sqs._check_answer(answer(body, announced=announced))
    page = answer(body, status=403, announced=announced)
    sqs._check_answer(page)
    assert page["body"] == b""


def test_refusals_are_borne_for_a_while_and_the_first_of_an_action_not_at_all():
    policy = AccessPolicy(proven={"delete"})
    policy.failed("delete", 100, "denied", refused=True)
    policy.failed("delete", 129, "denied", refused=True)
    assert policy.hopeless(129.9) is None
    assert "delete was refused for 30 s: denied" in policy.hopeless(130)
    policy.answered("delete")
    policy.failed("delete", 131, "denied", refused=True)
    assert policy.hopeless(150) is None
    policy.failed("receive", 150, "denied", refused=True)
    assert "receive was refused" in policy.hopeless(150)
    policy.answered("receive")
    policy.failed("receive", 151, "denied", refused=True)
    assert policy.hopeless(152) is None


def test_other_failures_are_borne_for_a_quarter_of_an_hour():
    policy = AccessPolicy()
    policy.failed("receive", 100, "denied", refused=True)
    policy.failed("receive", 101, "no answer", refused=False)
    assert policy.hopeless(999) is None
    policy.failed("receive", 999, "denied", refused=True)
    policy.failed("receive", 1000, "no answer", refused=False)
    assert "receive has failed for 900 s: no answer" in policy.hopeless(1000)
