"""IAM policies of workers, their machines and senders, one statement a need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stack.documents import key_policies
from stack.documents.iam import allow, bucket_and_key, document, secret_arn
from stack.documents.registry import may_have_token
from taskpacks.contract import (
    CELERY_RESULT_KEYS,
    SENT_DETAIL_TYPE,
    attempts_key,
    cancels_key,
    sent_source,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.model import StackContext
    from taskpacks.types import Permissions

DATA_AREAS: Final = ("data", "scratch")
"""The folders of the data bucket; below each, every deployment has one of its own."""


def instance(
    context: StackContext,
    *,
    environments: str,
    repository_arns: Sequence[str | None],
    log_group_arns: Sequence[str],
) -> dict[str, Any]:
    """Returns what an EC2 instance of Batch may do, and so every task that runs on it.

    Workers on EC2 have their instance's network, so its role is theirs too:
    https://docs.aws.amazon.com/batch/latest/userguide/networking-modes-jobs.html

    AWS's managed policy for such instances, without: making clusters, draining instances, tags of
    other instances and of EC2, and whatever is not this stack's:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/instance_IAM_role.html

    Args:
        context: The stack's.
        environments: How the names of the compute environments begin, and no others in the
            account. Batch calls their ECS clusters AWSBatch-NAME-ID:
            https://docs.aws.amazon.com/aws-managed-policy/latest/reference/BatchServiceRolePolicy.html
        repository_arns: ECR repositories of the images; None for an image from elsewhere.
        log_group_arns: Where the workers' output goes.
    """
    clusters = context.arn("ecs", f"cluster/AWSBatch-{environments}-*")
    instances = context.arn("ecs", f"container-instance/AWSBatch-{environments}-*")
    return document(
        [
            # AWS knows no resource for it:
            # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
            allow(["ecs:DiscoverPollEndpoint"], ["*"]),
            allow(
                [
                    "ecs:RegisterContainerInstance",
                    "ecs:DeregisterContainerInstance",
                    "ecs:SubmitAttachmentStateChanges",
                    "ecs:SubmitContainerStateChange",
                    "ecs:SubmitTaskStateChange",
                ],
                [clusters],
            ),
            allow(["ecs:Poll", "ecs:StartTelemetrySession"], [instances]),
            # An instance that registers with tags needs it, and for nothing else.
            allow(
                ["ecs:TagResource"],
                [instances],
                Condition={"StringEquals": {"ecs:CreateAction": "RegisterContainerInstance"}},
            ),
            *_run_container(repository_arns, log_group_arns),
        ]
    )


def worker(
    queue_arn: str,
    results_arn: str,
    data_arn: str,
    permissions: Permissions,
    *,
    deployment: str,
    context: StackContext,
    sends_to: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns what a pack's tasks may do: their task queue, the results, what it declares.

    Args:
        queue_arn: The deployment's task queue.
        results_arn: The stack's table of results.
        data_arn: The stack's data bucket, of which the deployment's own folders are theirs.
        permissions: What the pack declares beyond that.
        deployment: Its name.
        context: Of the stack.
        sends_to: ARNs of other deployments' task queues that its tasks may send to.
    """
    statements = [
        allow(
            [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueueAttributes",
                # A task that retries, or has others follow it, sends messages itself.
                "sqs:SendMessage",
            ],
            [queue_arn],
        ),
        _use_of_results(
            [
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:UpdateItem",
                "dynamodb:DeleteItem",
                # In transactions, which need no permission of their own:
                # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
                "dynamodb:ConditionCheckItem",
                # Tasks that are done are noted several in one call.
                "dynamodb:BatchWriteItem",
            ],
            results_arn,
            CELERY_RESULT_KEYS,
            attempts_key(deployment, "*"),
            cancels_key(deployment),
        ),
    ]
    if sends_to:
        statements += [
            allow(["sqs:SendMessage"], sends_to),
            allow(["ssm:GetParameter"], [context.producer_parameter_arn]),
        ]
    partition = context.partition
    for prefix in permissions.read:
        bucket = _Prefix(prefix, partition)
        statements += [bucket.may_list, allow(["s3:GetObject"], [bucket.objects_arn])]
    statements += [
        allow(["s3:PutObject", "s3:AbortMultipartUpload"], [_Prefix(prefix, partition).objects_arn])
        for prefix in permissions.write
    ]
    statements += _own_folders(data_arn, deployment)
    statements += key_policies.stored_data(("sqs", "dynamodb", "s3"), context)
    statements += [dict(statement) for statement in permissions.statements]
    return document(statements)


def _use_of_results(actions: Sequence[str], results_arn: str, *keys: str) -> dict[str, Any]:
    """Returns the use of items of the result table.

    Args:
        actions: On items; those that find items (Query, Scan) are never among them.
        results_arn: The table.
        keys: Patterns of the items' keys. They cannot tell one deployment's results from
            another's: docs/adr/0016-one-result-table.md.
    """
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
    return allow(
        actions,
        [results_arn],
        Condition={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(keys)}},
    )


