"""Under which roles a deployment's workers run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from stack.components.json_text import as_json
from stack.documents import policies, trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.model import StackContext
    from taskpacks.types import Permissions


@dataclass(frozen=True, kw_only=True)
class WorkerRolesArgs:
    """The resources that the roles' policies name."""

    deployment: str
    queue_arn: pulumi.Input[str]
    sends_to_arns: Sequence[pulumi.Input[str]]
    results_arn: pulumi.Input[str]
    data_arn: pulumi.Input[str]
    repository_arn: pulumi.Input[str | None]
    log_group_arn: pulumi.Input[str]
    permissions: Permissions
    secret_arns: Sequence[str]
    secret_key_arns: Sequence[str]
    context: StackContext


class WorkerRoles(pulumi.ComponentResource):
    """The roles of a deployment's tasks, and of ECS, which starts them.

    Consists of: the worker's role and the execution role, each with one policy of its own.
    """

    worker_arn: pulumi.Output[str]
    worker_name: pulumi.Output[str]
    execution_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: WorkerRolesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:WorkerRoles", name, None, opts)
        worker = self._role(
            f"{name}-worker",
            as_json(
                pulumi.Output.all(
                    args.queue_arn, args.results_arn, args.data_arn, *args.sends_to_arns
                ).apply(
                    lambda arns: policies.worker(
                        arns[0],
                        arns[1],
                        arns[2],
                        args.permissions,
                        deployment=args.deployment,
                        context=args.context,
                        sends_to=arns[3:],
                    )
                )
            ),
            args.context,
        )
        execution = self._role(
            f"{name}-execution",
            as_json(
                pulumi.Output.all(args.repository_arn, args.log_group_arn).apply(
                    lambda arns: policies.execution(
                        arns[0],
                        arns[1],
                        args.secret_arns,
                        keys=args.secret_key_arns,
                        context=args.context,
                    )
                )
            ),
            args.context,
        )
        self.worker_arn = worker.arn
        self.worker_name = worker.name
        self.execution_arn = execution.arn
        self.register_outputs({"worker_arn": self.worker_arn})

    def _role(self, name: str, policy: pulumi.Output[str], context: StackContext) -> aws.iam.Role:
        role = aws.iam.Role(
            name,
            assume_role_policy=as_json(trust.trust(trust.ECS_TASKS, context)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.iam.RolePolicy(
            name, role=role.name, policy=policy, opts=pulumi.ResourceOptions(parent=self)
        )
        return role
