"""A Batch job, as DescribeJobs and ListJobs show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moto.batch import models as batch

from local.cloud.process import container_details, vcpus_of

if TYPE_CHECKING:
    from collections.abc import Collection

STATUSES: Final = (
    "SUBMITTED",
    "PENDING",
    "RUNNABLE",
    "STARTING",
    "RUNNING",
    "SUCCEEDED",
    "FAILED",
)
ENDED: Final = frozenset({"SUCCEEDED", "FAILED"})
NOT_STARTED: Final = frozenset({"SUBMITTED", "PENDING", "RUNNABLE"})


def parent_status(children: Collection[str]) -> str:
    """The status of an array job's parent, which only its children decide.

    https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html
    """
    if not set(children) <= ENDED:
        return "SUBMITTED" if set(children) == {"SUBMITTED"} else "PENDING"
    return "FAILED" if "FAILED" in children else "SUCCEEDED"


class LocalJob(batch.Job):
    """moto's record of a job, without the thread and the docker container that run it there.

    `local.cloud.scheduler` moves it from status to status.
    """

    retry_strategy: dict[str, Any] | None = None
    order = 0
    """Its place in the order of submission."""
    created_at = 0
    """This and the other times: by the cloud's clock, in milliseconds, as Batch writes them."""
    started_at: int | None = None
    stopped_at: int | None = None
    reason: str | None = None
    """The container's."""
    task_arn: str | None = None
    """The ARN of the latest attempt's task."""
    stop_reason: str | None = None
    """Why someone asked it to end; None when nobody did."""
    announced: str | None = None
    """The status that was last sent to subscribers."""

    def start(self) -> None:
        """Does nothing: the scheduler starts it."""

    @property
    def status(self) -> str:
        """One of STATUSES."""
        if self.children:
            return parent_status([child.status for child in self.children])
        return str(self._status)

    @status.setter
    def status(self, value: str) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - moto's is a property too
        self._status = value

    @property
    def children(self) -> list[LocalJob]:
        """The children of an array job's parent; empty for any other job."""
        return self._child_jobs or []  # pyright: ignore[reportReturnType] - submit_job makes LocalJobs

    @property
    def array_index(self) -> int | None:
        """The index of an array job's child."""
        return self.array_properties.get("index")

    @property
    def container(self) -> dict[str, Any]:
        """The job definition's container properties with the job's overrides."""
        return container_details(
            self.job_definition.container_properties or {}, self.container_overrides
        )

    @property
    def vcpus(self) -> float:
        """Returns the vCPUs that it takes of its compute environment."""
        return vcpus_of(self.container)

    @property
    def timeout_seconds(self) -> int | None:
        """How long an attempt may take; what SubmitJob said wins."""
        timeout = self.timeout or self.job_definition.timeout or {}
        return timeout.get("attemptDurationSeconds")

    def describe_short(self) -> dict[str, Any]:
        """As ListJobs shows it."""
        facts = {
            "jobArn": self.arn,
            "jobId": self.job_id,
            "jobName": self.job_name,
            "createdAt": self.created_at,
            "status": self.status,
            "statusReason": self.job_stopped_reason,
            "startedAt": self._started_at(),
            "stoppedAt": self._stopped_at(),
            "jobDefinition": self.job_definition.arn,
            "container": {"exitCode": self.exit_code, "reason": self.reason},
            "arrayProperties": self._array_properties(),
        }
        if self.exit_code is None and self.reason is None:
            del facts["container"]
        return _without_none(facts)

    def describe(self) -> dict[str, Any]:
        """As DescribeJobs shows it."""
        container = _without_none(
            {
                **self.container,
                "exitCode": self.exit_code,
                "reason": self.reason,
                "logStreamName": self.log_stream_name,
                "taskArn": self.task_arn,
            }
        )
        array = self._array_properties()
        if array and self.children:
            statuses = [child.status for child in self.children]
            array["statusSummary"] = {name: statuses.count(name) for name in STATUSES}
        return self.describe_short() | _without_none(
            {
                "jobQueue": self.job_queue.arn,
                "dependsOn": self.depends_on or [],
                "parameters": self.parameters,
                "tags": self.backend.list_tags_for_resource(self.arn),
                "container": container,
                "attempts": self.attempts,
                "retryStrategy": self.retry_strategy or self.job_definition.retry_strategy,
                "timeout": self.timeout or self.job_definition.timeout,
                "platformCapabilities": self.job_definition.platform_capabilities,
                "arrayProperties": array,
            }
        )

    def _array_properties(self) -> dict[str, Any] | None:
        if self.children:
            return {"size": len(self.children)}
        return None if self.array_index is None else {"index": self.array_index}

    def _started_at(self) -> int | None:
        starts = [child.started_at for child in self.children if child.started_at]
        return min(starts) if starts else self.started_at

    def _stopped_at(self) -> int | None:
        if self.children and self.status in ENDED:
            return max(child.stopped_at or 0 for child in self.children)
        return self.stopped_at


def _without_none(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
