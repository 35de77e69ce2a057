"""Where the stack and the worker meet: environment names, exit codes, and what packs are handed.

The stack writes these names into the job definition, the worker reads them; neither knows
the other. Importing this module imports neither celery nor pulumi.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from taskpacks.errors import ScratchFullError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import pulumi

WORKER_COMMAND: Final = ("python", "-m", "worker")
"""The command of a Batch job, in the image's working folder."""
METRICS_NAMESPACE: Final = "Taskpacks"
"""The namespace of the metrics that workers and the launcher write, and alarms and the dashboard
read. The launcher, which imports nothing of ours, says it again (launcher/observe.py)."""

ENDED_REASON: Final = "taskpacks:"
"""How the reason begins with which a job is cancelled or terminated on purpose: no failure."""

CELERY_RESULT_KEYS: Final = "b'*"
"""Which keys Celery's DynamoDB backend has in the result table, as a pattern: it writes the bytes
b'celery-task-meta-ID' as Python shows them."""


TASK_ITEM_SECONDS: Final = 14 * 24 * 60 * 60
"""How long the item of a task is kept: as long as SQS can keep a message."""


def attempts_key(deployment: str, task_id: str) -> str:
    """The key of a task's item in the result table: its lock, failed attempts, whether it is done.

    No deployment's name has a slash, so that the keys of one are never those of another.
    """
    return f"taskpacks-attempts/{deployment}/{task_id}"


def cancels_key(deployment: str) -> str:
    """The key of the item that says when a task of the deployment was last cancelled."""
    return f"taskpacks-cancels/{deployment}"


def stack_parameter(stack: str, name: str) -> str:
    """The full name of one of a stack's SSM parameters."""
    return f"/taskpacks/{stack}/{name}"


def record_parameter(stack: str, deployment: str) -> str:
    """The SSM parameter that says what a deployment consists of, as JSON."""
    return stack_parameter(stack, f"deployments/{deployment}")


def pause_parameter(stack: str, deployment: str) -> str:
    """The SSM parameter that is there while a deployment is paused (`taskpacks.pause`).

    JSON: "since", ISO 8601; "reason"; "queue_url", the deployment's. The launcher says them again.
    """
    return stack_parameter(stack, f"paused/{deployment}")


def metric_dimensions(stack: str, deployment: str) -> dict[str, str]:
    """Returns the dimensions of the metrics of one deployment.

    In one account and region no two stacks share them: these have different names, whatever their
    projects (`stack.model.StackContext.parameter`).

    The launcher says them again too (launcher/settings.py).
    """
    return {"Stack": stack, "Deployment": deployment}


SENT_DETAIL_TYPE: Final = "Task Sent"
"""The detail type of the event by which an application says that it has sent a task."""


def sent_source(deployment: str) -> str:
    """Returns the source of that event: a producer's policy can tell deployments apart by it."""
    return f"taskpacks.{deployment}"


class Variable(StrEnum):
    """The worker's environment, as the job definition sets it; what is empty is left out."""

    REGION = "AWS_REGION"
    """AWS's own name, which the worker and most SDKs read."""
    DEFAULT_REGION = "AWS_DEFAULT_REGION"
    """The only one that boto3 reads. The platform sets neither where a job sets one of them:
    https://github.com/aws/amazon-ecs-agent/pull/4946"""
    STACK = "TASKPACKS_STACK"
    """Name of the stack, a dimension of the worker's metrics."""
    PACK = "TASKPACKS_PACK"
    """Name of the pack whose tasks the worker runs."""
    DEPLOYMENT = "TASKPACKS_DEPLOYMENT"
    """Name of the deployment, which is Celery's name of its task queue."""
    QUEUE_URL = "TASKPACKS_QUEUE_URL"
    ROUTES = "TASKPACKS_ROUTES"
    """As JSON: name patterns of tasks by deployment: its own, and those of `sends_to`."""
    ADDRESSES = "TASKPACKS_ADDRESSES"
    """Name of the SSM parameter with the addresses of the other deployments' task queues; without
    it the worker sends to its own only."""
    ESCALATE_TO = "TASKPACKS_ESCALATE_TO"
    """Name of the deployment that gets tasks that died here; without it none does."""
    ESCALATE_ON = "TASKPACKS_ESCALATE_ON"
    """Comma-separated: what they died of, "memory" or "memory,time_limit"."""
    RESULT_BACKEND = "TASKPACKS_RESULT_BACKEND"
    """A Celery result backend URL; without it no results are stored."""
    STORE_ARGUMENTS = "TASKPACKS_STORE_ARGUMENTS"
    """ "true": results have the arguments of their tasks beside them."""
    VCPUS = "TASKPACKS_VCPUS"
    MEMORY_MIB = "TASKPACKS_MEMORY_MIB"
    PROCESSES = "TASKPACKS_PROCESSES"
    """How many tasks the worker runs at a time; without it, one."""
    IDLE_SECONDS = "TASKPACKS_IDLE_SECONDS"
    TASK_TIME_LIMIT_SECONDS = "TASKPACKS_TASK_TIME_LIMIT_SECONDS"
    MAX_ATTEMPTS = "TASKPACKS_MAX_ATTEMPTS"
    RETRY_BACKOFF_SECONDS = "TASKPACKS_RETRY_BACKOFF_SECONDS"
    RETRY_BACKOFF_MAX_SECONDS = "TASKPACKS_RETRY_BACKOFF_MAX_SECONDS"
    STOP_GRACE_SECONDS = "TASKPACKS_STOP_GRACE_SECONDS"
    SPOT_ENDPOINT = "TASKPACKS_SPOT_ENDPOINT"
    """The instance metadata service, where Spot notices are looked for; without it nobody looks."""
    DATA_URI = "TASKPACKS_DATA_URI"
    """For packs: the deployment's own folder in the stack's bucket, with a slash at the end."""
    SCRATCH_URI = "TASKPACKS_SCRATCH_URI"
    """For packs: another such folder, whose objects are deleted after a week."""
    URI_SCHEMES = "TASKPACKS_URI_SCHEMES"
    """Comma-separated: where tasks may read and write, "s3" or "s3,file"."""


