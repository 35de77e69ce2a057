"""Who may do what: IAM policy documents as pure functions, one statement a need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskpacks.types import Permissions

_VERSION: Final = "2012-10-17"

ECS_TASKS: Final = "ecs-tasks.amazonaws.com"
EC2: Final = "ec2.amazonaws.com"
EVENTS: Final = "events.amazonaws.com"


def _document(statements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": _VERSION, "Statement": list(statements)}


def _allow(actions: Sequence[str], resources: Sequence[str], **more: object) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources), **more}


def trust(service: str) -> dict[str, Any]:
    """Lets an AWS service take on a role."""
    return _document(
        [
            {
                "Effect": "Allow",
                "Principal": {"Service": service},
                "Action": "sts:AssumeRole",
            }
        ]
    )


def worker(queue_arn: str, results_arn: str, permissions: Permissions) -> dict[str, Any]:
    """What a pack's tasks may do: their own task queue, the results, what the pack declares."""
    statements = [
        _allow(
            [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueueAttributes",
            ],
            [queue_arn],
        ),
        # What Celery's DynamoDB backend calls; it finds the table made and its TTL on.
        _allow(
            [
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:UpdateItem",
                "dynamodb:DeleteItem",
                "dynamodb:DescribeTable",
                "dynamodb:DescribeTimeToLive",
            ],
            [results_arn],
        ),
    ]
    statements += [_list_prefix(prefix) for prefix in permissions.read]
    statements += [_allow(["s3:GetObject"], [_objects(prefix)]) for prefix in permissions.read]
    statements += [
        _allow(["s3:PutObject", "s3:AbortMultipartUpload"], [_objects(prefix)])
        for prefix in permissions.write
    ]
    statements += [dict(statement) for statement in permissions.statements]
    return _document(statements)


def _split(prefix: str) -> tuple[str, str]:
    bucket, _, key = prefix.removeprefix("s3://").partition("/")
    return bucket, key


def _objects(prefix: str) -> str:
    bucket, key = _split(prefix)
    return f"arn:aws:s3:::{bucket}/{key}*"


def _list_prefix(prefix: str) -> dict[str, Any]:
    # Without it, S3 answers "access denied" for an object that is merely missing.
    bucket, key = _split(prefix)
    return _allow(
        ["s3:ListBucket"],
        [f"arn:aws:s3:::{bucket}"],
        Condition={"StringLike": {"s3:prefix": f"{key}*"}},
    )


def execution(
    repository_arn: str, log_group_arn: str, secret_arns: Sequence[str]
) -> dict[str, Any]:
    """What ECS does before and around the container: pull its image, write its log."""
    statements = [
        # The token is for the registry as a whole; AWS knows no resource for it:
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
        _allow(["ecr:GetAuthorizationToken"], ["*"]),
        _allow(
            [
                "ecr:BatchCheckLayerAvailability",
                "ecr:GetDownloadUrlForLayer",
                "ecr:BatchGetImage",
            ],
            [repository_arn],
        ),
        _allow(["logs:CreateLogStream", "logs:PutLogEvents"], [f"{log_group_arn}:*"]),
    ]
    for service, action in (
        ("secretsmanager", "secretsmanager:GetSecretValue"),
        ("ssm", "ssm:GetParameters"),
    ):
        arns = [arn for arn in secret_arns if arn.split(":")[2:3] == [service]]
        if arns:
            statements.append(_allow([action], arns))
    return _document(statements)


def submit(job_queue_arn: str, job_definition_arn: str) -> dict[str, Any]:
    """Lets EventBridge submit this deployment's jobs, in whatever revision.

    Args:
        job_queue_arn: The job queue.
        job_definition_arn: The job definition's ARN with its revision.
    """
    definition, _, _revision = job_definition_arn.rpartition(":")
    return _document([_allow(["batch:SubmitJob"], [job_queue_arn, f"{definition}:*"])])


def undelivered_events(queue_arn: str, rule_arns: Sequence[str]) -> dict[str, Any]:
    """Lets EventBridge put into a dead-letter queue what these rules could not deliver."""
    return _document(
        [
            _allow(
                ["sqs:SendMessage"],
                [queue_arn],
                Principal={"Service": EVENTS},
                Condition={"ArnEquals": {"aws:SourceArn": list(rule_arns)}},
            )
        ]
    )
