"""Batch's scheduler: moves jobs through their statuses and runs them as local processes."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from local.cloud import capacity
from local.cloud.attempts import Attempt
from local.cloud.events import JobChanged
from local.cloud.jobs import ENDED, LocalJob
from local.cloud.retries import Ending, runs_again

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.cloud.attempts import Runner
    from local.cloud.events import EventStream

_LEAVE_SECONDS: Final = 1.5
"""Between SIGTERM and SIGKILL when the whole cloud ends."""
_LOOK_SECONDS: Final = 0.2
"""How often it looks for what no job reports: a changed queue or compute environment."""
DEPENDENCY_FAILED: Final = "Dependent Job failed"


class Scheduler:
    """One thread that chooses, and one for each job that runs."""

    def __init__(self, runner: Runner, events: EventStream, max_running_jobs: int) -> None:
        self._runner = runner
        self._events = events
        self._max_running_jobs = max_running_jobs
        self._changed = threading.Condition(threading.RLock())
        self._waiting: list[LocalJob] = []
        self._running: dict[str, Attempt] = {}
        self._parents: dict[str, LocalJob] = {}
        self._submitted = 0
        self._reported: set[str] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._schedule, name="batch-scheduler", daemon=True)

    def start(self) -> None:
        """Begins to schedule."""
        self._thread.start()

    def submit(self, job: LocalJob, retry_strategy: dict[str, Any] | None) -> None:
        """Takes a job, or the children of an array job's parent."""
        with self._changed:
            leaves = job.children or [job]
            for leaf in (job, *job.children):
                leaf.retry_strategy = retry_strategy
                leaf.created_at = self._events.milliseconds()
            for leaf in leaves:
                self._submitted += 1
                leaf.order = self._submitted
                self._parents[leaf.job_id] = job
            self._waiting.extend(leaves)
            for each in leaves if job in leaves else [job, *leaves]:
                self._announce(each)
            self._changed.notify_all()

    def end(self, job: LocalJob, reason: str, *, running_too: bool) -> None:
        """Cancels or terminates a job, or all children of an array job's parent.

        Args:
            job: The job or the parent.
            reason: What its status reason becomes.
            running_too: TerminateJob; CancelJob leaves alone what has started.
        """
        with self._changed:
            for leaf in job.children or [job]:
                attempt = self._running.get(leaf.job_id)
                if attempt is not None and running_too:
                    leaf.stop_reason = leaf.stop_reason or reason
                    attempt.stop.set()
                elif leaf in self._waiting:
                    self._waiting.remove(leaf)
                    self._end(leaf, "FAILED", reason)
            self._changed.notify_all()

    def unfinished(self) -> list[tuple[LocalJob, str | None]]:
        """All jobs that have not ended, with the compute environment of those that have started."""
        with self._changed:
            running = [(attempt.job, attempt.environment) for attempt in self._running.values()]
            return [*running, *((job, None) for job in self._waiting)]

    def close(self) -> None:
        """Ends every process; nothing starts any more."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            attempts = list(self._running.values())
            for attempt in attempts:
                attempt.job.stop_reason = attempt.job.stop_reason or "The local cloud ends"
                attempt.stop.set()
            self._changed.notify_all()
        try:
            until = time.monotonic() + _LEAVE_SECONDS
            for attempt in attempts:
                if attempt.thread is not None:
                    attempt.thread.join(max(0.0, until - time.monotonic()))
        finally:
            for attempt in attempts:
                if attempt.process is not None:
                    attempt.process.kill()
            for thread in [self._thread, *(attempt.thread for attempt in attempts)]:
                if thread is not None and thread.is_alive():
                    thread.join(_LEAVE_SECONDS)

    # Choosing

    def _schedule(self) -> None:
        while True:
            with self._changed:
                if self._closing:
                    return
                try:
                    self._release()
                    self._start()
                except Exception as error:  # noqa: BLE001 - it must be seen, and the next job run
                    self._events.error(f"scheduling jobs failed: {type(error).__name__}: {error}")
                self._changed.wait(_LOOK_SECONDS)

    def _release(self) -> None:
        """SUBMITTED → PENDING → RUNNABLE, once what a job depends on has succeeded."""
        for job in [job for job in self._waiting if job.status in {"SUBMITTED", "PENDING"}]:
            self._enter(job, "PENDING")
            depends_on = [job.all_jobs.get(each["jobId"]) for each in job.depends_on or ()]
            statuses = {each.status for each in depends_on if each is not None}
            if "FAILED" in statuses:
                self._waiting.remove(job)
                self._end(job, "FAILED", DEPENDENCY_FAILED)
            elif statuses <= {"SUCCEEDED"}:
                self._enter(job, "RUNNABLE")

    def _start(self) -> None:
        free = self._max_running_jobs - len(self._running)
        runnable = [job for job in self._waiting if job.status == "RUNNABLE"]
        queues = {job.job_queue.arn: _job_queue(job.job_queue) for job in runnable}
        waiting = [
            capacity.Waiting(job.job_id, job.job_queue.arn, job.vcpus)
            for job in _heads(runnable, max(free, 1))
        ]
        for each in waiting:
            self._tell_when_stuck(each, queues[each.job_queue])
        used: dict[str, float] = {}
        for attempt in self._running.values():
            used[attempt.environment] = used.get(attempt.environment, 0) + attempt.vcpus
        chosen = capacity.admitted(waiting, queues.values(), used, free)
        for job_id, environment in chosen.items():
            job = next(job for job in self._waiting if job.job_id == job_id)
            self._waiting.remove(job)
            attempt = Attempt(job, environment, job.vcpus, len(job.attempts) + 1)
            attempt.thread = threading.Thread(
                target=self._run, args=(attempt,), name=f"batch-job-{job_id}", daemon=True
            )
            self._running[job_id] = attempt
            job.exit_code = job.reason = job.log_stream_name = job.job_stopped_reason = None
            job.task_arn = _task_arn(job, environment)
            self._enter(job, "STARTING")
            attempt.thread.start()

    def _tell_when_stuck(self, job: capacity.Waiting, queue: capacity.JobQueue) -> None:
        if job.job_id not in self._reported and capacity.can_never_run(job, queue):
            self._reported.add(job.job_id)
            largest = max((each.max_vcpus for each in queue.environments), default=0)
            self._events.error(
                f"job {job.job_id} can never run: it needs {job.vcpus:g} vCPUs and no compute "
                f"environment of job queue {queue.name} has more than {largest:g} (maxvCpus). It "
                "stays RUNNABLE and holds back the jobs behind it, as on AWS; terminate it."
            )

    # Running

    def _run(self, attempt: Attempt) -> None:
        def on_running() -> None:
            with self._changed:
                attempt.job.started_at = attempt.started_at
                if self._closing and attempt.process is not None:
                    attempt.process.kill()
                self._enter(attempt.job, "RUNNING")

        self._ended(attempt, self._runner.run(attempt, on_running))

    def _ended(self, attempt: Attempt, ending: Ending) -> None:
        job = attempt.job
        may_retry = not attempt.made_to_end and not attempt.stop.is_set()
        with self._changed:
            job.exit_code, job.reason = ending.exit_code, ending.reason
            container = {
                "exitCode": ending.exit_code,
                "reason": ending.reason,
                "logStreamName": job.log_stream_name,
                "taskArn": job.task_arn,
            }
            job.attempts.append(
                {
                    "container": {
                        name: value for name, value in container.items() if value is not None
                    },
                    "startedAt": attempt.started_at or self._events.milliseconds(),
                    "stoppedAt": self._events.milliseconds(),
                    "statusReason": ending.status_reason,
                }
            )
            del self._running[job.job_id]
            strategy = job.retry_strategy or job.job_definition.retry_strategy
            if ending.succeeded and not attempt.made_to_end:
                self._end(job, "SUCCEEDED", ending.status_reason)
            elif may_retry and runs_again(strategy, attempt.number, ending):
                self._waiting.append(job)
                self._waiting.sort(key=lambda waiting: waiting.order)
                job.job_stopped_reason = ending.status_reason
                self._enter(job, "RUNNABLE")
            else:
                self._end(job, "FAILED", job.stop_reason or ending.status_reason)
            self._changed.notify_all()

    # Statuses

    def _end(self, job: LocalJob, status: str, reason: str) -> None:
        job.job_stopped = True
        job.stopped_at = self._events.milliseconds()
        job.job_stopped_reason = reason
        self._enter(job, status)

    def _enter(self, job: LocalJob, status: str) -> None:
        if job.status == status:
            return
        job.status = status
        self._announce(job)
        parent = self._parents[job.job_id]
        if parent is not job and (status in ENDED or parent.announced == "SUBMITTED"):
            self._announce(parent)

    def _announce(self, job: LocalJob) -> None:
        """Tells of a job's status, once."""
        status = job.status
        if status == job.announced:
            return
        job.announced = status
        if status in ENDED and job.children:
            job.job_stopped = True
            failed = any(child.status == "FAILED" for child in job.children)
            job.job_stopped_reason = "Array Child Job failed" if failed else None
        self._events.emit(
            JobChanged(
                self._events.now(),
                job_id=job.job_id,
                name=job.job_name,
                status=status,
                exit_code=job.exit_code,
                reason=job.job_stopped_reason,
                attempt=len(job.attempts) + (status in {"STARTING", "RUNNING"}),
            )
        )


def _task_arn(job: LocalJob, environment: str) -> str:
    """Names the ECS cluster of the compute environment.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html#ecs-resource-ids
    """
    (cluster,) = [each.ecs_arn for each in job.job_queue.environments if each.name == environment]
    return f"{cluster.replace(':cluster/', ':task/')}/{uuid.uuid4().hex}"


def _job_queue(queue: Any) -> capacity.JobQueue:
    return capacity.JobQueue(
        name=queue.arn,
        priority=int(queue.priority),
        environments=tuple(
            capacity.Environment(
                name=environment.name,
                max_vcpus=float((environment.compute_resources or {}).get("maxvCpus", "inf")),
                enabled=environment.state != "DISABLED",
            )
            for environment in queue.environments
        ),
    )


def _heads(jobs: Sequence[LocalJob], count: int) -> list[LocalJob]:
    """The first jobs of each job queue: no more than `count` of one can start at once."""
    taken: dict[str, int] = {}
    heads: list[LocalJob] = []
    for job in jobs:
        taken[job.job_queue.arn] = taken.get(job.job_queue.arn, 0) + 1
        if taken[job.job_queue.arn] <= count:
            heads.append(job)
    return heads
