"""Workers that run end before their job queue, their machines or their deployment is deleted.

DeleteJobQueue terminates the queue's jobs, and a compute environment on Fargate that is deleted
under running jobs becomes INVALID and stays. So both are disabled first: a disabled job queue
takes no job and finishes those that it has, a disabled compute environment starts none.
https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteJobQueue.html
https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteComputeEnvironment.html
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import pulumi

from stack.before_delete import messages
from stack.before_delete.access import Access, asking, client
from taskpacks.contract import ENDED_REASON
from taskpacks.errors import TaskpacksError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HOOK: Final = "taskpacks-workers-have-ended"
"""A stack's state remembers this name: another one would leave machines that cannot be deleted."""
NOT_STARTED: Final = ("SUBMITTED", "PENDING", "RUNNABLE")
ON_MACHINES: Final = ("STARTING", "RUNNING")
"""https://docs.aws.amazon.com/batch/latest/userguide/job_states.html"""
_DESCRIBED_MAX: Final = 100
"""Jobs: https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html"""
_NAMED_MAX: Final = 20
_SETTLES_SECONDS: Final = 120
"""How long Batch may take to have a job queue or compute environment switched."""
_ENABLE_PAUSES_SECONDS: Final = (1.0, 5.0, 15.0)
_REPORT_SECONDS: Final = 60
_PAUSE_MIN_SECONDS: Final = 1.0
_PAUSE_MAX_SECONDS: Final = 10.0
_Found = TypeVar("_Found")


class WorkersLeftError(TaskpacksError):
    """Jobs have not ended in time, or cannot be looked for."""


class Job(NamedTuple):
    """A job that has not ended; of an array job the parent, which ends with its children."""

    id: str
    name: str
    status: str


class _Kind(NamedTuple):
    """Batch's words for a job queue or a compute environment."""

    word: str
    argument: str
    described: str
    name: str
    describe: str
    update: str

    def command(self, name: str, state: str) -> str:
        """The command that enables or disables one by hand."""
        word = self.word.replace(" ", "-")
        return f"aws batch update-{word} --{word} {name} --state {state}"


KINDS: Final = {
    "aws:batch/jobQueue:JobQueue": _Kind(
        "job queue", "jobQueue", "jobQueues", "jobQueueName", "describe_job_queues",
        "update_job_queue",
    ),
    "aws:batch/computeEnvironment:ComputeEnvironment": _Kind(
        "compute environment", "computeEnvironment", "computeEnvironments",
        "computeEnvironmentName", "describe_compute_environments", "update_compute_environment",
    ),
}  # fmt: skip


def hook(how: Access, drain_seconds: int) -> pulumi.ResourceHook:
    """The hook of job queues, compute environments, and deployments' records.

    Args:
        how: The way to AWS.
        drain_seconds: How long it waits for jobs to end.
    """

    async def look(args: pulumi.ResourceHookArgs) -> None:
        with asking(
            WorkersLeftError,
            f"{args.name} is not deleted, because the program cannot see whether workers run",
            "batch:Describe*, batch:ListJobs and batch:Update*",
        ):
            batch = await asyncio.to_thread(client, how, "batch")
            if kind := KINDS.get(args.type):
                switch = Switch(batch, kind, args.id)
                await switched_off(switch, drain_seconds, how.region)
            else:
                record = json.loads((args.old_outputs or {})["insecureValue"])
                await _idle(how, batch, args.name, record, drain_seconds)

    return pulumi.ResourceHook(HOOK, look)


async def _idle(
    how: Access, batch: Any, name: str, record: Mapping[str, str], drain_seconds: int
) -> None:
    """Waits until a deployment's workers have ended.

    It starts new ones as long as messages wait, so that there is nothing to wait for then.
    """

    def jobs() -> list[Job]:
        held = messages.held(how, [record["queue_url"], record["dead_letter_url"]])
        if any(waits(counts) for counts in held.values()):
            messages.refuse_to_lose(held)
        return list(jobs_in(batch, record["job_queue"]))

    await _ended(jobs, f"deployment {name.removesuffix('-record')}", drain_seconds, how.region)


