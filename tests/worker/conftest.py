"""Real worker processes against a real SQS protocol server on loopback."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from celery import Celery
from moto.server import ThreadedMotoServer

from local.cloud.repairs import all_repairs

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
REGION = "us-east-1"

# The tests' own modules, by their bare names.
sys.path.insert(0, str(HERE))

from faults import FaultProxy  # noqa: E402 -- found by the line above


@pytest.fixture
def wait_until():
    """Awaits a condition and returns what it gave, or fails."""

    def wait(condition, seconds=60):
        give_up_at = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < give_up_at, f"not within {seconds} s"
            time.sleep(0.02)
        return value

    return wait


@pytest.fixture(scope="session")
def endpoint():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    closing = threading.Event()
    with all_repairs(closing):  # as it is, moto hands one message to two receivers
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        yield f"http://127.0.0.1:{server.get_host_and_port()[1]}"
        closing.set()
        server.stop()
        server._server.server_close()


@pytest.fixture
def aws(endpoint, monkeypatch, tmp_path):
    """The environment of any AWS client, here and in workers.

    Workers have no AWS_DEFAULT_REGION, the only one that boto3 reads: they pass the region.
    """
    variables = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    return variables


class Site:
    """A task queue with a dead-letter queue, results, and workers that serve the probe pack."""

    def __init__(self, folder, aws, name):
        self.folder = folder
        self.name = name
        self.started = []
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
            "TASKPACKS_STACK": "test",
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

    def configure_queue(self, lease_seconds=None, max_receives=None):
        """Changes the task queue's visibility time-out and redrive policy."""
        changed = {}
        if lease_seconds is not None:
            changed["VisibilityTimeout"] = str(lease_seconds)
        if max_receives is not None:
            arn = self.attributes(self.dead_url, "QueueArn")["QueueArn"]
            changed["RedrivePolicy"] = json.dumps(
                {"deadLetterTargetArn": arn, "maxReceiveCount": str(max_receives)}
            )
        self.sqs.set_queue_attributes(QueueUrl=self.url, Attributes=changed)

    def send_text(self, text):
        """Sends a message that is not Celery's."""
        return self.sqs.send_message(QueueUrl=self.url, MessageBody=text)["MessageId"]

    def through(self, proxy):
        """The changes of a worker's environment that lead it through a proxy."""
        return {
            "AWS_ENDPOINT_URL": proxy.url,
            "TASKPACKS_QUEUE_URL": self.url.replace(
                self.environment["AWS_ENDPOINT_URL"], proxy.url
            ),
        }

    def start(self, **changes):
        """Starts a worker with a log of its own; the fixture ends it if nobody else does."""
        worker = StartedWorker(self, f"worker-{len(self.started)}.log", changes)
        self.started.append(worker)
        return worker

    def end_all(self):
        for worker in self.started:
            worker.kill()


class StartedWorker:
    """A worker process, and what it logs."""

    def __init__(self, site, log_name, changes):
        environment = {**site.environment, **changes}
        self.log_path = site.folder / log_name
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker"],
                cwd=ROOT,
                env={name: value for name, value in environment.items() if value is not None},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.pid = self.process.pid

    @property
    def log(self):
        return self.log_path.read_text()

    @property
    def code(self):
        """How it ended; None while it runs."""
        return self.process.poll()

    @property
    def serving(self):
        return "serving task queue" in self.log

    @property
    def listens(self):
        """It has come so far that it handles SIGTERM, or has left."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return True
        caught = next((line for line in status.splitlines() if line.startswith("SigCgt")), "- 0")
        return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))

    @property
    def reports(self):
        """Returns what it reported about tasks, dead letters and itself; not its log."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if "Deployment" in line]

    @property
    def children(self):
        """Ids of its own child processes, whichever thread started them."""
        found = []
        for tasks in Path(f"/proc/{self.pid}/task").glob("*/children"):
            try:
                found += [int(child) for child in tasks.read_text().split()]
            except OSError:  # that thread has ended
                continue
        return found

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=60):
        return self.process.wait(seconds)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)


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
    site = Site(tmp_path, aws, name)
    yield site
    site.end_all()
    if (site.folder / "worker.log").exists():
        print(site.log)
    for worker in site.started:  # pytest shows it when the test failed
        print(worker.log_path.name, worker.code, *worker.log.splitlines()[-30:], sep="\n")


@pytest.fixture
def proxy(endpoint):
    """Stands between workers and SQS; see faults.py."""
    with FaultProxy(endpoint) as proxy:
        yield proxy


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal")


class Journal:
    """The lines that tasks wrote while they ran: a line each time one began, ended or was cut."""

    def __init__(self, path):
        self.path = path

    def __str__(self):
        return str(self.path)

    def lines(self, event=None, name=None):
        if not self.path.exists():
            return []
        found = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [
            line
            for line in found
            if (event is None or line["event"] == event) and (name is None or line["name"] == name)
        ]
