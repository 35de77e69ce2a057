"""Nobody's messages are deleted with a queue unless they were given up first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pulumi
import pulumi_aws as aws

# Not pulumi.Config, which warns of secrets that are read plainly: these go to AWS only.
from pulumi.runtime.config import get_config

from taskpacks.errors import TaskpacksError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HOOK: Final = "taskpacks-messages-are-not-deleted"
"""A stack's state remembers this name: another one would leave queues that cannot be deleted."""
_COUNTS: Final = {
    "ApproximateNumberOfMessages": "visible",
    "ApproximateNumberOfMessagesNotVisible": "in flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html"""
_GONE: Final = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")


class MessagesLeftError(TaskpacksError):
    """A queue is to be deleted and still holds messages, or cannot be asked."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """How the stack's own provider reaches AWS, for a client beside it; None is the default.

    Attributes:
        region: Where the stack is.
        profile: Of the shared configuration files.
        access_key: With secret_key, in place of a profile.
        secret_key: See access_key.
        token: Of temporary credentials.
        roles: Taken on one after the other, as the provider does, each with its "roleArn" and
            perhaps "sessionName" and "externalId". Without them the queues of another account
            would be asked for.
        endpoint_url: Of SQS, where it is not AWS.
    """

    region: str
    profile: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    token: str | None = None
    roles: tuple[Mapping[str, str], ...] = ()
    endpoint_url: str | None = None


def access(setting: Callable[[str], str | None], region: str) -> Access:
    """Reads the settings of the AWS provider.

    Args:
        setting: Gives a key of the stack's configuration as text.
        region: Where the stack is.
    """
    endpoints: Sequence[Mapping[str, str]] = json.loads(setting("aws:endpoints") or "[]")
    return Access(
        region=region,
        profile=setting("aws:profile"),
        access_key=setting("aws:accessKey"),
        secret_key=setting("aws:secretKey"),
        token=setting("aws:token"),
        roles=tuple(json.loads(setting("aws:assumeRoles") or "[]")),
        endpoint_url=next((each["sqs"] for each in endpoints if "sqs" in each), None),
    )


def keeper(region: str) -> pulumi.ResourceHook:
    """The hook that is asked before something that holds messages is deleted.

    To be made in every run of the program: whoever needs it may not be in the program any more.

    Args:
        region: Where the stack is.
    """
    how = access(get_config, region)

    def look(args: pulumi.ResourceHookArgs) -> None:
        sqs = _client(how)
        urls = queue_urls(args.id, args.old_outputs or {})
        refuse_to_lose({url: _counts(sqs, url) for url in urls})

    return pulumi.ResourceHook(HOOK, look)


def queue_urls(resource_id: str, outputs: Mapping[str, Any]) -> list[str]:
    """The queues that a resource speaks for: a queue for itself, a deployment's record for two.

    Args:
        resource_id: Of the resource; of a queue it is the URL.
        outputs: What the resource shows.
    """
    record = outputs.get("insecureValue")
    if record is None:
        return [resource_id]
    told: dict[str, str] = json.loads(record)
    return [told["queue_url"], told["dead_letter_url"]]


def refuse_to_lose(held: Mapping[str, Mapping[str, int]]) -> None:
    """Refuses if any queue holds messages.

    Args:
        held: For each queue's URL, how many messages it holds, by the words of `_COUNTS`.

    Raises:
        MessagesLeftError: Naming the queues, the messages and both ways on.
    """
    left = {url: counts for url, counts in held.items() if any(counts.values())}
    if left:
        queues = "; ".join(
            f"{url} holds {', '.join(f'{count} {word}' for word, count in counts.items() if count)}"
            for url, counts in left.items()
        )
        purges = " && ".join(f"aws sqs purge-queue --queue-url {url}" for url in left)
        raise MessagesLeftError(
            f"Messages would be deleted with their queue: {queues}. Put the deployment back "
            "(in taskpacks:packs, `pulumi up`) until workers have drained its task queue, and "
            f"redrive or note what is in its dead-letter queue; or give the messages up: {purges} "
            "(AWS takes a minute). Then run this command again."
        )


def record_deployment(
    name: str,
    told: Mapping[str, pulumi.Input[str]],
    hook: pulumi.ResourceHook,
    *,
    stack: str,
    parent: pulumi.Resource,
    of: Sequence[pulumi.Input[pulumi.Resource]],
) -> aws.ssm.Parameter:
    """Writes down that a deployment is there, when all of it is.

    It depends on all the rest, so it is the first to be deleted: a deployment whose messages are
    kept keeps its workers too.

    Args:
        name: Of the deployment.
        told: What is written: its queues' URLs ("queue_url", "dead_letter_url") and the like.
        hook: Asked before the record is deleted.
        stack: The stack's name.
        parent: The deployment's component.
        of: All that it consists of.
    """
    return aws.ssm.Parameter(
        f"{name}-record",
        name=f"/taskpacks/{stack}/deployments/{name}",
        description=f"{name}: what it consists of",
        type="String",
        # Nothing in it is secret, and the hook must be able to read it.
        insecure_value=pulumi.Output.json_dumps(told),
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=of,
            hooks=pulumi.ResourceHookBinding(before_delete=[hook]),
        ),
    )


def _client(how: Access) -> Any:
    import boto3  # noqa: PLC0415 - a fifth of a second, which only deleting needs
    from botocore.config import Config  # noqa: PLC0415 - as above

    session = boto3.Session(
        profile_name=how.profile,
        aws_access_key_id=how.access_key,
        aws_secret_access_key=how.secret_key,
        aws_session_token=how.token,
        region_name=how.region,
    )
    config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3})
    for role in how.roles:
        given = session.client("sts", config=config).assume_role(
            RoleArn=role["roleArn"],
            RoleSessionName=role.get("sessionName", "taskpacks"),
            **({"ExternalId": role["externalId"]} if "externalId" in role else {}),
        )["Credentials"]
        session = boto3.Session(
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
            region_name=how.region,
        )
    return session.client("sqs", endpoint_url=how.endpoint_url, config=config)


def _counts(sqs: Any, url: str) -> dict[str, int]:
    """How many messages a queue holds; one that is gone holds none."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as in _client

    try:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS))["Attributes"]
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            return {}
        raise _cannot_ask(url, error) from error
    except BotoCoreError as error:
        raise _cannot_ask(url, error) from error
    return {word: int(found[name]) for name, word in _COUNTS.items()}


def _cannot_ask(url: str, error: Exception) -> MessagesLeftError:
    return MessagesLeftError(
        f"{url} is not deleted, because the program cannot see whether it holds messages: {error}. "
        "Run it with credentials that may call sqs:GetQueueAttributes on it (aws:profile, or the "
        "environment)."
    )
