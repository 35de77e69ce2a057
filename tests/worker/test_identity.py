"""A result says which worker it is from and where the log is; it has arguments only if asked."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from faults import PAGE

from taskpacks.cancel import cancel
from taskpacks.contract import ExitCode
from worker.identity import JOB_ID, METADATA_URI, Identity, identify
from worker.results import ARGUMENTS_BYTES_MAX

STREAM = "pi-worker/default/8f03e41243824aea923aca126495f665"
CONTAINER = {
    "DockerId": "ea32192c8553fbff06c9340478a2ff089b2bb5646fb718b4ee206641c9086d66",
    "Name": "default",
    "LogDriver": "awslogs",
    "LogOptions": {
        "awslogs-group": "/taskpacks/taskpacks/dev/pi",
        "awslogs-region": "us-east-1",
        "awslogs-stream": STREAM,
    },
}
"""The parts that matter of an answer of ECS's:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-examples.html"""
JOB = "68356329-1d2e-4c5b-9d5a-0a4f5f3c2b1a:3"


@pytest.fixture
def metadata():
    """ECS's metadata service of one container; `answer` is what it says."""

    class Metadata(BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == "/v4/the-container"
            self.send_response(server.status)
            self.send_header("Content-Length", str(len(server.answer)))
            self.end_headers()
            self.wfile.write(server.answer)

        def log_message(self, *_):
            """Not in the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    server.status, server.answer = 200, json.dumps(CONTAINER).encode()
    server.uri = f"http://127.0.0.1:{server.server_port}/v4/the-container"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def said_by(site, result):
    """Returns what a caller reads of a result with Celery; it reads the same with boto3 alone."""
    with_celery = site.producer.backend.get_task_meta(result.id, cache=False)["taskpacks"]
    item = boto3.client("dynamodb").get_item(
        TableName=f"{site.name}-results", Key={"id": {"S": f"b'celery-task-meta-{result.id}'"}}
    )["Item"]
    assert json.loads(item["result"]["B"])["taskpacks"] == with_celery
    return with_celery


def test_the_names_are_those_that_aws_gives(metadata):
    environment = {JOB_ID: JOB, METADATA_URI: metadata.uri}
    assert identify(environment) == Identity(worker=JOB, log_stream=STREAM)
    assert identify({}) == Identity(worker=socket.gethostname(), log_stream=None)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, b""),
        (200, PAGE),
        (200, b"{}"),
        (200, b"[]"),
        (200, json.dumps({**CONTAINER, "LogDriver": "fluentd"}).encode()),
        (200, json.dumps({**CONTAINER, "LogOptions": {"awslogs-stream": 7}}).encode()),
        (200, json.dumps(CONTAINER).encode()[:-9]),
    ],
)
def test_a_log_stream_that_is_not_said_is_not_guessed(metadata, status, answer):
    metadata.status, metadata.answer = status, answer
    assert identify({METADATA_URI: metadata.uri}).log_stream is None


def test_a_service_that_is_not_there_costs_the_name_alone():
    assert identify({METADATA_URI: "http://127.0.0.1:9/v4/x"}).log_stream is None


def test_every_state_says_where_it_is_from(site, metadata, journal, wait_until):
    """Done, failed, killed, timed out, refused, cancelled before and while it runs."""
    site.configure_queue(max_receives=10)  # a long one gives back what was received ahead of it
    run = {"journal": str(journal), "name": "s"}
    sent = {
        "SUCCESS": (site.send("add", left=1, right=1), "probe.add", 1),
        "failed": (site.send("fail"), "probe.fail", 2),
        "killed": (site.send("kill"), "probe.kill", 2),
        "timed out": (
            site.producer.send_task("probe.sleep", kwargs={"seconds": 9, **run}, time_limit=1),
            "probe.sleep",
            2,
        ),
        "refused": (site.send("unknown"), "probe.unknown", None),
        "cancelled": (site.send("add", left=1, right=1), "probe.add", None),
        "cut": (site.send("sleep", seconds=60, **{**run, "name": "cut"}), "probe.sleep", 1),
    }
    table = (boto3.client("dynamodb"), f"{site.name}-results", site.name)
    cancel(*table, sent["cancelled"][0].id)
    worker = site.start(
        **{JOB_ID: JOB, METADATA_URI: metadata.uri},
        TASKPACKS_MAX_ATTEMPTS="2",
        TASKPACKS_RETRY_BACKOFF_SECONDS="0",
        TASKPACKS_IDLE_SECONDS="3",
    )
    cut = sent["cut"][0]
    wait_until(lambda: cut.state == "STARTED")
    assert said_by(site, cut)["attempt"] == 1
    cancel(*table, cut.id)
    assert worker.wait() == ExitCode.DRAINED
    states = {kind: result.state for kind, (result, *_) in sent.items()}
    assert states == {
        "SUCCESS": "SUCCESS",
        "cancelled": "REVOKED",
        "cut": "REVOKED",
        **dict.fromkeys(("failed", "killed", "timed out", "refused"), "FAILURE"),
    }
    for kind, (result, task, attempt) in sent.items():
        expected = {"worker": JOB, "log_stream": STREAM, "task": task, "attempt": attempt}
        known = {name: value for name, value in expected.items() if value is not None}
        assert said_by(site, result) == known, kind


def test_a_retry_says_which_attempt_it_was_and_no_result_has_arguments(site):
    result = site.send("fail")
    worker = site.start(
        TASKPACKS_RETRY_BACKOFF_SECONDS="60", TASKPACKS_RETRY_BACKOFF_MAX_SECONDS="60"
    )
    assert worker.wait() == ExitCode.DRAINED
    assert result.state == "RETRY"
    assert said_by(site, result) == {
        "worker": socket.gethostname(),
        "task": "probe.fail",
        "attempt": 1,
    }
    assert (result.args, result.kwargs, result.name) == (None, None, None)


def test_arguments_are_stored_where_the_deployment_says_so_and_they_fit(site):
    small = site.send("add", left="a", right="b")
    large = site.send("add", left="x" * ARGUMENTS_BYTES_MAX, right="")
    huge = site.send("add", left="x" * 450_000, right="")
    failed = site.producer.send_task("probe.add", args=["only one"])
    worker = site.start(TASKPACKS_STORE_ARGUMENTS="true", TASKPACKS_MAX_ATTEMPTS="1")
    assert worker.wait() == ExitCode.DRAINED
    assert (small.get(timeout=5), small.kwargs) == ("ab", {"left": "a", "right": "b"})
    assert (len(large.get(timeout=5)), large.args, large.kwargs) == (
        ARGUMENTS_BYTES_MAX,
        None,
        None,
    )
    assert huge.state == "FAILURE"
    assert "stores at most" in str(huge.result)  # for its result, and not for its arguments
    assert (failed.state, failed.args, failed.kwargs) == ("FAILURE", ["only one"], {})
