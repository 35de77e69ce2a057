"""How far the demo is: facts from the cloud's events and its API, by deployment. No display."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from local.cloud import CloudEvent, FunctionLine, JobChanged, JobSubmitted, LogLine
from taskpacks.contract import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

ENDED: Final = ("SUCCEEDED", "FAILED")
NOT_FINAL: Final = ("retried", "interrupted", "escalated")
"""Outcomes after which the task comes again by itself."""
DEPTH: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


@dataclass
class Task:
    """A sample task, from its sending to its report."""

    name: str
    deployment: str
    outcome: str | None = None
    wait_seconds: float | None = None
    run_seconds: float | None = None

    @property
    def failed(self) -> bool:
        """It was reported to have ended, and not well."""
        return self.outcome not in (None, "done", *NOT_FINAL)


@dataclass(frozen=True)
class DecisionLine:
    """A decision of the launcher for a deployment, with its reason."""

    deployment: str
    verb: str
    reason: str

    @property
    def halts(self) -> bool:
        """No worker is started until somebody does something, or time has passed."""
        return self.verb == "halt"


@dataclass
class DeploymentProgress:
    """The facts about one deployment.

    Attributes:
        depth: Visible, in flight and delayed messages, as SQS counts them.
        alarms: Alarm's name -> its state, in CloudWatch's words.
        workers: Job id -> its status, in Batch's words; children of array jobs, not their
            parents.
    """

    name: str
    queue_url: str
    queue_name: str
    dead_letter_url: str
    job_queue: str
    depth: tuple[int, int, int] = (0, 0, 0)
    alarms: dict[str, str] = field(default_factory=dict[str, str])
    workers: dict[str, str] = field(default_factory=dict[str, str])
    dead: int = 0
    """Messages in its dead-letter queue."""
    refused: bool = False
    """A worker of it ended before its first message, as starting it again would."""
    decision: DecisionLine | None = None
    """The launcher's latest; None in mode `alarms`, and before it was asked."""
    last_task_at: datetime | None = None
    last_exit_at: datetime | None = None

    @property
    def working(self) -> int:
        """Workers that have not ended yet."""
        return sum(status not in ENDED for status in self.workers.values())

    @property
    def exit_delay_seconds(self) -> float | None:
        """From the end of the last task to the exit of the last worker."""
        if self.last_task_at is None or self.last_exit_at is None:
            return None
        return (self.last_exit_at - self.last_task_at).total_seconds()


