"""The two workers that are compared, as processes on queues of their own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import boto3
from celery import Celery

from benchmarks.probe_pack import JOURNAL, SETTINGS
from worker.shutdown import descendants

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from benchmarks.sqs_server import Server

T = TypeVar("T")
ROOT: Final = Path(__file__).resolve().parent.parent
REGION: Final = "us-east-1"
IDLE_SECONDS: Final = 1
LEASE_SECONDS: Final = 30
LOOK_SECONDS: Final = 0.01
END_SECONDS: Final = 5
BATCH: Final = 10
"""Messages that SQS takes in one call:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-batch-api-actions.html
"""


@dataclass(frozen=True)
class Template:
    """A message as Celery sends it, and the task's id in it."""

    task_id: str
    body: str


@dataclass
class Queue:
    """A task queue with a dead-letter queue, a journal that its tasks write, and a producer."""

    name: str
    url: str
    dead_url: str
    folder: Path
    producer: Celery[Any]

    def send(self, task: str, *arguments: Any) -> None:
        """Sends a task of the probe pack."""
        self.producer.send_task(f"probe.{task}", args=arguments)

    def template(self, task: str) -> Template:
        """A message of a task without arguments, to be sent many times; the queue is empty."""
        task_id = str(uuid.uuid4())
        self.producer.send_task(f"probe.{task}", task_id=task_id)
        sqs: Any = boto3.client("sqs")
        message = sqs.receive_message(QueueUrl=self.url)["Messages"][0]
        sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return Template(task_id, message["Body"])

    def send_copies(self, template: Template, count: int) -> set[str]:
        """Sends a message many times in few calls; returns the tasks' ids."""
        sqs: Any = boto3.client("sqs")
        ids = [str(uuid.uuid4()) for _ in range(count)]
        for begin in range(0, count, BATCH):
            sqs.send_message_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": each, "MessageBody": template.body.replace(template.task_id, each)}
                    for each in ids[begin : begin + BATCH]
                ],
            )
        return set(ids)

    @property
    def journal(self) -> Path:
        """Returns the file that its tasks write to."""
        return self.folder / "journal"

    def events(self) -> list[tuple[str, float]]:
        """Returns what tasks wrote, and when, in monotonic seconds."""
        if not self.journal.exists():
            return []
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [(event, float(at)) for event, at in lines]

    def at(self, event: str) -> float | None:
        """When an event was first written."""
        return dict(reversed(self.events())).get(event)


@dataclass
class Site:
    """One server, as many queues as are needed."""

    server: Server
    folder: Path
    _made: int = field(default=0, init=False)

    @property
    def aws(self) -> dict[str, str]:
        """The environment of any AWS client."""
        return {
            "AWS_ENDPOINT_URL": self.server.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }

    def queue(self, max_receives: int = 3, name: str | None = None) -> Queue:
        """Makes one that nobody has used, with a name of its own or a given one."""
        self._made += 1
        name = name or f"benchmark-{self._made}"
        folder = self.folder / name
        folder.mkdir()
        sqs: Any = boto3.client("sqs")
        dead_url = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
        redrive = {
            "deadLetterTargetArn": arn["Attributes"]["QueueArn"],
            "maxReceiveCount": str(max_receives),
        }
        url = sqs.create_queue(
            QueueName=name,
            Attributes={
                "VisibilityTimeout": str(LEASE_SECONDS),
                "RedrivePolicy": json.dumps(redrive),
            },
        )["QueueUrl"]
        producer: Celery[Any] = Celery("producer", set_as_current=False)
        producer.conf.update(
            broker_url="sqs://",
            task_default_queue=name,
            task_ignore_result=True,
            broker_transport_options={
                "region": REGION,
                "predefined_queues": {name: {"url": url}},
                "sqs_base64_encoding": False,
                "body_encoding": "utf-8",
            },
        )
        return Queue(name, url, dead_url, folder, producer)


@dataclass(frozen=True)
class Contender:
    """A worker that can be started on a queue."""

    name: str
    command: tuple[str, ...]
    environment: Callable[[Queue], Mapping[str, str]]
    leaves: bool
    """It ends by itself when the queue is drained."""
    is_late: bool
    """It holds one message, and deletes it when its task has ended."""

    @contextmanager
    def on(self, site: Site, queue: Queue, **changes: str) -> Generator[Running]:
        """Runs it in a session of its own; whatever is left of it is killed at the end."""
        environment = {
            **site.aws,
            "PATH": os.environ["PATH"],
            "HOME": str(queue.folder),
            "TMPDIR": str(queue.folder),
            JOURNAL: str(queue.journal),
            **self.environment(queue),
            **changes,
        }
        log = queue.folder / "worker.log"
        with log.open("a") as output:
            began_at = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running = Running(process, began_at, log)
        try:
            yield running
        finally:
            running.end()


