"""What a worker tells about each task: a line of JSON in the log, which CloudWatch reads.

The format is CloudWatch's embedded metric format:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

NAMESPACE: Final = "Taskpacks"


@dataclass(frozen=True, kw_only=True)
class TaskReport:
    """How one receive of a task's message went. No arguments, no results.

    Attributes:
        wait_seconds: From the sending of the message to the task's start; None when SQS did
            not say when it was sent.
        run_seconds: None when the task never started.
    """

    task_id: str
    task_name: str
    outcome: str
    receives: int
    wait_seconds: float | None
    run_seconds: float | None

    def embedded(self, deployment: str, pack: str, now: float) -> dict[str, Any]:
        """The report in the embedded metric format.

        Args:
            deployment: The metrics' dimension.
            pack: The pack's name.
            now: Seconds since the epoch.
        """
        measured = {"WaitSeconds": self.wait_seconds, "RunSeconds": self.run_seconds}
        known = {name: round(value, 3) for name, value in measured.items() if value is not None}
        return {
            "_aws": {
                "Timestamp": int(now * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": NAMESPACE,
                        "Dimensions": [["Deployment"]],
                        "Metrics": [{"Name": name, "Unit": "Seconds"} for name in known],
                    }
                ],
            },
            "Deployment": deployment,
            "Pack": pack,
            "TaskId": self.task_id,
            "TaskName": self.task_name,
            "Outcome": self.outcome,
            "Receives": self.receives,
            **known,
        }


@dataclass(frozen=True)
class Telemetry:
    """Writes reports to standard output, which is the job's log."""

    deployment: str
    pack: str

    def tell(self, report: TaskReport) -> None:
        """Writes one line, in one piece."""
        line = json.dumps(report.embedded(self.deployment, self.pack, time.time()))
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
