"""Ten thousand tasks through three workers and a connection that fails: each is done once."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import boto3
from rich.table import Table

from benchmarks.contenders import ROOT, Contender, Queue, Running, Site

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import Console

TASKS: Final = 10_000
WORKERS: Final = 3
LONGEST_SECONDS: Final = 1200
MAX_RECEIVES: Final = 20
"""The receives of a message: a fault costs one, and no fault may cost a task."""
FAULT_RATE: Final = 0.005
"""The share of each kind of fault, on each kind of call."""
FAULTS: Final = ROOT / "tests" / "worker" / "faults.py"


@contextmanager
def _failing(site: Site) -> Generator[Any]:
    """The tests' proxy that fails on purpose, before the server; None where there is none."""
    if not FAULTS.exists():
        yield None
        return
    sys.path.insert(0, str(FAULTS.parent))
    try:
        faults: Any = importlib.import_module(FAULTS.stem)
    finally:
        sys.path.remove(str(FAULTS.parent))
    with faults.FaultProxy(site.server.url, seed=1) as proxy:
        refused = dict.fromkeys((faults.UNAVAILABLE, faults.DROP_BEFORE), FAULT_RATE)
        for action in (faults.RECEIVE, faults.DELETE, faults.VISIBILITY):
            proxy.rates[action] = {**refused, faults.DROP_AFTER: FAULT_RATE}
        yield proxy


def long_run(site: Site, contender: Contender, console: Console) -> None:
    """Keeps three workers alive until the queue is empty, and counts.

    Raises:
        SystemExit: A task was not done exactly once, a worker crashed, or time ran out.
    """
    queue = site.queue(max_receives=MAX_RECEIVES)
    began_at = time.monotonic()
    ids = queue.send_copies(queue.template("count"), TASKS)
    console.print(f"{TASKS} tasks sent in {time.monotonic() - began_at:.0f} s")
    with _failing(site) as proxy, ExitStack() as stack:
        changes = {"TASKPACKS_MAX_ATTEMPTS": str(MAX_RECEIVES)}
        if proxy is not None:
            changes["AWS_ENDPOINT_URL"] = proxy.url
            changes["TASKPACKS_QUEUE_URL"] = queue.url.replace(site.server.url, proxy.url)
        began_at = time.monotonic()
        codes = _serve(site, queue, contender, changes, stack)
        seconds = time.monotonic() - began_at
        injected: Counter[str] = Counter() if proxy is None else proxy.injected()
    times = Counter(event for event, _ in queue.events())
    dead = _depth(queue.dead_url)
    missing = len(ids - times.keys())
    again = sum(count > 1 for count in times.values())
    crashes = sum(count for code, count in codes.items() if code != 0)
    table = Table(title=f"{TASKS} no-op tasks, {WORKERS} workers, {seconds:.0f} s")
    for heading in ("what", "count", "goal", ""):
        table.add_column(heading)
    for what, count, goal in (
        ("done exactly once", sum(times[each] == 1 for each in ids), TASKS),
        ("never done", missing, 0),
        ("done more than once", again, 0),
        ("in the dead-letter queue", dead, 0),
        ("still in the queue", _depth(queue.url), 0),
        ("workers that crashed", crashes, 0),
    ):
        table.add_row(what, str(count), str(goal), "met" if count == goal else "MISSED")
    table.add_row("workers started", str(codes.total()), "", "")
    table.add_row("faults injected", str(injected.total()), "", "")
    table.add_row("tasks/s", f"{len(times) / seconds:.1f}", "", "")
    console.print(table)
    for fault, count in sorted(injected.items()):
        console.print(f"  {count:5} {fault}")
    if missing or again or dead or crashes:
        raise SystemExit("not every task was done exactly once by workers that all left well")


def _serve(
    site: Site, queue: Queue, contender: Contender, changes: dict[str, str], stack: ExitStack
) -> Counter[int]:
    """Has so many workers run until the queue is empty; returns how they ended."""
    codes: Counter[int] = Counter()
    give_up_at = time.monotonic() + LONGEST_SECONDS
    workers: list[Running] = []
    while True:
        for worker in tuple(workers):
            if (code := worker.process.poll()) is not None:
                workers.remove(worker)
                codes[code] += 1
        left = _depth(queue.url)
        if not left and not workers:
            return codes
        if time.monotonic() > give_up_at:
            raise SystemExit(f"{left} messages are left after {LONGEST_SECONDS} s")
        while left and len(workers) < WORKERS:
            workers.append(stack.enter_context(contender.on(site, queue, **changes)))
        time.sleep(1)


def _depth(url: str) -> int:
    sqs: Any = boto3.client("sqs", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    names = ["", "NotVisible", "Delayed"]
    wanted = [f"ApproximateNumberOfMessages{name}" for name in names]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
    return sum(int(found[name]) for name in wanted)
