"""Writes a worker's reports: a line of JSON per task, per dead letter and per worker.

Lines about tasks and workers are in CloudWatch's embedded metric format, which turns them into
metrics without a call:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taskpacks.contract import METRICS_NAMESPACE, metric_dimensions
from taskpacks.errors import shortened

if TYPE_CHECKING:
    from worker.usage import TaskUsage


@dataclass(frozen=True, kw_only=True)
class TaskReport:
    """How one receive of a task's message went. No arguments, no results.

    Attributes:
        outcome: done, retried, rejected, failed, timed_out, lost, escalated, cancelled or
            interrupted.
        receives: How often the message was received, this time included.
        wait_seconds: From the sending of the message to the task's start; None when SQS did
            not say when it was sent.
        run_seconds: None when the task never started.
        usage: What this attempt used.
    """

    task_id: str
    task_name: str
    outcome: str
    receives: int
    wait_seconds: float | None
    run_seconds: float | None
    usage: TaskUsage


@dataclass
class Telemetry:
    """Writes to standard output, which is the job's log. Safe in all threads."""

    stack: str
    deployment: str
    pack: str
    processes: int = 1
    tasks: int = 0
    busy_seconds: float = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def task(self, report: TaskReport) -> None:
        """Tells how a task went."""
        with self._lock:
            self.tasks += 1
            # A worker is busy when all its processes are; so this is never above its time.
            self.busy_seconds += (report.run_seconds or 0) / self.processes
        self._write(
            {"WaitSeconds": report.wait_seconds, "RunSeconds": report.run_seconds},
            TaskId=report.task_id,
            TaskName=report.task_name,
            Outcome=report.outcome,
            Receives=report.receives,
            **_facts(report.usage),
        )

    def dead_letter(
        self, *, task_id: str, task_name: str, message_id: str, attempts: int, error: str
    ) -> None:
        """Tells why a message goes to the dead-letter queue; SQS keeps no such note."""
        self._write(
            {},
            DeadLetter=message_id,
            TaskId=task_id,
            TaskName=task_name,
            Attempts=attempts,
            Error=shortened(error),
        )

    def worker(self, *, left_because: str, seconds: float) -> None:
        """Tells, at its end, what the worker did with its time."""
        self._write(
            {"WorkerSeconds": seconds, "BusySeconds": self.busy_seconds},
            LeftBecause=left_because,
            Tasks=self.tasks,
        )

    def _write(self, measured: dict[str, float | None], **facts: Any) -> None:
        line = json.dumps(
            embedded(
                measured,
                metric_dimensions(self.stack, self.deployment),
                {"Pack": self.pack, **facts},
            )
        )
        with self._lock:  # one line in one piece
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def _facts(usage: TaskUsage) -> dict[str, float]:
    """Facts, and no metrics: each metric of each name of a task would cost."""
    known = {
        "CpuSeconds": usage.cpu_seconds,
        "PeakMemoryBytes": usage.peak_memory_bytes,
        "ScratchBytes": usage.scratch_bytes,
    }
    return {name: round(value, 3) for name, value in known.items() if value is not None}


def embedded(
    measured: dict[str, float | None], dimensions: dict[str, str], facts: dict[str, Any]
) -> dict[str, Any]:
    """A line in the embedded metric format; without metrics, when nothing was measured.

    Args:
        measured: Metric -> seconds; None is left out.
        dimensions: The metrics' own, which stand in the line whether there are metrics or not.
        facts: What else stands in the line.
    """
    known = {name: round(value, 3) for name, value in measured.items() if value is not None}
    if not known:
        return {**dimensions, **facts}
    metrics = {
        "Timestamp": int(time.time() * 1000),
        "CloudWatchMetrics": [
            {
                "Namespace": METRICS_NAMESPACE,
                "Dimensions": [list(dimensions)],
                "Metrics": [{"Name": name, "Unit": "Seconds"} for name in known],
            }
        ],
    }
    return {"_aws": metrics, **dimensions, **facts, **known}
