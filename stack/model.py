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

    @property
    def producer_parameter(self) -> str:
        """Returns the name of the SSM parameter with the producer document."""
        return f"/taskpacks/{self.stack}/producer"

    @property
    def producer_parameter_arn(self) -> str:
        """Returns its ARN, which deployments name before the parameter is there."""
        place = f"arn:{self.partition}:ssm:{self.region}:{self.account_id}"
        return f"{place}:parameter{self.producer_parameter}"

    def worker_log_group(self, deployment: str) -> str:
        """Returns the name of the log group of a deployment's workers.

        It is known before the log group is there: the policies of machines name it, and machines
        come first.
        """
        return f"/taskpacks/{self.project}/{self.stack}/{deployment}"

    def worker_log_group_arn(self, deployment: str) -> str:
        """Returns its ARN."""
        name = self.worker_log_group(deployment)
        return f"arn:{self.partition}:logs:{self.region}:{self.account_id}:log-group:{name}"