def waits(counts: Mapping[str, int]) -> bool:
    """Whether there are messages that no worker holds: one that is in flight may be settled yet."""
    return any(count for word, count in counts.items() if word != messages.IN_FLIGHT)


async def _ended(
    jobs: Callable[[], Sequence[Job]], what: str, drain_seconds: int, region: str
) -> None:
    """Waits until no job is found.

    Raises:
        WorkersLeftError: Some are left when the time is over.
    """

    def report(found: Sequence[Job], seconds: float) -> None:
        pulumi.log.info(f"{what}: waits up to {seconds:.0f} s for {_named(found)} to end")

    def twice() -> Sequence[Job]:
        # A retry takes a job back from RUNNING to RUNNABLE, past a look that goes the other way.
        return jobs() or jobs()

    if left := await still(twice, drain_seconds, report):
        raise WorkersLeftError(refusal(what, left, drain_seconds, region))


async def switched_off(switch: Switch, drain_seconds: int, region: str) -> None:
    """Disables a job queue or compute environment and waits for its jobs.

    What is refused gets its state back: the stack is as it was before, and a pause goes on.

    Raises:
        WorkersLeftError: Some are left when the time is over.
    """
    description = await asyncio.to_thread(switch.describe)
    if description is None:
        return
    what = f"{switch.kind.word} {description[switch.kind.name]}"
    await asyncio.to_thread(switch.off)
    try:
        # Until Batch has updated it, it takes or starts jobs.
        await still(switch.unsettled, _SETTLES_SECONDS)
        await _ended(switch.jobs, what, drain_seconds, region)
    except BaseException:  # a program that is interrupted, too, leaves the stack as it was
        await _switched_back(switch, what, description["state"])
        raise


async def _switched_back(switch: Switch, what: str, state: str) -> None:
    """Gives it back its state, or says that nothing starts there."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as in `client`

    for pause in (*_ENABLE_PAUSES_SECONDS, None):
        try:
            await still(switch.unsettled, _SETTLES_SECONDS)
            await asyncio.to_thread(switch.to, state)
        except (BotoCoreError, ClientError) as error:
            if pause is None:
                pulumi.log.error(
                    f"{what} was disabled and could not be set to {state} again: {error}. Nothing "
                    f"starts there: run `{switch.kind.command(switch.id, state)}`."
                )
                return
            await asyncio.sleep(pause)
        else:
            return


@dataclass(frozen=True)
class Switch:
    """A job queue or a compute environment, which can be enabled and disabled."""

    batch: Any
    kind: _Kind
    id: str

    def describe(self) -> Mapping[str, Any] | None:
        """Returns what Batch says of it; None when it is gone."""
        answer = getattr(self.batch, self.kind.describe)(**{self.kind.described: [self.id]})
        found = answer[self.kind.described]
        return found[0] if found and found[0].get("status") != "DELETED" else None

    def off(self) -> None:
        """Disables it; where Batch refuses, whoever deletes it says why."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - as in `client`

        try:
            self.to("DISABLED")
        except ClientError as error:
            pulumi.log.warn(f"{self.kind.word} {self.id} could not be set to DISABLED: {error}")

    def to(self, state: str) -> None:
        """Enables or disables it."""
        getattr(self.batch, self.kind.update)(**{self.kind.argument: self.id, "state": state})

    def unsettled(self) -> list[str]:
        """Says that Batch is still about to update it."""
        found = self.describe()
        return ["UPDATING"] if found and found.get("status") == "UPDATING" else []

    def jobs(self) -> list[Job]:
        """The jobs that would not survive its end."""
        if self.kind.argument == "jobQueue":
            return list(jobs_in(self.batch, self.id))
        found = self.describe()
        return list(jobs_on(self.batch, found["ecsClusterArn"])) if found else []


def jobs_in(batch: Any, job_queue: str) -> Iterator[Job]:
    """All jobs of a job queue that have not ended."""
    for status in (*NOT_STARTED, *ON_MACHINES):
        for each in _listed(batch, jobQueue=job_queue, jobStatus=status):
            yield Job(each["jobId"], each["jobName"], status)


