"""Ten thousand tasks under faults and kills: each id has one final outcome, and few run twice.

Three workers receive through a proxy that fails on purpose; a worker, or its process of tasks, is
killed every few seconds. Then it is counted, from the tasks' journal and the proxy's record, what
was executing or waiting for its deletion at each kill: no more tasks may have run again.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import boto3
from rich.table import Table

from benchmarks.contenders import REGION, ROOT, Contender, Queue, Running, Site
from benchmarks.tally import Deletion, Kill, Run, Tally
from taskpacks.contract import attempts_key
from worker.shutdown import descendants

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from rich.console import Console

TASKS: Final = 10_000
WORKERS: Final = 3
LONGEST_SECONDS: Final = 900
KILL_SECONDS: Final = (1.0, 3.0)
"""Between two kills, at least and at most."""
LOOK_SECONDS: Final = 0.25
MAX_RECEIVES: Final = 50
"""The receives of a message: a fault or a kill costs one, and none may cost a task."""
FAULT_RATE: Final = 0.005
"""The share of each kind of fault, on each kind of call."""
BLACK_HOLE_RATE: Final = 0.0005
FAULTS: Final = ROOT / "tests" / "worker" / "faults.py"
LEFT_WELL: Final = frozenset({0, 69})
"""Exit codes of a worker that was not killed: drained, or SQS did not serve it at the start."""


@contextmanager
def _failing(site: Site, seed: int) -> Generator[Any]:
    """The tests' proxy that fails on purpose, before the server."""
    sys.path.insert(0, str(FAULTS.parent))
    try:
        faults: Any = importlib.import_module(FAULTS.stem)
    finally:
        sys.path.remove(str(FAULTS.parent))
    with faults.FaultProxy(site.server.url, seed=seed) as proxy:
        kinds = [faults.UNAVAILABLE, faults.EXPIRED, faults.DROP_BEFORE, faults.HTML]
        kinds += [faults.DROP_AFTER, faults.FAILED_AFTER, faults.TRUNCATED]
        rates = {**dict.fromkeys(kinds, FAULT_RATE), faults.BLACK_HOLE: BLACK_HOLE_RATE}
        for action in (faults.RECEIVE, faults.DELETE, faults.VISIBILITY, faults.ATTRIBUTES):
            proxy.rates[action] = rates
        for action in (faults.GET, faults.PUT, faults.UPDATE, faults.PUT_SEVERAL):
            proxy.rates[action] = {**rates, faults.THROTTLED: FAULT_RATE}
        yield proxy


def _table(name: str) -> str:
    """Makes a result table; returns its name."""
    dynamodb: Any = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


class Crew:
    """Three workers, and the kills."""

    def __init__(self, site: Site, contender: Contender, stack: ExitStack, seed: int) -> None:
        self.codes: Counter[int] = Counter()
        self.kills: list[Kill] = []
        self.started = 0
        self._site = site
        self._contender = contender
        self._stack = stack
        self._chance = random.Random(seed)  # noqa: S311 -- a seeded load, no secret
        self._workers: list[Running] = []

    def serve(self, queue: Queue, changes: dict[str, str]) -> None:
        """Has so many workers run until the queue is empty.

        Raises:
            SystemExit: Messages are left after `LONGEST_SECONDS`.
        """
        give_up_at = time.monotonic() + LONGEST_SECONDS
        kill_at = time.monotonic() + KILL_SECONDS[1]
        while True:
            self._collect()
            left = _depth(queue.url)
            if not left and not self._workers:
                return
            if time.monotonic() > give_up_at:
                raise SystemExit(f"{left} messages are left after {LONGEST_SECONDS} s")
            while left and len(self._workers) < WORKERS:
                worker = self._contender.on(self._site, queue, **changes)
                self._workers.append(self._stack.enter_context(worker))
                self.started += 1
            if left and time.monotonic() >= kill_at:
                self._kill()
                kill_at = time.monotonic() + self._chance.uniform(*KILL_SECONDS)
            time.sleep(LOOK_SECONDS)

    def _collect(self) -> None:
        for worker in tuple(self._workers):
            if (code := worker.process.poll()) is not None:
                self._workers.remove(worker)
                self.codes[code] += 1

    def _kill(self) -> None:
        """SIGKILL to a worker, and with it its process of tasks, or to that process alone."""
        worker = self._chance.choice(self._workers)
        family = descendants(worker.process.pid)
        pid = self._chance.choice([worker.process.pid, *family])
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGKILL)
            at = time.monotonic()
            if pid == worker.process.pid:
                worker.process.wait()
            self.kills.append(Kill(at=at, pid=pid))


