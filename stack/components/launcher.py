"""The Lambda function that decides how many workers to start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pulumi
import pulumi_aws as aws

from launcher.settings import SETTINGS_VARIABLE
from stack.components.json_text import as_json
from stack.documents import scaling_policies, trust
from stack.documents.launcher_settings import launcher_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.components.task_queue import TaskQueue
    from stack.components.worker_fleet import WorkerFleet
    from stack.model import StackContext
    from taskpacks.types import PackSpec

HANDLER: Final = "launcher.handler.handle"
RUNTIME: Final = "python3.13"
TIMEOUT_SECONDS: Final = 60
"""Longer than the launcher itself lets an observation take."""
MEMORY_MIB: Final = 256
_FOLDER: Final = Path(__file__).resolve().parents[2] / "launcher"


def archive() -> pulumi.AssetArchive:
    """The launcher's own files and nothing else: Lambda brings boto3."""
    return pulumi.AssetArchive(
        {
            f"launcher/{path.name}": pulumi.FileAsset(str(path))
            for path in sorted(_FOLDER.glob("*.py"))
        }
    )


@dataclass(frozen=True, kw_only=True)
class LauncherArgs:
    """The resources that the launcher looks at."""

    pack: str
    spec: PackSpec
    queue: TaskQueue
    fleet: WorkerFleet
    context: StackContext


class Launcher(pulumi.ComponentResource):
    """Looks at a deployment's task queue and workers, and says how many workers to start.

    Consists of: a Lambda function, its role with one policy, its log group.
    """

    arn: pulumi.Output[str]
    role_name: pulumi.Output[str]
    log_group_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: LauncherArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:Launcher", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        log_group = aws.cloudwatch.LogGroup(
            f"{name}-launcher",
            retention_in_days=args.context.log_retention_days,
            kms_key_id=args.context.kms_key,
            opts=child,
        )
        role = aws.iam.Role(
            f"{name}-launcher",
            assume_role_policy=as_json(trust.trust(trust.LAMBDA, args.context)),
            opts=child,
        )
        rights = aws.iam.RolePolicy(
            f"{name}-launcher",
            role=role.name,
            policy=as_json(
                pulumi.Output.all(args.queue.arn, log_group.arn).apply(
                    lambda arns: scaling_policies.launcher(
                        name, arns[0], arns[1], context=args.context
                    )
                )
            ),
            opts=child,
        )
        function = aws.lambda_.Function(
            f"{name}-launcher",
            description=f"Decides how many workers of {name} to start",
            runtime=RUNTIME,
            architectures=["arm64"],
            handler=HANDLER,
            code=archive(),
            timeout=TIMEOUT_SECONDS,
            memory_size=MEMORY_MIB,
            role=role.arn,
            kms_key_arn=args.context.kms_key,
            environment={"variables": {SETTINGS_VARIABLE: self._settings(name, args)}},
            # The text of its lines as it is: they are metrics too.
            logging_config={"log_format": "Text", "log_group": log_group.name},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[rights]),
        )
        self.arn = function.arn
        self.role_name = role.name
        self.log_group_name = log_group.name
        self.register_outputs({"arn": self.arn})

    def _settings(self, name: str, args: LauncherArgs) -> pulumi.Output[str]:
        def settings(known: Sequence[str]) -> dict[str, Any]:
            queue_url, queue_name, job_queue_arn, job_definition_arn = known
            return launcher_settings(
                stack=args.context.stack,
                deployment=name,
                pack=args.pack,
                spec=args.spec,
                queue_url=queue_url,
                queue_name=queue_name,
                job_queue_arn=job_queue_arn,
                job_definition_arn=job_definition_arn,
            ).as_json()

        return as_json(
            pulumi.Output.all(
                args.queue.url,
                args.queue.name,
                args.fleet.job_queue_arn,
                args.fleet.job_definition_arn,
            ).apply(settings)
        )