def _cancelling(deployments: str, results_arn: str) -> dict[str, Any]:
    """Returns the writes of `taskpacks.cancel`: marks, and nothing else of a task's item."""
    keys = [attempts_key(deployments, "*"), cancels_key(deployments)]
    return allow(
        ["dynamodb:UpdateItem"],
        [results_arn],
        Condition={
            "ForAllValues:StringLike": {"dynamodb:LeadingKeys": keys},
            "ForAllValues:StringEquals": {
                "dynamodb:Attributes": ["id", "cancelled", "latest", "ttl"]
            },
            "StringEqualsIfExists": {"dynamodb:ReturnValues": "NONE"},
        },
    )


def _own_folders(data_arn: str, deployment: str) -> list[dict[str, Any]]:
    folders = [f"{area}/{deployment}/*" for area in DATA_AREAS]
    return [
        allow(
            ["s3:ListBucket"],
            [data_arn],
            Condition={"StringLike": {"s3:prefix": folders}},
        ),
        allow(
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            [f"{data_arn}/{folder}" for folder in folders],
        ),
    ]


class _Prefix:
    """An s3://bucket/prefix in the words of IAM."""

    def __init__(self, prefix: str, partition: str) -> None:
        self._bucket_arn, self._key = bucket_and_key(prefix, partition)

    @property
    def objects_arn(self) -> str:
        return f"{self._bucket_arn}/{self._key}*"

    @property
    def may_list(self) -> dict[str, Any]:
        # Without it, S3 answers "access denied" for an object that is merely missing.
        return allow(
            ["s3:ListBucket"],
            [self._bucket_arn],
            Condition={"StringLike": {"s3:prefix": f"{self._key}*"}},
        )


def _run_container(
    repository_arns: Sequence[str | None], log_group_arns: Sequence[str]
) -> list[dict[str, Any]]:
    """Pulling images, and writing what containers print."""
    statements = [
        allow(["logs:CreateLogStream", "logs:PutLogEvents"], [f"{arn}:*" for arn in log_group_arns])
    ]
    if repositories := sorted({arn for arn in repository_arns if arn}):
        statements += [
            may_have_token(),
            allow(
                [
                    "ecr:BatchCheckLayerAvailability",
                    "ecr:GetDownloadUrlForLayer",
                    "ecr:BatchGetImage",
                ],
                repositories,
            ),
        ]
    return statements


def execution(
    repository_arn: str | None,
    log_group_arn: str,
    secret_arns: Sequence[str],
    *,
    keys: Sequence[str],
    context: StackContext,
) -> dict[str, Any]:
    """Returns what ECS does before and around the container: pull its image, write its log.

    Args:
        repository_arn: The image's ECR repository; None for an image from elsewhere.
        log_group_arn: Where the worker's output goes.
        secret_arns: What the worker's environment refers to.
        keys: ARNs of the operator's keys that secrets may be encrypted with.
        context: Of the stack.
    """
    statements = _run_container([repository_arn], [log_group_arn])
    for service, action in (
        ("secretsmanager", "secretsmanager:GetSecretValue"),
        ("ssm", "ssm:GetParameters"),
    ):
        arns = [secret_arn(each) for each in secret_arns if f":{service}:" in each]
        if arns:
            statements.append(allow([action], arns))
    return document([*statements, *key_policies.secrets(keys, secret_arns, context.partition)])


def producer(
    queue_arns: Sequence[str],
    results_arn: str,
    *,
    deployments: str,
    bus_arn: str | None = None,
    context: StackContext,
) -> dict[str, Any]:
    """Returns what an application needs that sends and cancels tasks and reads their results.

    Args:
        queue_arns: The task queues that it may send to.
        results_arn: The stack's table of results.
        deployments: The name of the deployment that it may cancel tasks of; "*" for all.
        bus_arn: Where it may say that it has sent a task; None where no event is listened to.
        context: Of the stack.
    """
    statements = [
        # kombu declares a queue before it sends, and asks for its depth when it does.
        allow(["sqs:SendMessage", "sqs:GetQueueAttributes"], queue_arns),
        _use_of_results(["dynamodb:GetItem"], results_arn, CELERY_RESULT_KEYS),
        # Celery's own backend asks whether the table is there, and its time to live on.
        allow(["dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"], [results_arn]),
        _cancelling(deployments, results_arn),
        allow(["ssm:GetParameter"], [context.producer_parameter_arn]),
    ]
    if bus_arn:
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-conditions.html
        statements.append(
            allow(
                ["events:PutEvents"],
                [bus_arn],
                Condition={
                    "StringLike": {"events:source": sent_source(deployments)},
                    "StringEquals": {"events:detail-type": SENT_DETAIL_TYPE},
                },
            )
        )
    statements += key_policies.stored_data(("sqs", "dynamodb"), context)
    return document(statements)