def _deletions(proxy: Any, ids: Iterable[str]) -> Generator[Deletion]:
    """The deletions that the server executed, in the proxy's record."""
    known = set(ids)
    task_of: dict[str, str] = {}
    for call in tuple(proxy.calls):
        for message in call.answer.get("Messages", []):
            (task_id,) = known.intersection(message["Body"].split('"'))
            task_of[message["ReceiptHandle"]] = task_id
        successful = {each["Id"] for each in call.answer.get("Successful", [])}
        for entry in call.parameters.get("Entries", []):
            if entry["Id"] in successful and entry["ReceiptHandle"] in task_of:
                # The record has the time of day, the journal the monotonic clock.
                at = call.at - time.time() + time.monotonic()
                yield Deletion(at=at, task_id=task_of[entry["ReceiptHandle"]])


def _noted_done(table: str, deployment: str, ids: Iterable[str]) -> int:
    """How many tasks' items say that they are done."""
    dynamodb: Any = boto3.client("dynamodb")
    pages = dynamodb.get_paginator("scan").paginate(TableName=table)
    done = {item["id"]["S"] for page in pages for item in page["Items"] if "done" in item}
    return sum(attempts_key(deployment, each) in done for each in ids)


def long_run(site: Site, contender: Contender, console: Console, seed: int) -> None:
    """Keeps three workers alive until the queue is empty, and counts.

    Raises:
        SystemExit: A promise is broken, a worker crashed, or time ran out.
    """
    console.print(f"seed {seed}")
    queue = site.queue(max_receives=MAX_RECEIVES)
    table = _table("long-run-results")
    template = queue.template("count")
    ids = queue.send_copies(template, TASKS)
    with _failing(site, seed) as proxy, ExitStack() as stack:
        changes = {
            "AWS_ENDPOINT_URL": proxy.url,
            "TASKPACKS_QUEUE_URL": queue.url.replace(site.server.url, proxy.url),
            "TASKPACKS_RESULT_BACKEND": f"dynamodb://@{REGION}/{table}?ttl_seconds=3600",
            "TASKPACKS_MAX_ATTEMPTS": str(MAX_RECEIVES),
            "TASKPACKS_RETRY_BACKOFF_SECONDS": "0",
        }
        crew = Crew(site, contender, stack, seed)
        began_at = time.monotonic()
        crew.serve(queue, changes)
        seconds = time.monotonic() - began_at
        injected: Counter[str] = proxy.injected()
        deletions = list(_deletions(proxy, ids))
    tally = Tally(
        ids=frozenset(ids),
        runs=[Run.of(event, at) for event, at in queue.events()],
        deletions=deletions,
        kills=crew.kills,
        dead=_depth(queue.dead_url),
    )
    checks = {
        **tally.checks,
        "tasks that are noted as done": (_noted_done(table, queue.name, ids), TASKS),
        "still in the queue": (_depth(queue.url), 0),
        "workers that crashed": (_crashes(crew), 0),
    }
    report = Table(title=f"{TASKS} no-op tasks, {WORKERS} workers, {seconds:.0f} s")
    for heading in ("what", "count", "goal", ""):
        report.add_column(heading)
    for what, (count, goal) in checks.items():
        report.add_row(what, str(count), str(goal), "met" if count == goal else "MISSED")
    repeats, at_risk = len(tally.repeats), sum(tally.at_risk)
    report.add_row(
        "repeats", str(repeats), f"<= {at_risk}", "met" if repeats <= at_risk else "MISSED"
    )
    for what, count in (
        ("runs", len(tally.runs)),
        ("kills", len(crew.kills)),
        ("executing or waiting for deletion at a kill, sum", at_risk),
        ("workers started", crew.started),
        ("faults injected", injected.total()),
    ):
        report.add_row(what, str(count), "", "")
    report.add_row("tasks/s", f"{TASKS / seconds:.1f}", "", "")
    console.print(report)
    console.print("executing or waiting for deletion at each kill:", *tally.at_risk)
    for fault, count in sorted(injected.items()):
        console.print(f"  {count:5} {fault}")
    if repeats > at_risk or any(count != goal for count, goal in checks.values()):
        raise SystemExit(f"a promise is broken: see MISSED above; seed {seed}")


def _crashes(crew: Crew) -> int:
    """Workers that ended otherwise than drained, unserved at the start, or killed on purpose."""
    return sum(
        count for code, count in crew.codes.items() if code not in (*LEFT_WELL, -signal.SIGKILL)
    )


def _depth(url: str) -> int:
    sqs: Any = boto3.client("sqs", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    names = ["", "NotVisible", "Delayed"]
    wanted = [f"ApproximateNumberOfMessages{name}" for name in names]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
    return sum(int(found[name]) for name in wanted)
