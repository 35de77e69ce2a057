"""The Lambda function that decides how many workers to start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pulumi

from launcher.settings import SETTINGS_VARIABLE
from stack.components.json_text import as_json
from stack.components.python_function import python_function
from stack.documents import scaling_policies
from stack.documents.launcher_settings import launcher_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.components.task_queue import TaskQueue
    from stack.components.worker_fleet import WorkerFleet
    from stack.model import StackContext
    from taskpacks.types import PackSpec

HANDLER: Final = "launcher.handler.handle"
TIMEOUT_SECONDS: Final = 60
"""Longer than the launcher itself lets an observation take."""


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
        made = python_function(
            f"{name}-launcher",
            description=f"Decides how many workers of {name} to start",
            handler=HANDLER,
            timeout_seconds=TIMEOUT_SECONDS,
            variables={SETTINGS_VARIABLE: self._settings(name, args)},
            may=lambda log_group_arn: pulumi.Output.all(args.queue.arn, log_group_arn).apply(
                lambda arns: scaling_policies.launcher(name, arns[0], arns[1], context=args.context)
            ),
            context=args.context,
            parent=self,
        )
        self.arn = made.function.arn
        self.role_name = made.role.name
        self.log_group_name = made.log_group.name
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
