"""One attempt of a Batch job: its process, its log, its time-out."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from local.cloud.events import LogLine
from local.cloud.job_logs import LogStream, log_of
from local.cloud.process import (
    CannotStartError,
    JobProcess,
    added_by_the_platform,
    base_environment,
    merged_environment,
    with_parameters,
)
from local.cloud.retries import Ending
from taskpacks import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from local.cloud.events import EventStream
    from local.cloud.jobs import LocalJob

_READ_SECONDS: Final = 0.05

EXITED: Final = "Essential container in task exited"
TIMED_OUT: Final = "Job attempt duration exceeded timeout"
FAILED_TO_START: Final = "Task failed to start"


@dataclass
class Attempt:
    """An attempt that runs."""

    job: LocalJob
    environment: str
    """Name of the compute environment."""
    vcpus: float
    number: int
    """Counts from 1."""
    thread: threading.Thread | None = None
    process: JobProcess | None = None
    """Set once it started."""
    started_at: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    """Someone asked it to end, for the job's `stop_reason`."""
    made_to_end: bool = False
    """It was terminated or took too long: then there is no other attempt."""


class Runner:
    """Runs attempts, each in the thread that calls it."""

    def __init__(
        self,
        *,
        events: EventStream,
        logs: Any,
        environment: Mapping[str, str],
        program_folder: Path,
        scratch_folder: Path,
        on_line: Callable[[str], None],
    ) -> None:
        """Takes what all jobs have in common.

        Args:
            events: Where log lines and errors go.
            logs: A CloudWatch Logs client.
            environment: What points a process at the cloud; it wins over the job's own.
            program_folder: Where jobs run.
            scratch_folder: Where each attempt gets a folder, removed when it ends.
            on_line: Called with each line that a job prints.
        """
        self._on_line = on_line
        self._events = events
        self._logs = logs
        self._environment = environment
        self._program_folder = program_folder
        self._scratch_folder = scratch_folder

    def run(self, attempt: Attempt, on_running: Callable[[], None]) -> Ending:
        """Runs an attempt to its end.

        Args:
            attempt: The attempt.
            on_running: Called once its process exists.

        Returns:
            How it ended; whatever happens, nothing is raised and nothing of it runs on.
        """
        job = attempt.job
        scratch = self._scratch_folder / f"{job.job_id.replace(':', '-')}-{attempt.number}"
        try:
            scratch.mkdir(parents=True)
            stream = self._open_log(job)
            attempt.process = process = JobProcess(
                with_parameters(job.container.get("command") or (), job.parameters),
                folder=self._program_folder,
                environment=self._job_environment(attempt, scratch),
            )
            attempt.started_at = self._events.milliseconds()
            on_running()
            made_to_end = self._watch(attempt, process, stream)
            attempt.made_to_end = made_to_end is not None
            code, rest = process.finish()
            stream.close(rest)
            return Ending(exit_code=code, status_reason=made_to_end or EXITED)
        except CannotStartError as error:
            return Ending(exit_code=None, status_reason=FAILED_TO_START, reason=str(error))
        except Exception as error:  # noqa: BLE001 - it must be seen, and the job end
            self._events.error(f"running {job.job_id} failed: {type(error).__name__}: {error}")
            return Ending(exit_code=None, status_reason=FAILED_TO_START, reason=str(error))
        finally:
            if attempt.process is not None:
                attempt.process.finish()
            shutil.rmtree(scratch, ignore_errors=True)

    def _open_log(self, job: LocalJob) -> LogStream:
        def on_line(line: str) -> None:
            self._events.emit(LogLine(self._events.now(), job.job_id, line))
            self._on_line(line)

        stream = LogStream(
            self._logs,
            **log_of(job.container, job.job_definition.name),
            on_line=on_line,
            on_lost=lambda text: self._events.error(f"job {job.job_id}: {text}"),
        )
        job.log_stream_name = stream.name
        return stream

    def _job_environment(self, attempt: Attempt, scratch: Path) -> dict[str, str]:
        job = attempt.job
        batch = {
            "AWS_BATCH_JOB_ID": job.job_id,
            "AWS_BATCH_JOB_ATTEMPT": str(attempt.number),
            "AWS_BATCH_JQ_NAME": job.job_queue.name,
            "AWS_BATCH_CE_NAME": attempt.environment,
        }
        if job.array_index is not None:
            batch["AWS_BATCH_JOB_ARRAY_INDEX"] = str(job.array_index)
        own = merged_environment(job.container.get("environment") or ())
        return {
            **base_environment(scratch),
            **own,
            **added_by_the_platform(own, self._environment),
            **batch,
        }

    def _watch(self, attempt: Attempt, process: JobProcess, stream: LogStream) -> str | None:
        """Reads the output until the process ends; makes it end when it must.

        Returns:
            Why it was made to end; None when it ended by itself.
        """
        timeout = attempt.job.timeout_seconds
        times_out = time.monotonic() + timeout if timeout else None
        kills: float | None = None
        reason: str | None = None
        while not process.has_ended():
            stream.write(process.read(_READ_SECONDS))
            now = time.monotonic()
            if reason is None and attempt.stop.is_set():
                reason = attempt.job.stop_reason or "terminated"
            elif reason is None and times_out is not None and now >= times_out:
                reason = TIMED_OUT
            if reason is not None and kills is None:
                process.ask_to_end()
                kills = now + limits.JOB_KILL_SECONDS
            elif kills is not None and now >= kills:
                process.kill()
        return reason
