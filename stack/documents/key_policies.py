"""Who may use which KMS key, as pure functions: statements of roles, and policies of keys.

Roles use a key through the services that store what it encrypts and never by themselves:
https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stack.documents.iam import allow, document
from stack.documents.trust import CLOUDWATCH, EVENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.model import StackContext


def _host(service: str, region: str, partition: str) -> str:
    """A service of a region, in the words of KMS's conditions and of principals."""
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    return f"{service}.{region}.{suffix}"


def _through(
    actions: Sequence[str], keys: Sequence[str], services: Sequence[str]
) -> list[dict[str, Any]]:
    """The statement that allows a use of keys through services; none where there is no key."""
    if not keys or not services:
        return []
    condition = {"StringEquals": {"kms:ViaService": list(services)}}
    return [allow(actions, keys, Condition=condition)]


def stored_data(services: Sequence[str], context: StackContext) -> list[dict[str, Any]]:
    """Lets a role read and write what the operator's key encrypts in these services.

    Args:
        services: Of "sqs", "dynamodb" and "s3".
        context: Of the stack. Without a `kms_key` there is nothing to allow.

    Sources: SQS asks for both actions when a message is sent, for Decrypt when it is received;
    DynamoDB for Decrypt, in the name of whoever uses the table; S3 for GenerateDataKey to put an
    object, and for Decrypt to get one or to complete an upload in parts.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    """
    return _through(
        ["kms:Decrypt", "kms:GenerateDataKey"],
        [context.kms_key] if context.kms_key else [],
        [_host(service, context.region, context.partition) for service in services],
    )


def secrets(
    keys: Sequence[str], secret_arns: Sequence[str], partition: str
) -> list[dict[str, Any]]:
    """Lets ECS read secrets that keys of the operator's encrypt.

    Args:
        keys: ARNs of the keys.
        secret_arns: The secrets, in Secrets Manager or in SSM's parameter store.
        partition: "aws", "aws-cn" or "aws-us-gov".

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html#task-execution-secrets
    """
    # arn:PARTITION:SERVICE:REGION:...
    places = {tuple(arn.split(":")[2:4]) for arn in secret_arns}
    hosts = sorted(_host(service, region, partition) for service, region in places)
    return _through(["kms:Decrypt"], keys, hosts)


def environment(context: StackContext) -> list[dict[str, Any]]:
    """Lets a Lambda function have its environment, which the operator's key encrypts.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars-encryption.html
    """
    keys = [context.kms_key] if context.kms_key else []
    host = _host("lambda", context.region, context.partition)
    return _through(["kms:Decrypt"], keys, [host])


def _account(account_id: str, partition: str) -> dict[str, Any]:
    """Leaves the use of a key to the account's own IAM policies.

    In a key's policy the resource "*" is the key itself:
    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
    """
    return allow(["kms:*"], ["*"], Principal={"AWS": f"arn:{partition}:iam::{account_id}:root"})


def _senders(account_id: str) -> dict[str, Any]:
    """Lets CloudWatch's alarms and EventBridge's rules send to an encrypted topic or queue.

    SNS's documentation asks for aws:SourceAccount here, and says that it is not supported for
    EventBridge; a notice that KMS refuses would be lost without a word. So another account is
    refused wherever a service says for whom it acts, and a call that names no account passes:
    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
    """
    return allow(
        ["kms:Decrypt", "kms:GenerateDataKey*"],
        ["*"],
        Principal={"Service": [CLOUDWATCH, EVENTS]},
        Condition={"StringEqualsIfExists": {"aws:SourceAccount": account_id}},
    )


def notices_key(context: StackContext) -> dict[str, Any]:
    """The policy of the key that the stack makes for its topic."""
    return document([_account(context.account_id, context.partition), _senders(context.account_id)])


def operators_key(account_id: str, region: str, partition: str) -> dict[str, Any]:
    """The policy that an operator's own key needs: docs/security.md shows it.

    The statement for logs is that of
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
    and the one for volumes that of AWS's own key for EBS,
    https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-caller-account:
    Batch has Auto Scaling or EC2 start instances, each under a service-linked role that is there
    only once it was needed, and a key's policy may not name a role that does not exist.
    """
    here = f"arn:{partition}:logs:{region}:{account_id}:*"
    encrypt = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"]
    return document(
        [
            _account(account_id, partition),
            _senders(account_id),
            allow(
                [*encrypt, "kms:DescribeKey"],
                ["*"],
                Principal={"Service": _host("logs", region, partition)},
                Condition={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": here}},
            ),
            allow(
                [*encrypt, "kms:CreateGrant", "kms:DescribeKey"],
                ["*"],
                Principal={"AWS": "*"},
                Condition={
                    "StringEquals": {
                        "kms:CallerAccount": account_id,
                        "kms:ViaService": _host("ec2", region, partition),
                    }
                },
            ),
        ]
    )
