"""Where moto's Batch hands its jobs to `local.cloud.scheduler`.

The only place that replaces functions of moto's Batch. tests/cloud/test_repairs.py fails
when moto changes a signature that stands here.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from moto.batch import models as batch
from moto.batch.exceptions import ClientException
from moto.batch.responses import BatchResponse

from local.cloud.batch_deletion import (
    delete_compute_environment,
    delete_job_queue,
    describe_compute_environments,
)
from local.cloud.events import JobSubmitted
from local.cloud.jobs import NOT_STARTED, LocalJob
from local.cloud.process import container_details
from local.cloud.repairs import replaced
from taskpacks.limits import (
    ARRAY_SIZE_MAX,
    ARRAY_SIZE_MIN,
    JOB_ATTEMPTS_MAX,
    JOB_ATTEMPTS_MIN,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from local.cloud.events import EventStream
    from local.cloud.scheduler import Scheduler

_LISTED_MAX: Final = 1000
"""The size of one page: https://docs.aws.amazon.com/batch/latest/APIReference/API_ListJobs.html"""


@contextmanager
def batch_runs_locally(scheduler: Scheduler, events: EventStream) -> Generator[None]:
    """Has submitted jobs run by the scheduler, and jobs described as AWS does."""
    with ExitStack() as stack:
        for owner, name, replacement in (
            (batch, "Job", LocalJob),
            (
                BatchResponse,
                "submitjob",
                _submitjob(BatchResponse.submitjob, scheduler, events),
            ),
            (BatchResponse, "listjobs", _listjobs(BatchResponse.listjobs)),
            (batch.BatchBackend, "describe_jobs", _describe_jobs),
            (batch.BatchBackend, "list_jobs", _list_jobs(batch.BatchBackend.list_jobs)),
            (
                batch.BatchBackend,
                "delete_job_queue",
                delete_job_queue(batch.BatchBackend.delete_job_queue, scheduler),
            ),
            (
                batch.BatchBackend,
                "delete_compute_environment",
                delete_compute_environment(
                    batch.BatchBackend.delete_compute_environment, scheduler
                ),
            ),
            (
                batch.BatchBackend,
                "describe_compute_environments",
                describe_compute_environments(batch.BatchBackend.describe_compute_environments),
            ),
            (batch.BatchBackend, "terminate_job", _ends_job(scheduler, running_too=True)),
            (batch.BatchBackend, "cancel_job", _ends_job(scheduler, running_too=False)),
        ):
            stack.enter_context(replaced(owner, name, replacement))
        yield


def _submitjob(original: Any, scheduler: Scheduler, events: EventStream) -> Any:
    """Checks what AWS checks, lets moto record the job, and hands it to the scheduler.

    moto drops retryStrategy, so it is read here.
    """

    def submitjob(self: Any) -> str:
        try:
            _check(self)
        except ClientException as error:
            events.error(f"SubmitJob refused job {self._get_param('jobName')}: {error.message}")
            raise
        response = original(self)
        job = self.batch_backend.get_job_by_id(json.loads(response)["jobId"])
        size = len(job.children) or None
        events.emit(JobSubmitted(events.now(), job.job_id, job.job_name, job.job_queue.name, size))
        scheduler.submit(job, self._get_param("retryStrategy"))
        return response

    return submitjob


