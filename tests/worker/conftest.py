"""Real worker processes against a real SQS protocol server on loopback."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from celery import Celery
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
REGION = "us-east-1"


@pytest.fixture
def wait_until():
    """Awaits a condition and returns what it gave, or fails."""

    def wait(condition, seconds=20):
        give_up_at = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < give_up_at, f"not within {seconds} s"
            time.sleep(0.02)
        return value

    return wait


@pytest.fixture(scope="session")
def endpoint():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    server.stop()
    server._server.server_close()


@pytest.fixture
def aws(endpoint, monkeypatch, tmp_path):
    """The environment of any AWS client, here and in workers."""
    variables = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


class Site:
    """A task queue with a dead-letter queue, results, and workers that serve the probe pack."""

    def __init__(self, folder, aws, name):
        self.folder = folder
        self.name = name
        self.sqs = boto3.client("sqs")
        self.dead_url = self.sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        arn = self.attributes(self.dead_url, "QueueArn")["QueueArn"]
        self.url = self.sqs.create_queue(
            QueueName=name,
            Attributes={
                "VisibilityTimeout": "30",
                "RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "3"}),
            },
        )["QueueUrl"]
        table = f"{name}-results"
        dynamodb = boto3.client("dynamodb")
        dynamodb.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        dynamodb.update_time_to_live(
            TableName=table,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"},
        )
        backend = f"dynamodb://@{REGION}/{table}?ttl_seconds=3600"
        self.environment = {
            **aws,
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "PYTHONPATH": str(install_probe_pack(folder / "site")),
            "TASKPACKS_PACK": "probe",
            "TASKPACKS_DEPLOYMENT": name,
            "TASKPACKS_QUEUE_URL": self.url,
            "TASKPACKS_RESULT_BACKEND": backend,
            "TASKPACKS_VCPUS": "4",
            "TASKPACKS_MEMORY_MIB": "1024",
            "TASKPACKS_IDLE_SECONDS": "1",
            "TASKPACKS_TASK_TIME_LIMIT_SECONDS": "60",
            "TASKPACKS_URI_SCHEMES": "file",
            "TASKPACKS_MAX_ATTEMPTS": "3",
            "TASKPACKS_RETRY_BACKOFF_SECONDS": "1",
            "TASKPACKS_RETRY_BACKOFF_MAX_SECONDS": "2",
            "TASKPACKS_STOP_GRACE_SECONDS": "5",
        }
        self.producer = Celery("producer", set_as_current=False)
        self.producer.conf.update(
            broker_url="sqs://",
            result_backend=backend,
            task_default_queue=name,
            task_serializer="json",
            accept_content=["json"],
            broker_transport_options={
                "region": REGION,
                "predefined_queues": {name: {"url": self.url}},
                "sqs_base64_encoding": False,
                "body_encoding": "utf-8",
            },
        )

    def send(self, task, **arguments):
        name = task if "." in task else f"probe.{task}"
        return self.producer.send_task(name, kwargs=arguments)

    def attributes(self, url, *names):
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names or ["All"]))[
            "Attributes"
        ]

    def depth(self, url=None):
        """Visible and in-flight messages."""
        found = self.attributes(url or self.url)
        return (
            int(found["ApproximateNumberOfMessages"]),
            int(found["ApproximateNumberOfMessagesNotVisible"]),
        )

    @contextmanager
    def worker(self, **changes):
        """Starts a worker; ends it, if it has not left, by its own id."""
        environment = {**self.environment, **changes}
        log = (self.folder / "worker.log").open("w+")
        process = subprocess.Popen(
            [sys.executable, "-m", "worker"],
            cwd=ROOT,
            env={name: value for name, value in environment.items() if value is not None},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait(10)
            log.close()

    @property
    def log(self):
        return (self.folder / "worker.log").read_text()


def install_probe_pack(folder):
    """Makes the probe pack an installed distribution with an entry point."""
    info = folder / "probe-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taskpacks]\nprobe = probe_pack\n")
    (folder / "probe_pack.py").write_text((HERE / "probe_pack.py").read_text())
    return folder


@pytest.fixture
def site(aws, tmp_path, request):
    name = f"q{abs(hash(request.node.nodeid)) % 10**8}"
    return Site(tmp_path, aws, name)
