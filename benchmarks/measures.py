"""The measures of a worker: how it serves a queue, and how it leaves when it is asked to."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import boto3

from benchmarks.contenders import IDLE_SECONDS

if TYPE_CHECKING:
    from benchmarks.contenders import Contender, Site

DELETE: Final = frozenset({"DeleteMessage", "DeleteMessageBatch"})
OURS: Final = frozenset({"SendMessage", "SendMessageBatch", "PurgeQueue", "CreateQueue"})
"""Calls that no worker makes."""


@dataclass(frozen=True)
class Throughput:
    """How one worker served a queue of no-op tasks."""

    start_seconds: float
    tasks_per_second: float
    calls_per_task: float
    leave_seconds: float | None
    memory_mib: float


def throughput(site: Site, contender: Contender, tasks: int, window_seconds: float) -> Throughput:
    """Serves a queue of no-op tasks: all of them, or as many as a window lets.

    A worker that leaves by itself is not cut short.
    """
    queue = site.queue()
    template = queue.template("nothing")
    queue.send("mark", "first")
    queue.send_copies(template, tasks - 2)
    queue.send("mark", "last")
    with contender.on(site, queue) as worker:
        first = worker.wait_for(lambda: queue.at("first"), 20)
        if first is None:
            raise SystemExit(f"no task was taken:\n{worker.log.read_text()[-3000:]}")
        last = worker.wait_for(lambda: queue.at("last"), 60 if contender.leaves else window_seconds)
        calls = site.server.calls(queue.name)
        if last is None:
            sqs: Any = boto3.client("sqs")
            sqs.purge_queue(QueueUrl=queue.url)
        time.sleep(IDLE_SECONDS / 2)  # at rest now, and not gone yet
        memory = worker.memory_mib()
        if last is not None:
            calls = site.server.calls(queue.name)
        left = worker.left_at(20) if contender.leaves else None
    calls = [call for call in calls if call.at >= worker.began_at and call.action not in OURS]
    deletions = [call for call in calls if call.action in DELETE]
    deleted = sum(call.messages for call in deletions)
    first_call, last_call = deletions[0], deletions[-1]
    asked = [call for call in calls if call.at <= last_call.at and not call.is_heartbeat]
    return Throughput(
        start_seconds=first - worker.began_at,
        tasks_per_second=(deleted - first_call.messages) / (last_call.at - first_call.at),
        calls_per_task=len(asked) / deleted,
        leave_seconds=left - last if left is not None and last is not None else None,
        memory_mib=memory,
    )


@dataclass(frozen=True)
class Stopped:
    """How one worker left after a SIGTERM in mid-task; None when it had to be killed."""

    start_seconds: float
    leave_seconds: float | None


def stopped(site: Site, contender: Contender, task_seconds: float, patience: float) -> Stopped:
    """Sends SIGTERM one second into a task, and waits for the worker to leave."""
    queue = site.queue()
    queue.send("sleep", task_seconds)
    with contender.on(site, queue) as worker:
        began = worker.wait_for(lambda: queue.at("begin"), 20)
        if began is None:
            raise SystemExit(f"no task was taken:\n{worker.log.read_text()[-3000:]}")
        time.sleep(1)
        worker.process.send_signal(signal.SIGTERM)
        left = worker.left_at(task_seconds + patience)
    end = queue.at("end")
    return Stopped(
        start_seconds=began - worker.began_at,
        leave_seconds=left - end if left is not None and end is not None else None,
    )
