"""How a local cloud begins and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from moto.batch.responses import BatchResponse
from moto.events.models import Rule
from moto.sqs.models import SQSBackend

from local.cloud import CloudError, DepthChanged, LocalCloud, LogLine
from local.cloud.metrics import QueueMetrics

SPAWN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(os.getpid(), child.pid)
time.sleep(60)
"""
DEMO = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
sys.path[:0] = {path!r}
from conftest import deployed, started
from local.cloud import LogLine
with started(Path({folder!r})) as cloud:
    fleet = deployed(cloud)
    fleet.submit(fleet.define("spawn", {code!r}))
    line = cloud.events.wait_for(lambda event: isinstance(event, LogLine), seconds=30)
    print(line.line, flush=True)
    time.sleep(60)
"""


def open_cloud(folder, **options):
    return LocalCloud(folder / "work", program_folder=folder, pace=600, **options)


def is_alive(pid):
    """Whether a process runs; one that has ended and was not asked for is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(*pids):
    until = time.monotonic() + 10
    while any(map(is_alive, pids)):
        assert time.monotonic() < until, "processes are left"
        time.sleep(0.02)


def pids_of(events):
    line = events.wait_for(lambda event: isinstance(event, LogLine), seconds=60)
    return [int(word) for word in line.line.split()]


def test_moto_is_put_back_when_the_block_is_left(tmp_path):
    before = SQSBackend.receive_message, BatchResponse.submitjob, Rule.send_to_targets
    with open_cloud(tmp_path):
        during = SQSBackend.receive_message, BatchResponse.submitjob, Rule.send_to_targets
        assert not set(before) & set(during)
    assert (SQSBackend.receive_message, BatchResponse.submitjob, Rule.send_to_targets) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_no_process_is_left_when_an_exception_leaves_the_block(tmp_path, deploy_fleet, error):
    pids = []

    def use():
        with open_cloud(tmp_path) as cloud:
            fleet = deploy_fleet(cloud)
            fleet.submit(fleet.define("spawn", SPAWN))
            pids.extend(pids_of(cloud.events))
            assert all(map(is_alive, pids))
            raise error

    threads = threading.active_count()
    with pytest.raises(error):
        use()
    assert len(pids) == 2
    assert not any(map(is_alive, pids))
    assert threading.active_count() == threads


def test_a_job_may_end_itself_in_order_when_the_block_is_left(tmp_path, deploy_fleet):
    left = tmp_path / "left"
    code = (
        "import pathlib, signal, sys, time\n"
        f"def leave(*_): pathlib.Path({str(left)!r}).touch(); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, leave); print('1'); time.sleep(60)"
    )
    with open_cloud(tmp_path) as cloud:
        fleet = deploy_fleet(cloud)
        fleet.submit(fleet.define("wait", code))
        pids_of(cloud.events)
    assert left.exists()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(
            signal.SIGKILL,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG"),
        ),
    ],
)
def test_jobs_die_with_the_process_that_holds_the_cloud(tmp_path, number):
    path = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    script = DEMO.format(path=path, folder=str(tmp_path), code=SPAWN)
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        job, child = (int(word) for word in process.stdout.readline().split())
        process.send_signal(number)
        process.wait(20)
    try:
        # After SIGKILL nobody is left to end the job's own children.
        wait_until_gone(job, *([child] if number == signal.SIGINT else []))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_one_cloud_after_the_other_starts_empty(tmp_path):
    for _ in range(3):
        with open_cloud(tmp_path) as cloud:
            sqs = cloud.client("sqs")
            assert "QueueUrls" not in sqs.list_queues()
            sqs.create_queue(QueueName="tasks")
            cloud.client("cloudwatch").put_metric_data(
                Namespace="N", MetricData=[{"MetricName": "M", "Value": 1}]
            )


def test_two_clouds_at_once_are_refused(tmp_path):
    with (
        open_cloud(tmp_path),
        pytest.raises(RuntimeError, match="another local cloud is open"),
        open_cloud(tmp_path),
    ):
        pass


def test_there_is_no_endpoint_outside_the_block(tmp_path):
    with pytest.raises(RuntimeError, match="inside its `with` block"):
        _ = open_cloud(tmp_path).endpoint_url


def test_leaving_the_block_ends_a_long_poll(tmp_path):
    ended = threading.Event()
    with open_cloud(tmp_path) as cloud:
        sqs = cloud.client("sqs")
        url = sqs.create_queue(QueueName="tasks")["QueueUrl"]

        def poll():
            # It may come too late to be answered, or to find its queue.
            with contextlib.suppress(BotoCoreError, ClientError):
                sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)
            ended.set()

        thread = threading.Thread(target=poll)
        thread.start()
    thread.join(5)
    assert ended.is_set()


def test_a_subscriber_that_raises_or_calls_the_cloud_does_not_stop_it(tmp_path):
    heard = []
    twice = threading.Event()
    with open_cloud(tmp_path) as cloud:
        sqs = cloud.client("sqs")

        def fails(event):
            raise ValueError(event)

        def calls(event):
            heard.append((event.visible, len(sqs.list_queues()["QueueUrls"])))
            if len(heard) == 2:
                twice.set()

        cloud.subscribe(fails)
        unsubscribe = cloud.subscribe(calls)
        url = sqs.create_queue(QueueName="tasks")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="x")
        cloud.events.wait_for(lambda event: isinstance(event, DepthChanged), seconds=10)
        sqs.send_message(QueueUrl=url, MessageBody="x")
        assert twice.wait(10)
        unsubscribe()
        unsubscribe()
    assert heard == [(1, 1), (2, 1)]


def test_a_failure_in_the_loop_is_told_of_and_the_next_minute_comes(tmp_path, monkeypatch):
    def fails(*_):
        monkeypatch.undo()
        raise ValueError("a defect")

    with open_cloud(tmp_path) as cloud:
        monkeypatch.setattr(QueueMetrics, "publish", fails)
        error = cloud.events.wait_for(lambda event: isinstance(event, CloudError), seconds=10)
        assert "ValueError: a defect" in str(error)
        sqs = cloud.client("sqs")
        url = sqs.create_queue(QueueName="tasks")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="x")
        cloud.events.wait_for(lambda event: isinstance(event, DepthChanged), seconds=10)


def test_waiting_for_what_does_not_come_says_what_came(tmp_path):
    with open_cloud(tmp_path) as cloud, pytest.raises(TimeoutError, match="the last were: none"):
        cloud.events.wait_for(lambda _: False, seconds=0.01)


def test_the_loopback_is_all_that_the_environment_points_to(tmp_path):
    with open_cloud(tmp_path, region="eu-central-1") as cloud:
        environment = cloud.environment
        assert environment["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
        assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "eu-central-1"
        with pytest.raises(ClientError):
            cloud.client("sqs").get_queue_url(QueueName="none")