def jobs_on(batch: Any, cluster: str) -> Iterator[Job]:
    """The jobs that are on the machines of a compute environment, whatever job queue they are in.

    Batch does not say it, but a job's ARNs of ECS name the cluster, and each compute environment
    has one of its own.
    https://docs.aws.amazon.com/batch/latest/APIReference/API_ContainerDetail.html
    """
    for page in batch.get_paginator("describe_job_queues").paginate():
        for queue in page["jobQueues"]:
            for jobs in _on_machines(batch, queue["jobQueueArn"]):
                for first in range(0, len(jobs), _DESCRIBED_MAX):
                    ids = [each.id for each in jobs[first : first + _DESCRIBED_MAX]]
                    for each in batch.describe_jobs(jobs=ids)["jobs"]:
                        if runs_in(cluster, each):
                            yield Job(each["jobId"], each["jobName"], each["status"])


def _on_machines(batch: Any, job_queue: str) -> Iterator[list[Job]]:
    """Those that have started, and of array jobs the children that have."""
    groups: list[dict[str, str]] = [{"jobQueue": job_queue}]
    groups += [
        {"arrayJobId": parent["jobId"]}
        for parent in _listed(batch, jobQueue=job_queue, jobStatus="PENDING")
        if "size" in parent.get("arrayProperties", {})
    ]
    for group in groups:
        for status in ON_MACHINES:
            yield [
                Job(each["jobId"], each["jobName"], status)
                for each in _listed(batch, **group, jobStatus=status)
            ]


def _listed(batch: Any, **arguments: str) -> Iterator[Mapping[str, Any]]:
    for page in batch.get_paginator("list_jobs").paginate(**arguments):
        yield from page["jobSummaryList"]


def runs_in(cluster: str, job: Mapping[str, Any]) -> bool:
    """Whether a job runs in an ECS cluster.

    Args:
        cluster: The cluster's ARN.
        job: As DescribeJobs describes it.
    """
    container = job.get("container") or {}
    # arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID, container-instance/CLUSTER/ID
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html#ecs-resource-ids
    name = f"/{cluster.rpartition('/')[2]}/"
    return any(name in container.get(key, "") for key in ("taskArn", "containerInstanceArn"))


async def still(
    look: Callable[[], Sequence[_Found]],
    seconds: float,
    report: Callable[[Sequence[_Found], float], None] = lambda _found, _seconds: None,
) -> Sequence[_Found]:
    """Waits until nothing is found any more.

    Args:
        look: Finds; it is called in a thread, so that other hooks run meanwhile.
        seconds: How long it waits.
        report: Called now and then with what is found, and for how long it will be waited for.

    Returns:
        What was found at the last look.
    """
    began = time.monotonic()
    reported = -_REPORT_SECONDS
    pause = _PAUSE_MIN_SECONDS
    while found := await asyncio.to_thread(look):
        elapsed = time.monotonic() - began
        if elapsed >= seconds:
            break
        if elapsed - reported >= _REPORT_SECONDS:
            reported = elapsed
            report(found, seconds - elapsed)
        await asyncio.sleep(min(pause, seconds - elapsed))
        pause = min(2 * pause, _PAUSE_MAX_SECONDS)
    return found


def _named(jobs: Sequence[Job]) -> str:
    names = ", ".join(f"{job.id} ({job.name}, {job.status})" for job in jobs[:_NAMED_MAX])
    more = len(jobs) - _NAMED_MAX
    return names if more <= 0 else f"{names} and {more} more"


def refusal(what: str, jobs: Sequence[Job], seconds: int, region: str) -> str:
    """Says which jobs have not ended, and both ways on.

    Args:
        what: Is not deleted.
        jobs: At least one.
        seconds: How long they were waited for.
        region: Where they are.
    """
    ids = " ".join(job.id for job in jobs[:_NAMED_MAX])
    return (
        f"{what} is not deleted: after {seconds} s (taskpacks:drain_on_delete_seconds) jobs have "
        f"not ended: {_named(jobs)}. Wait until they have and run this command again; or terminate "
        f"them, which gives their tasks back to the task queue, and then run it: for job in {ids}; "
        f"do aws batch terminate-job --region {region} --job-id $job "
        f"--reason '{ENDED_REASON} its machines go'; done"
    )
