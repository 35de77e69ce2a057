"""Where a run of Celery's tests takes place: queue, results, Redis, and the worker's command."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import boto3

from benchmarks.contenders import REGION, Site, taskpacks
from benchmarks.sqs_server import running_server
from tests.celery_suite.sources import BUILD, HERE, PACKAGES, ROOT

QUEUE = "celery"
"""The only queue that Celery's tests allow."""
TABLE = "celery-suite"
TEST_SECONDS = 40
END_SECONDS = 10
MAX_RECEIVES = 10
REDIS = "redis-server"
PYTEST_INI = """\
[pytest]
python_classes = test_*
markers =
    flaky
    amqp
"""


@dataclass(frozen=True)
class Combination:
    """Which worker, where results are stored, and what a plain worker receives from."""

    worker: str
    backend: str
    broker: str = "sqs"

    def __str__(self):
        return f"{self.worker}-{self.backend}-{self.broker}"


def run(combination, sources, tests, *, seconds, shard=(0, 1), name=""):
    """Runs tests with one worker.

    Args:
        combination: What is run with what.
        sources: Celery's folder, with `t` in it.
        tests: Arguments of pytest that select tests.
        seconds: When the run is ended; tests that have not run by then are missing.
        shard: Which of how many: every n-th test is run.
        name: Tells several runs of a combination apart.

    Returns:
        Test -> its line: outcome, seconds, why.
    """
    folder = BUILD / "runs" / f"{combination}-{shard[0]}{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(sources / "t" / "integration", folder / "t" / "integration")
    for each in ("__init__.py", "canvas_helpers.py", "skip.py"):
        shutil.copy(sources / "t" / each, folder / "t")
    (folder / "pytest.ini").write_text(PYTEST_INI)
    results = folder / "results.jsonl"
    with ExitStack() as stack:
        server = stack.enter_context(running_server())
        port = stack.enter_context(_running_redis(folder))
        environment, worker = _prepare(combination, Site(server, folder), folder, port)
        environment["CELERY_SUITE_RUN"] = json.dumps(
            {
                **worker,
                "folder": str(folder),
                "log": str(folder / "worker.log"),
                "results": str(results),
                "test_seconds": TEST_SECONDS,
                "shard": shard,
            }
        )
        with (folder / "pytest.log").open("w") as log:
            _run_pytest(folder, environment, tests, log, seconds)
    lines = results.read_text().splitlines() if results.exists() else []
    return {line["test"]: line for line in map(json.loads, lines)}


def _run_pytest(folder, environment, tests, log, seconds):
    """Runs pytest in a session of its own, and ends it when it takes too long."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-p", "celery_suite_plugin"),
            *("-p", "celery.contrib.pytest", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *("-v", "--tb=short", *tests),
        ],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # the fixtures end their worker
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _prepare(combination, site, folder, redis_port):
    """Makes the queue and the table; returns pytest's environment, and how to start the worker."""
    for name, value in site.aws.items():
        os.environ[name] = value  # of the clients that make them
    queue = site.queue(MAX_RECEIVES, QUEUE)
    dynamodb = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.update_time_to_live(
        TableName=TABLE, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"}
    )
    backend = {
        "dynamodb": f"dynamodb://@{REGION}/{TABLE}?ttl_seconds=3600",
        "redis": f"redis://127.0.0.1:{redis_port}/0",
    }[combination.backend]
    broker = {"sqs": "sqs://", "redis": f"redis://127.0.0.1:{redis_port}/1"}[combination.broker]
    settings = {"task_default_queue": QUEUE, "broker_connection_retry_on_startup": True}
    if combination.broker == "sqs":
        settings["broker_transport_options"] = {
            "region": REGION,
            "predefined_queues": {QUEUE: {"url": queue.url}},
            "sqs_base64_encoding": False,
            "body_encoding": "utf-8",
        }
    # Celery's own way to change the tests' settings.
    (folder / "integration-tests-config.json").write_text(json.dumps(settings))
    common = {
        **site.aws,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis_port),
        "TEST_BROKER": broker,
        "TEST_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join(map(str, (folder, HERE, PACKAGES, ROOT))),
    }
    served = {
        **settings,
        "broker_url": broker,
        "result_backend": backend,
        "result_extended": True,
        "task_create_missing_queues": False,
        "timezone": "UTC",
    }
    worker = (_ours if combination.worker == "ours" else _plain)(common, served, queue, folder)
    return common, worker


def _ours(common, served, queue, folder):
    site_packages = folder / "site"
    contender = taskpacks(site_packages, pack="suite", module="celery_suite_pack")
    environment = {
        **contender.environment(queue),
        **common,
        "PYTHONPATH": os.pathsep.join((str(site_packages), common["PYTHONPATH"])),
        "CELERY_SUITE_SETTINGS": json.dumps(served),
        "TASKPACKS_RESULT_BACKEND": common["TEST_BACKEND"],
        "TASKPACKS_IDLE_SECONDS": "3600",  # it stays until the last test
        "TASKPACKS_RETRY_BACKOFF_SECONDS": "0",
    }
    return {"command": [sys.executable, *contender.command], "environment": environment}


def _plain(common, served, queue, folder):
    del queue, folder
    if served["broker_url"] == "sqs://":
        served = {
            **served,
            "broker_transport": "benchmarks.blocking_sqs:BlockingTransport",
            "worker_enable_remote_control": False,  # needs a queue that is not predefined
        }
    return {
        # As Celery's own tests start it: one process, nobody to talk to.
        "command": [
            *(sys.executable, "-m", "celery", "-A", "celery_suite_app", "worker"),
            *("--pool", "prefork", "--concurrency", "1", "--loglevel", "INFO"),
            *("--without-mingle", "--without-gossip", "--without-heartbeat"),
        ],
        "environment": {**common, "CELERY_SUITE_SETTINGS": json.dumps(served)},
    }


@contextmanager
def _running_redis(folder):
    """Runs a Redis server of this run's own, which keeps nothing on disk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [REDIS, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        give_up_at = time.monotonic() + END_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise SystemExit(f"{REDIS} does not listen on port {port}")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(END_SECONDS)