@dataclass
class Running:
    """A worker process."""

    process: subprocess.Popen[bytes]
    began_at: float
    log: Path

    def wait_for(self, what: Callable[[], T | None], seconds: float) -> T | None:
        """Awaits a value.

        Returns:
            None when it did not come in time.

        Raises:
            SystemExit: The worker ended before.
        """
        give_up_at = time.monotonic() + seconds
        while (value := what()) is None and time.monotonic() < give_up_at:
            if self.process.poll() is not None:
                raise SystemExit(f"a worker ended early:\n{self.log.read_text()[-3000:]}")
            time.sleep(LOOK_SECONDS)
        return value

    def left_at(self, seconds: float) -> float | None:
        """When it ended, in monotonic seconds; None when it did not in time."""
        watched = os.pidfd_open(self.process.pid)
        try:
            ended, _, _ = select.select([watched], [], [], seconds)
            now = time.monotonic()
        finally:
            os.close(watched)
        if not ended:
            return None
        self.process.wait()
        return now

    def memory_mib(self) -> float:
        """Returns the memory of its processes, each shared page divided among its users."""
        total = 0
        for pid in (self.process.pid, *descendants(self.process.pid)):
            with suppress(OSError):  # it has ended meanwhile
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += int(text.partition("\nPss:")[2].split()[0])
        return total / 1024

    def end(self) -> None:
        """Kills what is left, by the session that was made for it."""
        if self.process.poll() is None:
            family = descendants(self.process.pid)
            self.process.kill()
            self.process.wait(END_SECONDS)
            for pid in family:  # they may be gone with their parent
                with suppress(ProcessLookupError):
                    if os.getsid(pid) == self.process.pid:
                        os.kill(pid, signal.SIGKILL)


def taskpacks(
    folder: Path, pack: str = "probe", module: str = "benchmarks.probe_pack"
) -> Contender:
    """Taskpacks' worker, with a pack's module installed as a distribution in a folder."""
    info = folder / f"{pack}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {pack}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[taskpacks]\n{pack} = {module}\n")

    def environment(queue: Queue) -> dict[str, str]:
        return {
            "PYTHONPATH": str(folder),
            "TASKPACKS_STACK": "benchmark",
            "TASKPACKS_PACK": pack,
            "TASKPACKS_DEPLOYMENT": queue.name,
            "TASKPACKS_QUEUE_URL": queue.url,
            "TASKPACKS_VCPUS": "2",
            "TASKPACKS_MEMORY_MIB": "1024",
            "TASKPACKS_IDLE_SECONDS": str(IDLE_SECONDS),
            "TASKPACKS_TASK_TIME_LIMIT_SECONDS": "60",
            "TASKPACKS_URI_SCHEMES": "file",
            "TASKPACKS_MAX_ATTEMPTS": "3",
            "TASKPACKS_RETRY_BACKOFF_SECONDS": "1",
            "TASKPACKS_RETRY_BACKOFF_MAX_SECONDS": "2",
            "TASKPACKS_STOP_GRACE_SECONDS": "20",
        }

    return Contender("taskpacks", ("-m", "worker"), environment, leaves=True, is_late=True)


def plain(
    name: str,
    *,
    blocking: bool,
    options: Mapping[str, float] | None = None,
    late: bool = False,
    prefetch: int = 4,
) -> Contender:
    """A plain Celery worker.

    Args:
        name: Says how it is set.
        blocking: On boto3, without kombu's asynchronous path.
        options: Of the transport: polling_interval, wait_time_seconds.
        late: Messages are deleted when their task has ended, as Taskpacks does.
        prefetch: Messages held at once; 4 is Celery's default.
    """

    def environment(queue: Queue) -> dict[str, str]:
        settings = {
            "queue": queue.name,
            "url": queue.url,
            "region": REGION,
            "blocking": blocking,
            "options": dict(options or {}),
            "celery": {"task_acks_late": late, "worker_prefetch_multiplier": prefetch},
        }
        inherited = os.environ.get("PYTHONPATH")  # may lead to pycurl
        return {SETTINGS: json.dumps(settings), **({"PYTHONPATH": inherited} if inherited else {})}

    command = ("-m", "celery", "-A", "benchmarks.plain_app", "worker")
    pool = ("--pool", "prefork", "--concurrency", "1", "--loglevel", "INFO")
    return Contender(name, (*command, *pool), environment, leaves=False, is_late=late)
