"""Ends jobs whose job queue or compute environment is deleted, as AWS does and moto does not.

https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteJobQueue.html
https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteComputeEnvironment.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moto.batch.exceptions import ClientException

if TYPE_CHECKING:
    from local.cloud.scheduler import Scheduler

QUEUE_DELETED: Final = "Job queue deleted"
HOST_TERMINATED: Final = "Host EC2 terminated"
_INVALID: Final = "INVALID"
_STATUS: Final = "local_status"
"""An attribute of a compute environment here; moto calls all of them VALID."""


def delete_job_queue(original: Any, scheduler: Scheduler) -> Any:
    """DeleteJobQueue: the queue must be disabled, and its jobs are terminated."""

    def delete_job_queue(self: Any, queue_name: str) -> None:
        queue = self.get_job_queue(queue_name)
        if queue is not None and queue.state != "DISABLED":
            raise ClientException(f"Cannot delete, job queue {queue.arn} is {queue.state}")
        original(self, queue_name)
        for job, _environment in scheduler.unfinished():
            if job.job_queue is queue:
                scheduler.end(job, QUEUE_DELETED, running_too=True)

    return delete_job_queue


def delete_compute_environment(original: Any, scheduler: Scheduler) -> Any:
    """DeleteComputeEnvironment: it must be disabled, and no job queue may name it.

    Under running jobs, one on Fargate becomes INVALID and stays; one on EC2 takes its machines
    away.
    """

    def delete_compute_environment(self: Any, compute_environment_name: str) -> None:
        environment = self.get_compute_environment(compute_environment_name)
        if environment is not None:
            if environment.state != "DISABLED":
                raise ClientException(f"Cannot delete, {environment.name} is {environment.state}")
            if any(environment in queue.environments for queue in self._job_queues.values()):
                raise ClientException("Cannot delete, found existing JobQueue relationship")
            running = [job for job, name in scheduler.unfinished() if name == environment.name]
            if running and "FARGATE" in environment.compute_resources["type"]:
                setattr(environment, _STATUS, _INVALID)
                return
            for job in running:
                scheduler.end(job, HOST_TERMINATED, running_too=True)
        original(self, compute_environment_name)

    return delete_compute_environment


def describe_compute_environments(original: Any) -> Any:
    """DescribeComputeEnvironments, with the status of those whose deletion failed."""

    def describe_compute_environments(self: Any, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        found = original(self, *args, **kwargs)
        for each in found:
            environment = self.get_compute_environment(each["computeEnvironmentArn"])
            each["status"] = getattr(environment, _STATUS, each["status"])
        return found

    return describe_compute_environments
