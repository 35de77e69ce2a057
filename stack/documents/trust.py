"""The AWS services that may assume a role, and in whose name.

A service that says for whose resource it acts is restricted to this account, so that nobody else
can have it act under our roles:
https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
A service that does not say so would be refused for ever by such a condition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stack.documents.iam import document

if TYPE_CHECKING:
    from stack.model import StackContext

ECS_TASKS: Final = "ecs-tasks.amazonaws.com"
EC2: Final = "ec2.amazonaws.com"
EVENTS: Final = "events.amazonaws.com"
LAMBDA: Final = "lambda.amazonaws.com"
STATES: Final = "states.amazonaws.com"
CLOUDWATCH: Final = "cloudwatch.amazonaws.com"

SOURCES: Final = {
    # Batch's clusters are this account's; ECS knows no single one here:
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
    ECS_TASKS: "ecs:{region}:{account}:*",
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/cross-service-confused-deputy-prevention.html
    EVENTS: "events:{region}:{account}:rule/*",
    # https://docs.aws.amazon.com/step-functions/latest/dg/procedure-create-iam-role.html
    STATES: "states:{region}:{account}:stateMachine:*",
}
"""Service -> what it acts for, as its own documentation has it in a role's trust policy."""

WITHOUT_SOURCE: Final = {
    LAMBDA: "Lambda's documentation of execution roles shows no source: "
    "https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html",
    EC2: "EC2 takes on an instance's role without a source: "
    "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/iam-roles-for-amazon-ec2.html",
}
"""Service -> why its trust policy has no condition."""


def trust(service: str, context: StackContext) -> dict[str, Any]:
    """Lets an AWS service take on a role: for this account, where the service says for whom.

    Args:
        service: A service of `SOURCES` or of `WITHOUT_SOURCE`.
        context: Of the stack.
    """
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
    }
    if service not in WITHOUT_SOURCE:
        source = SOURCES[service].format(region=context.region, account=context.account_id)
        statement["Condition"] = {
            "StringEquals": {"aws:SourceAccount": context.account_id},
            "ArnLike": {"aws:SourceArn": f"arn:{context.partition}:{source}"},
        }
    return document([statement])
