"""AWS Batch: compute environments, job queues and job definitions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.errors import CloudError
from local.engine.handlers.base import (
    AutoName,
    Handler,
    Update,
    Values,
    dropped_tags,
    tagged,
    without,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_SERVICE: Final = "batch.amazonaws.com"


class _Tagged(Handler):
    """Batch's way with tags, which all three types share."""

    auto_name = AutoName(max_length=128)
    capitalised = False

    @staticmethod
    def retag(cloud: Cloud, change: Update) -> None:
        """Settles the tags if they changed."""
        if "tags" in change.changed:
            if dropped := dropped_tags(change):
                cloud.client("batch").untag_resource(resourceArn=change.id, tagKeys=dropped)
            if tags := change.new.get("tags"):
                cloud.client("batch").tag_resource(resourceArn=change.id, tags=tags)


class ComputeEnvironment(_Tagged):
    """Where jobs run. Its id is its ARN."""

    resource_type = "aws:batch/computeEnvironment:ComputeEnvironment"
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="computeEnvironmentName", replaces=True),
        "computeResources": Property(
            fields={
                "allocationStrategy": Property(),
                "bidPercentage": Property(),
                "desiredVcpus": Property(api="desiredvCpus"),
                "ec2Configurations": Property(
                    api="ec2Configuration",
                    fields={
                        "imageIdOverride": Property(),
                        "imageKubernetesVersion": Property(),
                        "imageType": Property(),
                    },
                ),
                "ec2KeyPair": Property(),
                "imageId": Property(),
                "instanceRole": Property(),
                "instanceTypes": Property(),
                "launchTemplate": Property(
                    fields={
                        "launchTemplateId": Property(),
                        "launchTemplateName": Property(),
                        "version": Property(),
                    },
                ),
                "maxVcpus": Property(api="maxvCpus"),
                "minVcpus": Property(api="minvCpus"),
                "placementGroup": Property(),
                "securityGroupIds": Property(),
                "spotIamFleetRole": Property(),
                "subnets": Property(),
                "tags": Property(),
                "type": Property(),
            },
        ),
        "serviceRole": Property(),
        "state": Property(default="ENABLED"),
        "type": Property(replaces=True),
        "updatePolicy": Property(
            fields={
                "jobExecutionTimeoutMinutes": Property(),
                "terminateJobsOnUpdate": Property(),
            },
        ),
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

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the environment; without a service role, with the service-linked one."""
        parameters = {
            "state": "ENABLED",
            "serviceRole": inputs.get("serviceRole") or service_linked_role(cloud),
            **self.api(without(inputs, "updatePolicy")),
        }
        answer = cloud.client("batch").create_compute_environment(**parameters)
        return answer["computeEnvironmentArn"]

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Sets the update policy, which AWS takes only afterwards."""
        if "updatePolicy" in inputs:
            cloud.client("batch").update_compute_environment(
                computeEnvironment=resource_id, **self.api({"updatePolicy": inputs["updatePolicy"]})
            )

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the environment."""
        del inputs
        found = cloud.client("batch").describe_compute_environments(
            computeEnvironments=[resource_id]
        )["computeEnvironments"]
        if not found:
            return None
        environment = found[0]
        return {
            **self.wire(environment),
            **tagged(environment.get("tags", {})),
            "arn": environment["computeEnvironmentArn"],
            "ecsClusterArn": environment.get("ecsClusterArn", ""),
            "status": environment.get("status", ""),
            "statusReason": environment.get("statusReason", ""),
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Updates what changed."""
        wanted = {**change.new}
        if "serviceRole" in change.changed and not wanted.get("serviceRole"):
            wanted["serviceRole"] = service_linked_role(cloud)
        if names := change.changed - {"tags"}:
            parameters = self.api(self.wanted(wanted, names))
            if "computeResources" in parameters and not _type_changed(change):
                parameters["computeResources"].pop("type", None)
            cloud.client("batch").update_compute_environment(
                computeEnvironment=change.id, **parameters
            )
        self.retag(cloud, change)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Disables the environment, then deletes it."""
        del inputs, outputs
        batch = cloud.client("batch")
        if batch.describe_compute_environments(computeEnvironments=[resource_id])[
            "computeEnvironments"
        ]:
            batch.update_compute_environment(computeEnvironment=resource_id, state="DISABLED")
            batch.delete_compute_environment(computeEnvironment=resource_id)
            self._refuse_invalid(batch, resource_id)

    @staticmethod
    def _refuse_invalid(batch: Any, resource_id: str) -> None:
        """Fails as the provider does, which waits until the environment is gone.

        https://github.com/hashicorp/terraform-provider-aws/issues/21262

        Raises:
            CloudError: AWS could not delete it.
        """
        for left in batch.describe_compute_environments(computeEnvironments=[resource_id])[
            "computeEnvironments"
        ]:
            raise CloudError(
                f"waiting for Batch Compute Environment ({resource_id}) delete: unexpected state "
                f"'{left['status']}', wanted target ''. End the jobs that run on it, and try again."
            )


def service_linked_role(cloud: Cloud) -> str:
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


class JobQueue(_Tagged):
    """Where jobs wait. Its id is its ARN."""

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
        "schedulingPolicyArn": Property(),
        "state": Property(),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the queue."""
        return cloud.client("batch").create_job_queue(**self.api(inputs))["jobQueueArn"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the queue."""
        del inputs
        found = cloud.client("batch").describe_job_queues(jobQueues=[resource_id])["jobQueues"]
        if not found:
            return None
        queue = found[0]
        return {**self.wire(queue), **tagged(queue.get("tags", {})), "arn": queue["jobQueueArn"]}

    def update(self, cloud: Cloud, change: Update) -> str:
        """Updates what changed."""
        if names := change.changed - {"tags"}:
            cloud.client("batch").update_job_queue(
                jobQueue=change.id, **self.api(self.wanted(change.new, names))
            )
        self.retag(cloud, change)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Disables the queue, then deletes it."""
        del inputs, outputs
        batch = cloud.client("batch")
        if batch.describe_job_queues(jobQueues=[resource_id])["jobQueues"]:
            batch.update_job_queue(jobQueue=resource_id, state="DISABLED")
            batch.delete_job_queue(jobQueue=resource_id)


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


class JobDefinition(_Tagged):
    """The definition of a job. A change registers a new revision; its id is the revision's ARN."""

    resource_type = "aws:batch/jobDefinition:JobDefinition"
    volatile = frozenset({"id", "arn", "revision"})
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="jobDefinitionName", replaces=True),
        "containerProperties": Property(json=True, normalise=_container),
        "deregisterOnNewRevision": Property(engine_only=True, default=True),
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

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Registers a revision."""
        parameters = self.api(inputs)
        if "containerProperties" in parameters:
            parameters["containerProperties"] = json.loads(parameters["containerProperties"])
        return cloud.client("batch").register_job_definition(**parameters)["jobDefinitionArn"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the revision; one that is deregistered counts as gone."""
        del inputs
        found = cloud.client("batch").describe_job_definitions(jobDefinitions=[resource_id])[
            "jobDefinitions"
        ]
        active = [definition for definition in found if definition["status"] == "ACTIVE"]
        if not active:
            return None
        definition = active[0]
        values = self.wire(definition)
        if "containerProperties" in values:
            values["containerProperties"] = json.dumps(values["containerProperties"])
        return {
            **values,
            **tagged(definition.get("tags", {})),
            "arn": definition["jobDefinitionArn"],
            "arnPrefix": definition["jobDefinitionArn"].rpartition(":")[0],
            "revision": definition["revision"],
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Tags in place; anything else is a new revision, and the old one is deregistered."""
        if change.changed <= {"tags"}:
            self.retag(cloud, change)
            return change.id
        new_id = self.create(cloud, dict(change.new))
        if change.new.get("deregisterOnNewRevision", True):
            cloud.client("batch").deregister_job_definition(jobDefinition=change.id)
        return new_id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deregisters every active revision of the name."""
        del resource_id, outputs
        batch = cloud.client("batch")
        active = batch.describe_job_definitions(jobDefinitionName=inputs["name"], status="ACTIVE")[
            "jobDefinitions"
        ]
        for definition in active:
            batch.deregister_job_definition(jobDefinition=definition["jobDefinitionArn"])
