"""The program's values: what a stack says, which deployments it has, and where it is."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    model_validator,
)
from pydantic_core import PydanticCustomError

from taskpacks.contract import stack_parameter

if TYPE_CHECKING:
    from taskpacks.manager import Pack
    from taskpacks.types import PackSpec

Egress = Literal["endpoints", "nat", "public"]
"""How workers in a made network reach AWS: interface endpoints only, a NAT gateway, or public
addresses of their own. What each costs at rest stands in docs/costs.md."""
Data = Literal["keep", "delete"]
"""Whether buckets and tables that leave the stack are kept or deleted."""

STACK_TAG: Final = "taskpacks:stack"
"""The key of the tag that says which stack a resource belongs to."""
LOG_RETENTION_DAYS = 30

_NOTIFIABLE: Final = r"https://[^\s/]+\S*|[^\s@/:]+@[^\s@/:]+\.[^\s@/:]+"
_NOTIFIABLE_RULE: Final = (
    "notices go to e-mail addresses and https:// URLs (plain http is refused); write one of "
    "these, or leave it out"
)
_KEY_ARN: Final = r"arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/\S+"
_KEY_RULE: Final = (
    "it is a key's ARN (no alias: policies name the key itself), as "
    "arn:aws:kms:REGION:ACCOUNT:key/ID; leave it out for keys that AWS manages"
)
# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
_TAG_VALUE: Final = r"[\w\s.:/=+@-]{1,256}"
_TAG_RULE: Final = (
    "it is a tag's value, 1 to 256 letters, digits, spaces and _.:/=+-@; write it without the "
    "others"
)
_IMAGE_TAG: Final = r"[A-Za-z0-9_.-]{1,80}"
_IMAGE_TAG_RULE: Final = (
    "it is 1 to 80 letters, digits, '.', '_' and '-', and the image's tag is PACK-TAG; choose "
    "another"
)


def _rule(pattern: str, rule: str) -> BeforeValidator:
    """A text of a form; before pydantic's own check, so that a refusal shows what was given."""

    def check(value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise PydanticCustomError("rule", "{rule}", {"rule": rule})
        return value

    return BeforeValidator(check)


_Text = Annotated[str, Field(min_length=1)]

# Runs before the other rules of its setting. A key with a type in Pulumi.yaml needs some default.
_EMPTY_IS_NONE: Final = BeforeValidator(lambda value: None if value == "" else value)


@dataclass(frozen=True)
class Deployment:
    """A pack under a name in a stack, with the stack's overrides applied to its spec."""

    name: str
    pack: Pack
    spec: PackSpec

    @property
    def patterns(self) -> tuple[str, ...]:
        """Returns the name patterns of the tasks that are routed to it."""
        return self.spec.patterns(self.pack.name)

    @property
    def destinations(self) -> tuple[str, ...]:
        """Returns the names of the other deployments that its workers send messages to."""
        target = self.spec.queue.escalate_to
        return tuple(dict.fromkeys((*self.spec.sends_to, *((target,) if target else ()))))


class StackSettings(BaseModel):
    """The settings of a stack in our namespace, with their types, rules and defaults.

    The schema in Pulumi.yaml has the same names, types, defaults and descriptions.
    """

    # Strict: a YAML "2" for a number is a mistake: it is refused, not converted.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    deployments: tuple[InstanceOf[Deployment], ...] = Field(alias="packs")
    """In the order of the YAML."""
    owner: Annotated[str | None, _rule(_TAG_VALUE, _TAG_RULE), _EMPTY_IS_NONE] = Field(
        default=None, description="Who answers for the stack: a tag on everything"
    )
    image_tag: Annotated[str, _rule(_IMAGE_TAG, _IMAGE_TAG_RULE)] = Field(
        default="v1", description="Which pushed build runs: the image is REPOSITORY:PACK-TAG"
    )
    build_images: bool = Field(
        default=False, description="Build and push each pack's image with the stack"
    )
    egress: Egress = Field(
        default="endpoints",
        description="How workers in a made network reach AWS: endpoints, nat or public",
    )
    kms_key: Annotated[str | None, _rule(_KEY_ARN, _KEY_RULE), _EMPTY_IS_NONE] = Field(
        default=None,
        description="ARN of your own key for all that is stored; empty leaves keys to AWS",
    )
    secret_key_arns: tuple[Annotated[str, _rule(_KEY_ARN, _KEY_RULE)], ...] = Field(
        default=(), description="ARNs of further keys that packs' secrets are encrypted with"
    )
    subnet_ids: tuple[_Text, ...] = Field(default=(), description="A network of your own")
    security_group_ids: tuple[_Text, ...] = Field(default=(), description="Its security groups")
    assign_public_ip: bool = Field(
        default=False,
        description="Workers on Fargate get public addresses in your own subnets",
    )
    uri_schemes: tuple[Literal["s3", "file"], ...] = Field(
        default=("s3",),
        description="Where tasks read and write: s3; file only in a cloud on this machine",
    )
    notify: tuple[Annotated[str, _rule(_NOTIFIABLE, _NOTIFIABLE_RULE)], ...] = Field(
        default=(), description="E-mail addresses and https URLs that receive notices of alarms"
    )
    data: Data = Field(
        default="keep",
        description="What becomes of buckets and results that leave the stack: keep or delete",
    )
    drain_on_delete_seconds: int = Field(
        default=900,
        ge=0,
        le=24 * 60 * 60,  # whoever waits longer repeats the command
        description="How long a command waits for workers to end before it deletes what they run "
        "on",
    )
    share_compute_environments: bool = Field(
        default=False, description="Deployments of equal hardware run on the same machines"
    )
    machine_image_generation: int = Field(
        default=1,
        ge=1,
        description="Raised to have EC2 machines replaced by ones with the newest machine image",
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if bool(self.subnet_ids) != bool(self.security_group_ids):
            raise ValueError(
                f"subnet_ids is {list(self.subnet_ids)} and security_group_ids is "
                f"{list(self.security_group_ids)}: workers in your own network need both; give "
                "both, or neither to have a network made"
            )
        if self.assign_public_ip and not self.subnet_ids:
            raise ValueError(
                "assign_public_ip is True and subnet_ids is []: it is about public subnets of your "
                "own; give subnet_ids and security_group_ids, or set egress: public to have a "
                "network with public addresses made"
            )
        return self

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

    def arn(self, service: str, resource: str) -> str:
        """Returns the ARN of a resource of this account in this region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account_id}:{resource}"

    def parameter(self, name: str) -> str:
        """Returns the full name of one of the stack's SSM parameters."""
        return stack_parameter(self.stack, name)

    @property
    def folder(self) -> str:
        """Returns the path that the stack's SSM parameters lie below."""
        return self.parameter("").rstrip("/")

    @property
    def producer_parameter(self) -> str:
        """Returns the name of the SSM parameter with the producer document."""
        return self.parameter("producer")

    @property
    def producer_parameter_arn(self) -> str:
        """Returns its ARN, which deployments name before the parameter is there."""
        return self.arn("ssm", f"parameter{self.producer_parameter}")

    def worker_log_group(self, deployment: str) -> str:
        """Returns the name of the log group of a deployment's workers.

        It is known before the log group is there: the policies of machines name it, and machines
        come first.
        """
        return f"/taskpacks/{self.project}/{self.stack}/{deployment}"

    def worker_log_group_arn(self, deployment: str) -> str:
        """Returns its ARN."""
        return self.arn("logs", f"log-group:{self.worker_log_group(deployment)}")


def short_digest(*facts: object) -> str:
    """Returns six hex digits that other facts would not have, for a resource's name."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:6]
