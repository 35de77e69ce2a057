"""AWS Batch: compute environments, job queues and job definitions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.errors import CloudError
from local.engine.handlers.base import (
    AutoName,
    Handler,
    Resource,
    Tagging,
    Update,
    Values,
    tagged,
    without,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_SERVICE: Final = "batch.amazonaws.com"


class _Batch(Handler):
    """The common part of Batch's three types."""

    service = "batch"
    auto_name = AutoName(max_length=128)
    capitalised = False
    tagging = Tagging(shape=dict)


class ComputeEnvironment(_Batch):
    """The machines that jobs run on. Its id is its ARN."""

    resource_type = "aws:batch/computeEnvironment:ComputeEnvironment"
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="computeEnvironmentName", replaces=True),
        "computeResources": Property(
            fields={
                "allocationStrategy": Property(),
                "ec2Configurations": Property(
                    api="ec2Configuration", fields={"imageType": Property()}
                ),
                "instanceRole": Property(),
                "instanceTypes": Property(),
                "launchTemplate": Property(
                    fields={"launchTemplateId": Property(), "version": Property()}
                ),
                "maxVcpus": Property(api="maxvCpus"),
                "minVcpus": Property(api="minvCpus"),
                "securityGroupIds": Property(),
                "subnets": Property(),
                "tags": Property(),
                "type": Property(),
            }
        ),
        "state": Property(default="ENABLED"),
        "type": Property(replaces=True),
        "tags": TAGS,
        "region": REGION,
    }

    def replaced_by(
        self, old: Mapping[str, Any], new: Mapping[str, Any], changed: frozenset[str]
    ) -> frozenset[str]:
        """Between Fargate and EC2 there is no way in place."""
        found = super().replaced_by(old, new, changed)
        if "computeResources" in changed and _fargate(old) != _fargate(new):
            found |= {"computeResources"}
        return found

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        """The environment's role is the service-linked one."""
        answer = cloud.client("batch").create_compute_environment(
            **{"state": "ENABLED", **self.api(inputs)}, serviceRole=_service_linked_role(cloud)
        )
        return answer["computeEnvironmentArn"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        found = _environments(cloud, resource.id)
        if not found:
            return None
        return {
            **self.wire(found[0]),
            **tagged(found[0].get("tags", {})),
            "arn": found[0]["computeEnvironmentArn"],
            "status": found[0].get("status", ""),
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        parameters = self.wanted(change.new, change.changed)
        if "computeResources" in parameters and not _type_changed(change):
            parameters["computeResources"].pop("type", None)
        cloud.client("batch").update_compute_environment(computeEnvironment=change.id, **parameters)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        """Disables the environment, deletes it, and fails as the provider does if it is left.

        https://github.com/hashicorp/terraform-provider-aws/issues/21262

        Raises:
            CloudError: AWS could not delete it.
        """
        batch = cloud.client("batch")
        if not _environments(cloud, resource.id):
            return
        batch.update_compute_environment(computeEnvironment=resource.id, state="DISABLED")
        batch.delete_compute_environment(computeEnvironment=resource.id)
        for left in _environments(cloud, resource.id):
            raise CloudError(
                f"waiting for Batch Compute Environment ({resource.id}) delete: unexpected state "
                f"'{left['status']}', wanted target ''. End the jobs that run on it, and try again."
            )


def _environments(cloud: Cloud, arn: str) -> list[Values]:
    answer = cloud.client("batch").describe_compute_environments(computeEnvironments=[arn])
    return answer["computeEnvironments"]


def _service_linked_role(cloud: Cloud) -> str:
    """The role that AWS makes by itself the first time that an account uses Batch."""
    iam = cloud.client("iam")
    found = iam.list_roles(PathPrefix=f"/aws-service-role/{_SERVICE}/")["Roles"]
    if found:
        return found[0]["Arn"]
    return iam.create_service_linked_role(AWSServiceName=_SERVICE)["Role"]["Arn"]


def _fargate(inputs: Mapping[str, Any]) -> bool:
    return "FARGATE" in str((inputs.get("computeResources") or {}).get("type"))


def _type_changed(change: Update) -> bool:
    """AWS takes a type in an update only when it changes, and only between like and like."""
    old = (change.old.get("computeResources") or {}).get("type")
    return old != change.new["computeResources"].get("type")


class JobQueue(_Batch):
    """The queue that jobs wait in. Its id is its ARN."""

    resource_type = "aws:batch/jobQueue:JobQueue"
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="jobQueueName", replaces=True),
        "computeEnvironmentOrders": Property(
            api="computeEnvironmentOrder",
            fields={"computeEnvironment": Property(), "order": Property()},
        ),
        "jobStateTimeLimitActions": Property(
            default=[],
            fields={
                "action": Property(),
                "maxTimeSeconds": Property(),
                "reason": Property(),
                "state": Property(),
            },
        ),
        "priority": Property(),
        "state": Property(),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        return cloud.client("batch").create_job_queue(**self.api(inputs))["jobQueueArn"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        found = cloud.client("batch").describe_job_queues(jobQueues=[resource.id])["jobQueues"]
        if not found:
            return None
        queue = found[0]
        return {**self.wire(queue), **tagged(queue.get("tags", {})), "arn": queue["jobQueueArn"]}

    def modify(self, cloud: Cloud, change: Update) -> None:
        parameters = self.wanted(change.new, change.changed)
        cloud.client("batch").update_job_queue(jobQueue=change.id, **parameters)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        """Disables the queue, then deletes it."""
        batch = cloud.client("batch")
        if batch.describe_job_queues(jobQueues=[resource.id])["jobQueues"]:
            batch.update_job_queue(jobQueue=resource.id, state="DISABLED")
            batch.delete_job_queue(jobQueue=resource.id)


def _container(properties: Any) -> Any:
    """Batch drops empty variables and keeps no order among them."""
    if not isinstance(properties, dict):
        return properties
    variables = [item for item in properties.get("environment") or () if item.get("value")]
    return {
        **without(properties, "environment"),
        "environment": sorted(variables, key=lambda item: item["name"]),
    }


def _retries(strategy: Any) -> Any:
    """Batch answers with actions in lower case, whatever was given."""
    rules = [
        {name: str(value).lower() if name == "action" else value for name, value in rule.items()}
        for rule in strategy.get("evaluateOnExits", ())
    ]
    return {**strategy, "evaluateOnExits": rules} if rules else strategy


class JobDefinition(_Batch):
    """The definition of a job. A change registers a new revision; its id is the revision's ARN."""

    resource_type = "aws:batch/jobDefinition:JobDefinition"
    volatile = frozenset({"id", "arn", "revision"})
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="jobDefinitionName", replaces=True),
        "containerProperties": Property(json=True, normalise=_container),
        "parameters": Property(exact=True, default={}),
        "platformCapabilities": Property(unordered=True),
        "propagateTags": Property(default=False),
        "retryStrategy": Property(
            normalise=_retries,
            fields={
                "attempts": Property(),
                "evaluateOnExits": Property(
                    api="evaluateOnExit",
                    fields={
                        "action": Property(),
                        "onExitCode": Property(),
                        "onReason": Property(),
                        "onStatusReason": Property(),
                    },
                ),
            },
        ),
        "schedulingPriority": Property(),
        "timeout": Property(fields={"attemptDurationSeconds": Property()}),
        "type": Property(replaces=True),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        parameters = self.api(inputs)
        if "containerProperties" in parameters:
            parameters["containerProperties"] = json.loads(parameters["containerProperties"])
        return cloud.client("batch").register_job_definition(**parameters)["jobDefinitionArn"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        """A revision that is deregistered counts as gone."""
        found = cloud.client("batch").describe_job_definitions(jobDefinitions=[resource.id])
        active = [each for each in found["jobDefinitions"] if each["status"] == "ACTIVE"]
        if not active:
            return None
        arn = active[0]["jobDefinitionArn"]
        return {
            **self.wire(active[0]),
            **tagged(active[0].get("tags", {})),
            "arn": arn,
            "arnPrefix": arn.rpartition(":")[0],
            "revision": active[0]["revision"],
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Tags in place; anything else is a new revision, and the old one is deregistered."""
        if change.changed <= {"tags"}:
            return super().update(cloud, change)
        new_id = self.create(cloud, change.new)
        cloud.client("batch").deregister_job_definition(jobDefinition=change.id)
        return new_id

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        """Deregisters every active revision of the name."""
        batch = cloud.client("batch")
        active = batch.describe_job_definitions(
            jobDefinitionName=resource.inputs["name"], status="ACTIVE"
        )
        for each in active["jobDefinitions"]:
            batch.deregister_job_definition(jobDefinition=each["jobDefinitionArn"])
