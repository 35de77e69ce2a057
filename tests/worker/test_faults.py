"""The proxy of faults.py itself: every fault is really one."""

import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from faults import (
    ATTRIBUTES,
    BLACK_HOLE,
    DENIED,
    DROP_AFTER,
    DROP_BEFORE,
    EXPIRED,
    FAILED_AFTER,
    HTML,
    RECEIVE,
    SEND,
    TRUNCATED,
    UNAVAILABLE,
    hang,
)

from worker import sqs


@pytest.fixture
def client(proxy, aws):
    settings = Config(retries={"total_max_attempts": 1}, read_timeout=5)
    client = boto3.client("sqs", endpoint_url=proxy.url, config=settings)
    yield client
    client.close()


def test_what_is_not_told_otherwise_passes(client, proxy, site):
    client.send_message(QueueUrl=site.url, MessageBody="x")
    assert site.depth() == (1, 0)
    assert (proxy.count(SEND), proxy.injected()) == (1, {})


@pytest.mark.parametrize("fault", [UNAVAILABLE, DENIED, EXPIRED], ids=str)
def test_an_error_is_answered_and_nothing_done(client, proxy, site, fault):
    proxy.script(SEND, fault)
    with pytest.raises(ClientError) as caught:
        client.send_message(QueueUrl=site.url, MessageBody="x")
    assert caught.value.response["Error"]["Code"] == fault.code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == fault.status
    assert site.depth() == (0, 0)


@pytest.mark.parametrize(("fault", "sent"), [(DROP_BEFORE, 0), (DROP_AFTER, 1)], ids=str)
def test_a_connection_is_dropped_before_or_after_execution(client, proxy, site, fault, sent):
    proxy.script(SEND, fault)
    with pytest.raises(ConnectionClosedError):
        client.send_message(QueueUrl=site.url, MessageBody="x")
    assert site.depth() == (sent, 0)
    assert len(proxy.cuts(SEND)) == sent


def test_a_call_is_executed_and_answered_with_an_error(client, proxy, site):
    proxy.script(SEND, FAILED_AFTER)
    with pytest.raises(ClientError) as caught:
        client.send_message(QueueUrl=site.url, MessageBody="x")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert site.depth() == (1, 0)
    assert len(proxy.cuts(SEND)) == 1


def test_a_black_hole_answers_nothing_for_as_long_as_the_client_waits(proxy, aws, site):
    proxy.script(SEND, BLACK_HOLE)
    settings = Config(retries={"total_max_attempts": 1}, read_timeout=0.5)
    impatient = boto3.client("sqs", endpoint_url=proxy.url, config=settings)
    with pytest.raises(ReadTimeoutError):
        impatient.send_message(QueueUrl=site.url, MessageBody="x")
    impatient.send_message(QueueUrl=site.url, MessageBody="x")
    assert site.depth() == (1, 0)


@pytest.mark.parametrize(("fault", "in_flight"), [(TRUNCATED, 1), (HTML, 0)], ids=str)
def test_what_is_not_sqss_whole_answer_is_an_empty_one_to_botocore_and_a_failure_to_a_worker(
    client, proxy, site, fault, in_flight
):
    site.send_text("x")
    proxy.script(RECEIVE, fault, fault)
    assert "Messages" not in client.receive_message(QueueUrl=site.url, VisibilityTimeout=0)
    sqs.checked(client)
    with pytest.raises(sqs.MangledAnswerError) as caught:
        client.receive_message(QueueUrl=site.url)
    assert not sqs.not_executed(caught.value)
    assert site.depth() == (1 - in_flight, in_flight)


def test_a_hang_ends(client, proxy, site):
    proxy.script(SEND, hang(0.5))
    began_at = time.monotonic()
    client.send_message(QueueUrl=site.url, MessageBody="x")
    assert time.monotonic() - began_at >= 0.5
    assert site.depth() == (1, 0)


def test_a_closed_port_refuses_and_opens_again(client, proxy, site):
    client.get_queue_attributes(QueueUrl=site.url, AttributeNames=["All"])
    with proxy.refusing(), pytest.raises((EndpointConnectionError, ConnectionClosedError)):
        client.get_queue_attributes(QueueUrl=site.url, AttributeNames=["All"])
    client.get_queue_attributes(QueueUrl=site.url, AttributeNames=["All"])


def test_rates_are_drawn_from_the_seed_and_an_outage_ends(client, proxy, site, wait_until):
    proxy.rates = {ATTRIBUTES: {UNAVAILABLE: 0.5}}

    def answered():
        try:
            client.get_queue_attributes(QueueUrl=site.url, AttributeNames=["All"])
        except ClientError:
            return False
        return True

    assert 5 < sum(answered() for _ in range(40)) < 35
    proxy.calm()
    proxy.outage(ATTRIBUTES, DENIED, 0.3)
    assert not answered()
    wait_until(answered, 5)
