"""One pack, deployed under one name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from stack.components import tags
from stack.components.controller import Controller, ControllerArgs
from stack.components.dashboard import Row
from stack.components.deployment_record import noting, record_deployment
from stack.components.producer import sending_policy
from stack.components.scaling_alarms import ScalingAlarms, ScalingAlarmsArgs
from stack.components.task_queue import TaskQueue
from stack.components.watch import Watch, WatchArgs
from stack.components.worker_fleet import WorkerFleet, WorkerFleetArgs
from stack.components.worker_roles import WorkerRoles, WorkerRolesArgs
from stack.hardware import costs, shapes
from taskpacks.contract import WORKER_COMMAND, InfrastructureContext, Variable, sent_source
from taskpacks.errors import RefusedDeclarationError
from taskpacks.types import RESERVED_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stack.before_delete import Guards
    from stack.components.data_bucket import DataBucket
    from stack.components.image_repository import ImageRepository
    from stack.components.machines import Machines
    from stack.components.notices import Notices
    from stack.components.result_store import ResultStore
    from stack.components.send_events import SendEvents
    from stack.model import Deployment, StackContext, StackSettings
    from taskpacks.types import PackSpec


@dataclass(frozen=True, kw_only=True)
class PackDeploymentArgs:
    """A deployment, and what it shares with the rest of its stack."""

    deployment: Deployment
    settings: StackSettings
    machines: Machines
    assign_public_ip: bool
    results: ResultStore
    data: DataBucket
    images: ImageRepository
    notices: Notices
    sends: SendEvents | None
    guards: Guards
    context: StackContext


class PackDeployment(pulumi.ComponentResource):
    """All that one pack needs to have its tasks run.

    Its queues are made first, and `serve` makes the rest: its workers may send to the queues of
    other deployments, and these to its own.

    Consists of: a TaskQueue, a log group, WorkerRoles, what the pack's own hook makes, a
    WorkerFleet, by scaling mode a Controller or ScalingAlarms, a Watch, the producer policy of
    the deployment, and an SSM parameter that says that all of it is there.
    """

    queue: TaskQueue
    summary: Mapping[str, pulumi.Input[str]]
    """Its part of the stack's outputs."""
    dashboard_row: pulumi.Output[Row]
    producer_policy_arn: pulumi.Output[str]
    """The managed policy for applications that send to this deployment only."""

    def __init__(
        self, name: str, args: PackDeploymentArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        made: list[pulumi.Resource] = []
        inherited = pulumi.ResourceOptions(
            transformations=[
                tags.adding(tags.of_deployment(name, args.deployment.pack.name)),
                noting(made),
            ]
        )
        super().__init__(
            "taskpacks:stack:PackDeployment",
            name,
            None,
            pulumi.ResourceOptions.merge(opts, inherited),
        )
        self.queue = TaskQueue(
            name,
            args.deployment.spec.queue,
            kms_key=args.context.kms_key,
            guards=args.guards,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._name, self._args, self._made = name, args, made

    def serve(self, deployments: Mapping[str, PackDeployment], addresses: pulumi.Resource) -> None:
        """Makes what serves its task queue.

        Args:
            deployments: All of the stack, by their names.
            addresses: The parameter with the addresses of their task queues.
        """
        name, args, context = self._name, self._args, self._args.context
        pack, spec = args.deployment.pack, args.deployment.spec
        destinations = [deployments[each] for each in args.deployment.destinations]
        child = pulumi.ResourceOptions(parent=self)
        log_group = aws.cloudwatch.LogGroup(
            f"{name}-log",
            name=context.worker_log_group(name),
            retention_in_days=context.log_retention_days,
            kms_key_id=context.kms_key,
            opts=child,
        )
        roles = WorkerRoles(
            name,
            WorkerRolesArgs(
                deployment=name,
                queue_arn=self.queue.arn,
                sends_to_arns=[each.queue.arn for each in destinations],
                results_arn=args.results.table_arn,
                data_arn=args.data.arn,
                repository_arn=args.images.repository_arn(args.deployment),
                log_group_arn=log_group.arn,
                permissions=spec.permissions,
                secret_arns=tuple(spec.secrets.values()),
                secret_key_arns=args.settings.keys_of_secrets,
                context=context,
            ),
            opts=child,
        )
        own = pack.hooks.taskpack_infrastructure(
            context=InfrastructureContext(
                deployment=name,
                worker_role=roles.worker_name,
                parent=self,
                kms_key=context.kms_key,
            )
        )
        fleet = WorkerFleet(
            name,
            WorkerFleetArgs(
                resources=spec.resources,
                machines=args.machines,
                guards=args.guards,
                assign_public_ip=args.assign_public_ip,
                image=args.images.image(args.deployment),
                command=WORKER_COMMAND,
                environment={
                    **shapes.gpu_environment(spec.resources),
                    **pack_environment(name, spec, own or {}),
                    **worker_environment(args.deployment, args.settings, context),
                    Variable.QUEUE_URL: self.queue.url,
                    Variable.RESULT_BACKEND: args.results.backend_url,
                    Variable.DATA_URI: args.data.folder("data", name),
                    Variable.SCRATCH_URI: args.data.folder("scratch", name),
                },
                secrets=spec.secrets,
                worker_role_arn=roles.worker_arn,
                execution_role_arn=roles.execution_arn,
                log_group_name=log_group.name,
                worker_lifetime_seconds=spec.scaling.worker_lifetime_seconds,
                # A worker that starts finds the addresses of all that it may send to.
                after=[addresses] if destinations else [],
            ),
            opts=child,
        )
        scaling = self._scaling(name, args, fleet, log_group.name)
        watch = Watch(
            name,
            WatchArgs(
                queue_name=self.queue.name,
                scaling=spec.scaling,
                dead_letter_name=self.queue.dead_letter_name,
                worker_log_group=log_group.name,
                rule_names=scaling.rule_names,
                job_queue_arn=fleet.job_queue_arn,
                topic_arn=args.notices.topic_arn,
            ),
            opts=child,
        )
        sending = sending_policy(
            f"{name}-producer",
            f"the deployment {name}",
            name,
            [self.queue.arn],
            args.results,
            sends=args.sends if spec.scaling.wake_on_send else None,
            guards=args.guards,
            context=context,
            opts=child,
        )
        self.producer_policy_arn = sending.arn
        self.summary = {
            "pack": pack.name,
            "queue_url": self.queue.url,
            "queue_name": self.queue.name,
            "dead_letter_url": self.queue.dead_letter_url,
            "job_queue": fleet.job_queue_arn,
            "job_definition": fleet.job_definition_name,
            "log_group": log_group.name,
            **({"sends_to": ",".join(spec.sends_to)} if spec.sends_to else {}),
            **({"wake_source": sent_source(name)} if spec.scaling.wake_on_send else {}),
            **scaling.summary,
        }
        self.dashboard_row = pulumi.Output.all(
            self.queue.name, self.queue.dead_letter_name, log_group.name
        ).apply(
            lambda names: Row(
                stack=context.stack,
                deployment=name,
                queue_name=names[0],
                dead_letter_name=names[1],
                log_group_name=names[2],
                vcpus=spec.resources.vcpus,
                dollars_per_hour=costs.worker_hour_in(context.region, spec.resources),
            )
        )
        self._muted_while_paused = watch.muted_while_paused
        self.register_outputs({"queue_url": self.queue.url})

    def record(self, shared: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """Writes down that all of the deployment is there.

        Args:
            shared: The rest of the stack, which stays for as long as the deployment does.
        """
        return record_deployment(
            self._name,
            {
                **self.summary,
                "producer_policy": self.producer_policy_arn,
                "muted_while_paused": self._muted_while_paused,
            },
            self._args.guards,
            context=self._args.context,
            parent=self,
            of=[*(each for each in self._made if each is not self), *shared],
        )

    def _scaling(
        self,
        name: str,
        args: PackDeploymentArgs,
        fleet: WorkerFleet,
        worker_log_group: pulumi.Output[str],
    ) -> Controller | ScalingAlarms:
        """Returns what starts workers, by the spec's scaling mode."""
        child = pulumi.ResourceOptions(parent=self)
        spec = args.deployment.spec
        if spec.scaling.mode == "alarms":
            return ScalingAlarms(
                name,
                ScalingAlarmsArgs(
                    scaling=spec.scaling,
                    queue_name=self.queue.name,
                    job_queue_arn=fleet.job_queue_arn,
                    job_definition_name=fleet.job_definition_name,
                    job_definition_arn=fleet.job_definition_arn,
                    context=args.context,
                ),
                opts=child,
            )
        return Controller(
            name,
            ControllerArgs(
                pack=args.deployment.pack.name,
                spec=spec,
                queue=self.queue,
                fleet=fleet,
                worker_log_group=worker_log_group,
                topic_arn=args.notices.topic_arn,
                context=args.context,
            ),
            opts=child,
        )


def worker_environment(
    deployment: Deployment, settings: StackSettings, context: StackContext
) -> dict[str, str]:
    """The worker's settings that are known before anything is made."""
    spec = deployment.spec
    patterns = {each.name: each.patterns for each in settings.deployments}
    routes = {name: patterns[name] for name in (deployment.name, *spec.sends_to)}
    other: dict[str, str] = {}
    if deployment.destinations:
        other[Variable.ADDRESSES] = context.producer_parameter
    if spec.store_arguments:
        other[Variable.STORE_ARGUMENTS] = "true"
    if spec.queue.escalate_to and spec.queue.escalate_on:
        other[Variable.ESCALATE_TO] = spec.queue.escalate_to
        other[Variable.ESCALATE_ON] = ",".join(spec.queue.escalate_on)
    return {
        **other,
        Variable.REGION: context.region,
        Variable.DEFAULT_REGION: context.region,
        Variable.STACK: context.stack,
        Variable.PACK: deployment.pack.name,
        Variable.DEPLOYMENT: deployment.name,
        Variable.ROUTES: json.dumps(routes, separators=(",", ":")),
        Variable.VCPUS: f"{spec.resources.vcpus:g}",
        Variable.MEMORY_MIB: str(spec.resources.memory_mib),
        Variable.PROCESSES: str(spec.resources.processes),
        Variable.IDLE_SECONDS: str(spec.scaling.idle_seconds),
        Variable.TASK_TIME_LIMIT_SECONDS: str(spec.queue.task_time_limit_seconds),
        Variable.MAX_ATTEMPTS: str(spec.queue.max_attempts),
        Variable.RETRY_BACKOFF_SECONDS: f"{spec.queue.retry_backoff_seconds:g}",
        Variable.RETRY_BACKOFF_MAX_SECONDS: f"{spec.queue.retry_backoff_max_seconds:g}",
        Variable.STOP_GRACE_SECONDS: f"{spec.queue.stop_grace_seconds:g}",
        Variable.SPOT_ENDPOINT: shapes.spot_endpoint(spec.resources),
        Variable.URI_SCHEMES: ",".join(settings.uri_schemes),
    }


def pack_environment(
    name: str, spec: PackSpec, own: Mapping[str, pulumi.Input[str]]
) -> dict[str, pulumi.Input[str]]:
    """The pack's declared variables and those of its own infrastructure.

    Raises:
        RefusedDeclarationError: One is set by both, or its name is reserved.
    """
    for variable in own:
        if variable in spec.environment or variable in spec.secrets:
            raise RefusedDeclarationError(
                f"Deployment '{name}': taskpack_infrastructure returns {variable}, which the "
                "spec sets too; each variable has one source: rename one of them."
            )
        if variable.startswith(RESERVED_PREFIXES):
            raise RefusedDeclarationError(
                f"Deployment '{name}': taskpack_infrastructure returns {variable}: the prefixes "
                f"{' and '.join(RESERVED_PREFIXES)} belong to the worker and to AWS; choose "
                "another name."
            )
    return {**spec.environment, **own}
