"""Which stack this is, and where: what its components share."""

from __future__ import annotations

from dataclasses import dataclass

LOG_RETENTION_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class StackContext:
    """One stack in one region of one account.

    Attributes:
        project: Pulumi's name of the project.
        stack: Pulumi's name of the stack.
        region: Where everything is made.
        partition: "aws", "aws-cn" or "aws-us-gov".
        account_id: Whose account it is, twelve digits.
        kms_key: ARN of the operator's key that encrypts what is stored; None leaves that to keys
            that AWS manages.
        log_retention_days: How long log groups keep what is written.
    """

    project: str
    stack: str
    region: str
    partition: str
    account_id: str
    kms_key: str | None
    log_retention_days: int = LOG_RETENTION_DAYS
