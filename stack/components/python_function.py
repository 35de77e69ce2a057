"""Makes the Lambda functions of a stack: the code of `launcher/`, a role, a log group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pulumi
import pulumi_aws as aws

from stack.components.json_text import as_json
from stack.documents import trust

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stack.model import StackContext

RUNTIME: Final = "python3.13"
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
class PythonFunction:
    """A function, with what it writes to and what it may."""

    function: aws.lambda_.Function
    role: aws.iam.Role
    log_group: aws.cloudwatch.LogGroup


def python_function(
    name: str,
    *,
    description: str,
    handler: str,
    timeout_seconds: int,
    variables: Mapping[str, pulumi.Input[str]],
    may: Callable[[pulumi.Output[str]], pulumi.Output[dict[str, Any]]],
    context: StackContext,
    parent: pulumi.Resource,
) -> PythonFunction:
    """Makes a function.

    Args:
        name: The logical name of all that it consists of.
        description: Of the function.
        handler: Module and function.
        timeout_seconds: Of an invocation.
        variables: Its environment.
        may: Makes its role's policy from its log group's ARN.
        context: Of the stack.
        parent: The component that it belongs to.
    """
    child = pulumi.ResourceOptions(parent=parent)
    log_group = aws.cloudwatch.LogGroup(
        name,
        retention_in_days=context.log_retention_days,
        kms_key_id=context.kms_key,
        opts=child,
    )
    role = aws.iam.Role(
        name, assume_role_policy=as_json(trust.trust(trust.LAMBDA, context)), opts=child
    )
    rights = aws.iam.RolePolicy(
        name, role=role.name, policy=as_json(may(log_group.arn)), opts=child
    )
    function = aws.lambda_.Function(
        name,
        description=description,
        runtime=RUNTIME,
        architectures=["arm64"],
        handler=handler,
        code=archive(),
        timeout=timeout_seconds,
        memory_size=MEMORY_MIB,
        role=role.arn,
        kms_key_arn=context.kms_key,
        environment={"variables": variables},
        # The text of its lines as it is: the launcher's are metrics too.
        logging_config={"log_format": "Text", "log_group": log_group.name},
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[rights]),
    )
    return PythonFunction(function=function, role=role, log_group=log_group)


def invoked_by(
    name: str,
    rule: aws.cloudwatch.EventRule,
    function: aws.lambda_.Function,
    *,
    parent: pulumi.Resource,
) -> None:
    """Makes a function the target of a rule, which needs the function's leave and no role.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html

    Args:
        name: The logical name of the target and of the leave.
        rule: On any bus.
        function: What it invokes.
        parent: The component that they belong to.
    """
    leave = aws.lambda_.Permission(
        name,
        action="lambda:InvokeFunction",
        function=function.name,
        principal=trust.EVENTS,
        source_arn=rule.arn,
        opts=pulumi.ResourceOptions(parent=parent),
    )
    aws.cloudwatch.EventTarget(
        name,
        rule=rule.name,
        event_bus_name=rule.event_bus_name,
        arn=function.arn,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[leave]),
    )
