"""The program's values: what a stack says, which deployments it has, and where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from taskpacks.manager import Pack
    from taskpacks.types import PackSpec

Egress = Literal["endpoints", "nat", "public"]
"""How workers in a made network reach AWS: interface endpoints only, a NAT gateway, or public
addresses of their own. What each costs at rest stands in docs/costs.md."""
Data = Literal["keep", "delete"]
"""What becomes of buckets and tables that leave the stack."""

LOG_RETENTION_DAYS = 30


@dataclass(frozen=True)
class Deployment:
    """A pack under a name in a stack, with the stack's overrides applied to its spec."""

    name: str
    pack: Pack
    spec: PackSpec


@dataclass(frozen=True)
class StackSettings:
    """All that the program needs to know.

    Attributes:
        deployments: At least one, in the order of the YAML.
        owner: Who answers for the stack; a tag on everything.
        image_tag: Which build of each pack's image runs; the image's tag is PACK-TAG.
        build_images: Build and push each pack's image with the stack instead.
        egress: How workers in a made network reach AWS.
        kms_key: ARN of a key of the operator's that encrypts all that the stack stores;
            None leaves that to keys that AWS manages.
        secret_key_arns: ARNs of further keys that packs' secrets are encrypted with.
        subnet_ids: The operator's own subnets; empty makes a small network.
        security_group_ids: The operator's own; given together with subnet_ids.
        assign_public_ip: Workers on Fargate get public addresses in the operator's subnets.
        uri_schemes: Where tasks may read and write: "s3", and "file" in a cloud on this machine.
        notify: E-mail addresses and https:// URLs that receive notices of alarms.
        share_compute_environments: Deployments of equal hardware run on the same machines.
        machine_image_generation: A number that is raised to have EC2 machines replaced by ones
            with the newest machine image.
        data: What becomes of buckets and tables that leave the stack: "keep" or "delete".
        drain_on_delete_seconds: How long a command waits for workers to end before it deletes what
            they run on.
    """

    deployments: tuple[Deployment, ...]
    owner: str | None = None
    image_tag: str = "v1"
    build_images: bool = False
    egress: Egress = "endpoints"
    kms_key: str | None = None
    secret_key_arns: tuple[str, ...] = ()
    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    assign_public_ip: bool = False
    uri_schemes: tuple[str, ...] = ("s3",)
    notify: tuple[str, ...] = ()
    share_compute_environments: bool = False
    machine_image_generation: int = 1
    data: Data = "keep"
    drain_on_delete_seconds: int = 900

    @property
    def behind_endpoints(self) -> bool:
        """Whether the endpoints of a made network are the workers' only way out."""
        return self.egress == "endpoints" and not self.subnet_ids

    @property
    def keys_of_secrets(self) -> tuple[str, ...]:
        """ARNs of all keys of the operator's that may encrypt a pack's secrets."""
        own = (self.kms_key,) if self.kms_key else ()
        return tuple(dict.fromkeys((*own, *self.secret_key_arns)))


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
