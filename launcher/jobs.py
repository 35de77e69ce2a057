"""Reads from AWS Batch how many workers a deployment has, since when, and how they ended.

A worker is a job or one child of an array job. Jobs are listed status by status, in the order
in which a job passes through them: one that moves on meanwhile is seen twice and not missed. Only
one that Batch tries again at that very moment goes back, and may be missed for a round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

DAY_SECONDS: Final = 24 * 60 * 60
LISTED_WITHIN_SECONDS: Final = 300
"""A job that was submitted shows in Batch's listing by then, or it never existed."""
_NOT_RUNNING: Final = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING")
_ENDED: Final = ("SUCCEEDED", "FAILED")
_LISTED_AT_ONCE: Final = 1000
"""The most where a status is asked for. A round submits one job at most, so that the week for which
Batch keeps jobs has some 20 000, in twenty pages; 50 000 children are fifty.
https://docs.aws.amazon.com/batch/latest/APIReference/API_ListJobs.html"""
_DESCRIBED_AT_ONCE: Final = 100
"""https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html"""


@dataclass(frozen=True)
class Excuses:
    """How a worker can end in FAILED without having failed: asked to leave, or ended on purpose.

    Attributes:
        exit_codes: The worker's own for it.
        reasons: Patterns of the status reasons of machines that were taken away, and of jobs that
            were cancelled or terminated on purpose.
    """

    exit_codes: frozenset[int]
    reasons: tuple[str, ...]

    def cover(self, job: Mapping[str, Any]) -> bool:
        """Tells whether this ended job is excused."""
        if job.get("container", {}).get("exitCode") in self.exit_codes:
            return True
        reason = job.get("statusReason", "")
        return any(fnmatchcase(reason, pattern) for pattern in self.reasons)


@dataclass(frozen=True)
class Submitted:
    """Workers that an earlier round submitted, in seconds since 1970."""

    job_id: str
    workers: int
    at_seconds: float


@dataclass(frozen=True)
class Ended:
    """A worker's life, in seconds since 1970; failed is None when its end is excused."""

    started_at: float | None
    stopped_at: float
    failed: bool | None

    @property
    def began_at(self) -> float:
        """Returns when it began to run, or for one that never did, when it ended."""
        return self.stopped_at if self.started_at is None else self.started_at


@dataclass(frozen=True, order=True)
class Runnable:
    """A job that waits for a machine, or an array job with so many children that do."""

    created_at: float
    job_id: str
    children: int = 0


@dataclass
class Workers:
    """A deployment's workers now, and those that ended within a day.

    Attributes:
        starting_since: When each that is not RUNNING yet was submitted, in seconds since 1970.
        runnable: The jobs of these that wait for a machine, and the array jobs that have such.
        active: The ids of all jobs and array jobs that have not ended.
        running_since: When each that is RUNNING began to be.
        ended: The others.
    """

    starting_since: list[float] = field(default_factory=list[float])
    runnable: list[Runnable] = field(default_factory=list["Runnable"])
    active: list[str] = field(default_factory=list[str])
    running_since: list[float] = field(default_factory=list[float])
    ended: list[Ended] = field(default_factory=list[Ended])

    def younger_than(self, seconds: float, now: float) -> int:
        """Counts those that were submitted, or that run, for less than so long."""
        return sum(now - since < seconds for since in (*self.starting_since, *self.running_since))

    def worked_between(self, begin: float, end: float) -> float:
        """Sums the seconds for which the RUNNING workers ran between two moments."""
        return sum(max(0.0, end - max(begin, since)) for since in self.running_since)

    def runnable_since(self, moment: float) -> int:
        """Counts the jobs that wait for a machine since then or longer."""
        return sum(each.children or 1 for each in self.runnable if each.created_at <= moment)

    def at_work_before(self, moment: float) -> bool:
        """Tells whether a worker that had started before then was at work after it."""
        return any(since <= moment for since in self.running_since) or any(
            each.began_at <= moment < each.stopped_at and not each.failed for each in self.ended
        )

    def started_after(self, moment: float, patience_seconds: float, now: float) -> int:
        """Counts those that run since later, or were submitted later and may still come up."""
        submitted = max(moment, now - patience_seconds)
        return sum(since > submitted for since in self.starting_since) + sum(
            since > moment for since in self.running_since
        )

    def vcpu_hours_last_day(self, vcpus: float, now: float) -> float:
        """Returns what they used in the 24 hours before now.

        Of a job that Batch retried, the last attempt counts: it tells the times of no other.
        """
        day_ago = now - DAY_SECONDS
        lives = [
            *((each.started_at, each.stopped_at) for each in self.ended),
            *((since, now) for since in self.running_since),
        ]
        seconds = sum(
            max(0.0, until - max(since, day_ago)) for since, until in lives if since is not None
        )
        return seconds * vcpus / 3600


