"""Where tasks' results lie until they expire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pulumi
import pulumi_aws as aws

if TYPE_CHECKING:
    from stack.model import StackContext

RESULT_TTL_SECONDS: Final = 7 * 24 * 60 * 60

# The attributes of Celery's DynamoDB backend:
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#conf-dynamodb-result-backend
_KEY: Final = "id"
_TTL: Final = "ttl"


def backend_url(region: str, table: str) -> str:
    """A Celery result backend URL without credentials: boto3 finds those by itself."""
    return f"dynamodb://@{region}/{table}?ttl_seconds={RESULT_TTL_SECONDS}"


class ResultStore(pulumi.ComponentResource):
    """The Celery result backend of a stack.

    Consists of: one DynamoDB table, paid by request, whose items expire.
    """

    table_arn: pulumi.Output[str]
    backend_url: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        context: StackContext,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("taskpacks:stack:ResultStore", name, None, opts)
        # Made here and not by the workers, which would race to make it.
        table = aws.dynamodb.Table(
            f"{name}-table",
            billing_mode="PAY_PER_REQUEST",
            hash_key=_KEY,
            attributes=[{"name": _KEY, "type": "S"}],
            ttl={"attribute_name": _TTL, "enabled": True},
            # Without a key of the operator's, DynamoDB encrypts with one of its own.
            server_side_encryption={"enabled": True, "kms_key_arn": context.kms_key}
            if context.kms_key
            else None,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.table_arn = table.arn
        self.backend_url = table.name.apply(
            lambda table_name: backend_url(context.region, table_name)
        )
        self.register_outputs({"backend_url": self.backend_url})
