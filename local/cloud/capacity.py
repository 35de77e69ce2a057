"""Which waiting jobs may start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Environment:
    """A compute environment, as far as starting jobs goes."""

    name: str
    max_vcpus: float
    enabled: bool = True


@dataclass(frozen=True)
class JobQueue:
    """A job queue: its compute environments in their order."""

    name: str
    priority: int
    environments: tuple[Environment, ...]


@dataclass(frozen=True)
class Waiting:
    """A job in RUNNABLE."""

    job_id: str
    job_queue: str
    vcpus: float


def admitted(
    waiting: Sequence[Waiting],
    job_queues: Iterable[JobQueue],
    used_vcpus: Mapping[str, float],
    free_places: int,
) -> dict[str, str]:
    """Chooses the jobs that start now.

    First in, first out per job queue: a job that does not fit holds back those behind it, as
    on AWS. Job queues of higher priority choose first. A job takes the first enabled
    environment in which the running jobs leave room for it. A job queue that is disabled takes no
    new jobs, and those that it has start as before.
    https://docs.aws.amazon.com/batch/latest/userguide/job_scheduling.html

    Args:
        waiting: The jobs in RUNNABLE, in the order in which they were submitted.
        job_queues: Every job queue that has one.
        used_vcpus: What runs, per compute environment's name.
        free_places: How many processes this machine may start besides those that run.

    Returns:
        Job id to the name of its compute environment, in the order of starting.
    """
    used = dict(used_vcpus)
    chosen: dict[str, str] = {}
    for queue in sorted(job_queues, key=lambda queue: -queue.priority):
        for job in waiting:
            if job.job_queue != queue.name:
                continue
            if len(chosen) >= free_places:
                return chosen
            room = next(
                (
                    environment.name
                    for environment in queue.environments
                    if environment.enabled
                    and used.get(environment.name, 0) + job.vcpus <= environment.max_vcpus
                ),
                None,
            )
            if room is None:
                break
            used[room] = used.get(room, 0) + job.vcpus
            chosen[job.job_id] = room
    return chosen


def can_never_run(job: Waiting, queue: JobQueue) -> bool:
    """Whether the job needs more than any of its compute environments may ever have."""
    return all(job.vcpus > environment.max_vcpus for environment in queue.environments)