def _check(request: Any) -> None:
    """Refuses what AWS refuses, and what this cloud cannot run.

    Raises:
        ClientException: It is refused.
    """
    definition = request.batch_backend.get_job_definition(request._get_param("jobDefinition"))  # noqa: SLF001 - moto's way to a parameter
    queue = request.batch_backend.get_job_queue(request._get_param("jobQueue"))  # noqa: SLF001 - as above
    if definition is None or queue is None:
        return  # moto refuses it, in AWS's words
    size = (request._get_param("arrayProperties") or {}).get("size")  # noqa: SLF001 - as above
    if size is not None and not ARRAY_SIZE_MIN <= size <= ARRAY_SIZE_MAX:
        raise ClientException(
            f"Array size {size} is not between {ARRAY_SIZE_MIN} and {ARRAY_SIZE_MAX}"
        )
    attempts = (request._get_param("retryStrategy") or {}).get("attempts", 1)  # noqa: SLF001 - as above
    if not JOB_ATTEMPTS_MIN <= attempts <= JOB_ATTEMPTS_MAX:
        raise ClientException(
            f"{attempts} attempts are not between {JOB_ATTEMPTS_MIN} and {JOB_ATTEMPTS_MAX}"
        )
    if queue.state != "ENABLED":
        raise ClientException(f"Job queue {queue.arn} is {queue.state}: it takes no jobs")
    if definition.status != "ACTIVE":
        raise ClientException(f"Job definition {definition.arn} is {definition.status}")
    dependencies = request._get_param("dependsOn") or []  # noqa: SLF001 - as above
    if any("type" in dependency for dependency in dependencies):
        raise ClientException("the local cloud knows no dependencies of type SEQUENTIAL or N_TO_N")
    _check_container(definition, request._get_param("containerOverrides") or {})  # noqa: SLF001 - as above


def _check_container(definition: Any, overrides: dict[str, Any]) -> None:
    if definition.container_properties is None:
        raise ClientException(
            f"the local cloud runs container jobs only; {definition.name} has no "
            "containerProperties"
        )
    container = container_details(definition.container_properties, overrides)
    logging = container.get("logConfiguration") or {}
    for secrets in (container.get("secrets"), logging.get("secretOptions")):
        if secrets:
            raise ClientException(
                f"the local cloud has no secrets to give: {definition.name} wants "
                f"{', '.join(secret['name'] for secret in secrets)}. Put plain values into the "
                "environment for a local run."
            )
    if logging.get("logDriver", "awslogs") != "awslogs":
        raise ClientException(
            f"the local cloud logs to CloudWatch Logs only (awslogs), not to {logging['logDriver']}"
        )


def _describe_jobs(self: Any, jobs: list[str] | None) -> list[dict[str, Any]]:
    """Looks up the jobs that are asked for: moto walks a dict that other threads change."""
    found = (self.get_job_by_id(name.rpartition(":job/")[2]) for name in jobs or ())
    return [job.describe() for job in found if job is not None]


def _list_jobs(original: Any) -> Any:
    """Lists by job queue without the children, and only RUNNING jobs when nothing is said.

    https://docs.aws.amazon.com/batch/latest/APIReference/API_ListJobs.html
    """

    def list_jobs(
        self: Any,
        job_queue_name: str | None,
        array_job_id: str | None,
        job_status: str | None = None,
        filters: list[dict[str, Any]] | None = None,
    ) -> list[Any]:
        if job_queue_name and array_job_id:
            raise ClientException("give one of jobQueue and arrayJobId")
        if filters:
            raise ClientException("the local cloud lists jobs by status, not by filters")
        jobs = original(self, job_queue_name, array_job_id, job_status or "RUNNING", None)
        return [job for job in jobs if array_job_id or job.array_index is None]

    return list_jobs


def _listjobs(original: Any) -> Any:
    """Answers in pages, which moto does not."""

    def listjobs(self: Any) -> str:
        found = json.loads(original(self))["jobSummaryList"]
        size = min(self._get_param("maxResults") or _LISTED_MAX, _LISTED_MAX)
        first = int(self._get_param("nextToken") or 0)
        page: dict[str, Any] = {"jobSummaryList": found[first : first + size]}
        if first + size < len(found):
            page["nextToken"] = str(first + size)
        return json.dumps(page)

    return listjobs


def _ends_job(scheduler: Scheduler, *, running_too: bool) -> Any:
    """TerminateJob and CancelJob; a job that is not there is left alone, as on AWS."""

    def end(self: Any, job_id: str, reason: str) -> None:
        for name, value in (("jobId", job_id), ("reason", reason)):
            if not value:
                raise ClientException(f"'{name}' is a required field (cannot be an empty string)")
        job = self.get_job_by_id(job_id)
        if job is not None and (running_too or job.children or job.status in NOT_STARTED):
            scheduler.end(job, reason, running_too=running_too)

    return end