class ExitCode(IntEnum):
    """How a worker ends. Anything else is a crash."""

    DRAINED = 0
    """The task queue was empty for idle_seconds."""
    SETTINGS_REFUSED = 64
    """Its environment, its pack or its scratch cannot be used: starting it again would not help."""
    QUEUE_UNUSABLE = 69
    """SQS does not serve it: the task queue does not answer, is not ours to serve, or has no
    dead-letter queue. Or the result table does not answer."""
    STOPPED = 75
    """A signal or a Spot notice asked it to leave before the queue was drained; what it held is
    given back."""

    @property
    def starts_another(self) -> bool:
        """Whether Batch is to start another worker for one that ended so."""
        return self is ExitCode.STOPPED


@dataclass(frozen=True, kw_only=True)
class WorkerContext:
    """The place where a pack's tasks and worker hooks run."""

    deployment: str
    vcpus: float
    """The vCPUs of the worker; its processes share them, and the memory."""
    memory_mib: int
    processes: int = 1
    """How many tasks the worker runs at a time, each in a process of its own."""
    uri_schemes: frozenset[str]
    scratch_root: Path
    """A folder of this worker's own, removed when it leaves."""
    environment: Mapping[str, str]
    """The worker's whole environment, which has what the pack's own hooks put there."""

    @property
    def thread_budget(self) -> int:
        """Threads for an external program: the task's share of all vCPUs but the worker's own.

        At least one.
        """
        return max(1, (int(self.vcpus) - 1) // self.processes)

    @property
    def memory_budget_mib(self) -> int:
        """The task's share of the memory; what each process needs for itself is a part of it."""
        return self.memory_mib // self.processes

    @property
    def scratch_parent(self) -> Path:
        """The folder that scratch folders are made in."""
        return self.scratch_root

    @contextmanager
    def scratch_folder(self, needs_bytes: int = 0) -> Generator[Path]:
        """Gives a task a folder of its own and removes it, whatever happens inside.

        Args:
            needs_bytes: How much the task will write at most, as far as it knows.

        Raises:
            ScratchFullError: Less than that is free.
        """
        free_bytes = shutil.disk_usage(self.scratch_root).free
        if free_bytes < needs_bytes:
            raise ScratchFullError(
                f"the task needs {needs_bytes:_} bytes of scratch and {free_bytes:_} are free; "
                "give the deployment more: resources.scratch_gib"
            )
        with tempfile.TemporaryDirectory(prefix="task-", dir=self.scratch_parent) as folder:
            yield Path(folder)


@dataclass(frozen=True, kw_only=True)
class InfrastructureContext:
    """The resources that `taskpack_infrastructure` builds on."""

    deployment: str
    worker_role: pulumi.Input[str]
    """Name of the IAM role that the tasks run under: attach what the resources need."""
    parent: pulumi.Resource
    """Give it to every resource: `opts=pulumi.ResourceOptions(parent=context.parent)`."""
    kms_key: str | None = None
    """ARN of the key that encrypts what the stack stores; encrypt what you store with it too. The
    tasks may use it through S3, SQS and DynamoDB. None leaves that to keys that AWS manages."""


@dataclass(frozen=True, kw_only=True)
class DemoContext:
    """The folders and settings that `taskpack_demo` works with."""

    output: str
    """URI of a folder for this deployment, without a slash at the end; its tasks may read
    from it and write to it, and so may the caller."""
    sends_to: frozenset[str] = frozenset()
    """Names of the other deployments that this one's tasks may send tasks to."""