class JobBook:
    """Reads a deployment's jobs.

    Kept in a warm process, it remembers the ended children of array jobs: a large array is
    listed again only while more of its children end.
    """

    def __init__(
        self,
        call: Callable[..., Mapping[str, Any]],
        *,
        job_queue: str,
        job_definition: str,
        excuses: Excuses,
    ) -> None:
        """Reads nothing yet.

        Args:
            call: Calls an operation of Batch by its name in Python, with its arguments.
            job_queue: ARN or name.
            job_definition: ARN without revision: whatever revision a job runs, and in whatever
                form Batch names it, it is a worker. One that was not counted would be started
                again and again.
            excuses: Which ends are no failures.
        """
        self._call = call
        self._job_queue = job_queue
        self._definition_name = _definition_name(job_definition)
        self._excuses = excuses
        self._children: dict[tuple[str, str], list[Ended]] = {}

    def read(self, submitted: Iterable[Submitted], now: float) -> Workers:
        """Counts workers.

        Args:
            submitted: What earlier rounds submitted: counted as starting for as long as Batch's
                listing, which lags, does not show it.
            now: In seconds since 1970.

        Raises:
            LookupError: Batch did not describe a job that it had listed.
        """
        jobs = {job["jobId"]: job for job in self._all_jobs()}
        workers = Workers()
        workers.active += [job["jobId"] for job in jobs.values() if job["status"] not in _ENDED]
        arrays: list[Mapping[str, Any]] = []
        for job in jobs.values():
            if _ended_before(job, now - DAY_SECONDS):
                continue
            if "size" in job.get("arrayProperties", {}):
                arrays.append(job)
            elif job["status"] in _ENDED:
                workers.ended.append(self._ended(job))
            elif job["status"] == "RUNNING":
                workers.running_since.append(_started(job, now))
            else:
                workers.starting_since.append(_created(job))
                if job["status"] == "RUNNABLE":
                    workers.runnable.append(Runnable(_created(job), job["jobId"]))
        self._read_arrays(arrays, workers, now)
        for each in submitted:
            if each.job_id not in jobs and now - each.at_seconds < LISTED_WITHIN_SECONDS:
                workers.starting_since += [each.at_seconds] * each.workers
                workers.active.append(each.job_id)
        return workers

    def newest_runnable(self, runnable: Iterable[Runnable], before: float) -> str | None:
        """Returns the id of the newest job that waits for a machine, of an array its last child.

        Args:
            runnable: As they were read.
            before: Only those that were submitted until then, in seconds since 1970.

        Returns:
            None when all have started meanwhile.
        """
        newest = max((each for each in runnable if each.created_at <= before), default=None)
        if newest is None:
            return None
        if not newest.children:
            return newest.job_id
        waiting = list(self._pages(arrayJobId=newest.job_id, jobStatus="RUNNABLE"))
        waiting.sort(key=lambda child: child["arrayProperties"]["index"])
        return waiting[-1]["jobId"] if waiting else None

    def _all_jobs(self) -> Iterator[Mapping[str, Any]]:
        for status in (*_NOT_RUNNING, "RUNNING", *_ENDED):
            for job in self._pages(jobQueue=self._job_queue, jobStatus=status):
                if _definition_name(job["jobDefinition"]) == self._definition_name:
                    yield job

    def _pages(self, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        arguments["maxResults"] = _LISTED_AT_ONCE
        answer = self._call("list_jobs", **arguments)
        yield from answer["jobSummaryList"]
        while token := answer.get("nextToken"):
            answer = self._call("list_jobs", **arguments, nextToken=token)
            yield from answer["jobSummaryList"]

    def _read_arrays(
        self, arrays: Sequence[Mapping[str, Any]], workers: Workers, now: float
    ) -> None:
        counts = self._status_counts([job for job in arrays if job["status"] not in _ENDED])
        for job in arrays:
            job_id, size = job["jobId"], job["arrayProperties"]["size"]
            if job["status"] in _ENDED:
                ended = self._ended_children(job_id, at_least=size)
            else:
                known = counts[job_id]
                if running := known.get("RUNNING", 0):
                    children = self._pages(arrayJobId=job_id, jobStatus="RUNNING")
                    since = [_started(child, now) for child in children]
                    workers.running_since += since[:running]
                    # A child that the listing does not show yet has just begun.
                    workers.running_since += [now] * (running - len(since))
                gone = sum(known.get(status, 0) for status in _ENDED)
                workers.starting_since += [_created(job)] * (size - running - gone)
                if waiting := known.get("RUNNABLE", 0):
                    workers.runnable.append(Runnable(_created(job), job_id, waiting))
                ended = self._ended_children(job_id, at_least=gone)
            workers.ended += [each for each in ended if each.stopped_at > now - DAY_SECONDS]
        listed = {job["jobId"] for job in arrays}
        self._children = {
            key: children for key, children in self._children.items() if key[0] in listed
        }

    def _status_counts(self, parents: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
        """How many children of each active array job are in which status."""
        counts: dict[str, dict[str, int]] = {}
        ids = [job["jobId"] for job in parents]
        for first in range(0, len(ids), _DESCRIBED_AT_ONCE):
            asked = ids[first : first + _DESCRIBED_AT_ONCE]
            for job in self._call("describe_jobs", jobs=asked)["jobs"]:
                counts[job["jobId"]] = job["arrayProperties"].get("statusSummary", {})
        if missing := set(ids) - counts.keys():
            raise LookupError(f"Batch did not describe {len(missing)} of {len(ids)} array jobs")
        return counts

    def _ended_children(self, job_id: str, *, at_least: int) -> list[Ended]:
        """Returns the ended children of an array job, listed again when there are more."""
        keys = [(job_id, status) for status in _ENDED]
        if sum(len(self._children.get(key, ())) for key in keys) < at_least:
            for key in keys:
                self._children[key] = [
                    self._ended(child) for child in self._pages(arrayJobId=job_id, jobStatus=key[1])
                ]
        return [each for key in keys for each in self._children.get(key, ())]

    def _ended(self, job: Mapping[str, Any]) -> Ended:
        failed = job["status"] == "FAILED"
        started = job.get("startedAt")
        return Ended(
            started_at=started / 1000 if started else None,
            # A job that was cancelled before it began has no other time.
            stopped_at=job["stoppedAt"] / 1000 if job.get("stoppedAt") else _created(job),
            failed=None if failed and self._excuses.cover(job) else failed,
        )


def _definition_name(definition: str) -> str:
    """The name in a job definition's ARN or name, with a revision or without."""
    return definition.rpartition("/")[2].partition(":")[0]


def _ended_before(job: Mapping[str, Any], when: float) -> bool:
    stopped = job["stoppedAt"] / 1000 if job.get("stoppedAt") else _created(job)
    return job["status"] in _ENDED and stopped < when


def _created(job: Mapping[str, Any]) -> float:
    return job["createdAt"] / 1000


def _started(job: Mapping[str, Any], now: float) -> float:
    return job["startedAt"] / 1000 if job.get("startedAt") else now