class Progress:
    """All deployments and all sample tasks. Safe to use from several threads."""

    def __init__(self, deployments: Mapping[str, Mapping[str, str]]) -> None:
        """Starts with the stack's output `deployments`."""
        self._lock = threading.RLock()
        self._arrays: set[str] = set()
        self.deployments = {
            name: DeploymentProgress(
                name=name,
                queue_url=facts["queue_url"],
                queue_name=facts["queue_name"],
                dead_letter_url=facts["dead_letter_url"],
                job_queue=facts["job_queue"],
            )
            for name, facts in deployments.items()
        }
        self.tasks: dict[str, Task] = {}

    def sent(self, task_id: str, task: Task) -> None:
        """Notes a task that was sent."""
        with self._lock:
            self.tasks[task_id] = task

    def of(self, deployment: str) -> list[Task]:
        """The tasks that were sent to a deployment."""
        with self._lock:
            return [task for task in self.tasks.values() if task.deployment == deployment]

    def unfinished(self) -> int:
        """Tasks without a final report."""
        with self._lock:
            return sum(task.outcome in (None, *NOT_FINAL) for task in self.tasks.values())

    def unsuccessful(self) -> list[Task]:
        """Tasks that were reported, and not as done."""
        with self._lock:
            return [task for task in self.tasks.values() if task.failed]

    def at_rest(self) -> bool:
        """Nothing waits, nothing runs, every worker has left."""
        with self._lock:
            return all(
                made.working == 0 and sum(made.depth) == 0 for made in self.deployments.values()
            )

    def workers_left(self) -> bool:
        """No worker is at work."""
        with self._lock:
            return all(made.working == 0 for made in self.deployments.values())

    def on_event(self, event: CloudEvent) -> None:
        """Takes in what the cloud says."""
        with self._lock:
            match event:
                case JobSubmitted():
                    self._submitted(event)
                case JobChanged():
                    self._changed(event)
                case LogLine():
                    self._reported(event)
                case FunctionLine():
                    self._decided(event)
                case _:
                    pass

    def _submitted(self, event: JobSubmitted) -> None:
        if event.array_size:
            self._arrays.add(event.job_id)
        made = self._with_job_queue(event.queue)
        if made is None:
            return
        if event.array_size is None:
            made.workers[event.job_id] = "SUBMITTED"
        for index in range(event.array_size or 0):
            made.workers[f"{event.job_id}:{index}"] = "SUBMITTED"

    def _changed(self, event: JobChanged) -> None:
        for made in self.deployments.values():
            if event.job_id in made.workers:
                made.workers[event.job_id] = event.status
                if event.status in ENDED:
                    made.last_exit_at = event.when.real
                if event.exit_code in (ExitCode.SETTINGS_REFUSED, ExitCode.QUEUE_UNUSABLE):
                    made.refused = True

    def _reported(self, event: LogLine) -> None:
        report = task_report(event.line)
        if report is None or report["TaskId"] not in self.tasks:
            return
        task = self.tasks[report["TaskId"]]
        task.outcome = report["Outcome"]
        task.wait_seconds = report.get("WaitSeconds")
        task.run_seconds = report.get("RunSeconds")
        self.deployments[task.deployment].last_task_at = event.when.real

    def _decided(self, event: FunctionLine) -> None:
        decision = decision_of(event.line)
        # One that stands down leaves the deciding to another.
        if decision and decision.verb != "stand_down" and decision.deployment in self.deployments:
            self.deployments[decision.deployment].decision = decision

    def _with_job_queue(self, job_queue: str) -> DeploymentProgress | None:
        for made in self.deployments.values():
            if job_queue in (made.job_queue, made.job_queue.rpartition("/")[2]):
                return made
        return None

    def observe(self, sqs: Any, cloudwatch: Any) -> None:
        """Asks the cloud for depths and alarm states."""
        alarms = cloudwatch.describe_alarms()["MetricAlarms"]
        for made in self.deployments.values():
            attributes = sqs.get_queue_attributes(
                QueueUrl=made.queue_url, AttributeNames=list(DEPTH)
            )["Attributes"]
            visible, in_flight, delayed = (int(attributes[name]) for name in DEPTH)
            dead = sqs.get_queue_attributes(
                QueueUrl=made.dead_letter_url, AttributeNames=list(DEPTH[:1])
            )["Attributes"]
            states = {
                alarm["AlarmName"]: alarm["StateValue"]
                for alarm in alarms
                if {"Name": "QueueName", "Value": made.queue_name} in _dimensions(alarm)
            }
            with self._lock:
                made.depth = (visible, in_flight, delayed)
                made.dead = int(dead[DEPTH[0]])
                made.alarms = states


def _dimensions(alarm: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns the dimensions of an alarm's metric, or of all the metrics of its math."""
    inner = (metric.get("MetricStat") for metric in alarm.get("Metrics", ()))
    return [
        *alarm.get("Dimensions", ()),
        *(each for stat in inner if stat for each in stat["Metric"]["Dimensions"]),
    ]


def task_report(line: str) -> dict[str, Any] | None:
    """The worker's report on a task, when a line of its log is one."""
    return _with_keys(line, "TaskId", "Outcome")


def decision_of(line: str) -> DecisionLine | None:
    """The launcher's decision, when a line of a function's log is one."""
    found = _with_keys(line, "Deployment", "Verb", "Reason")
    return DecisionLine(found["Deployment"], found["Verb"], found["Reason"]) if found else None


def doorman_of(line: str) -> dict[str, str] | None:
    """The doorman's doings and problems by deployment, when a line of a function's log is its."""
    found = _with_keys(line, "Doorman", "Problems")
    return {**found["Doorman"], **found["Problems"]} if found else None


def log_record(line: str) -> dict[str, Any] | None:
    """A record of the worker's log, when a line is one."""
    return _with_keys(line, "level", "logger", "message")


def _with_keys(line: str, *keys: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and all(key in found for key in keys) else None
