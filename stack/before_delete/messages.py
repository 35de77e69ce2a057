"""Messages are not deleted with their queue unless they were given up first."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import pulumi

from stack.before_delete.access import Access, asking, client
from taskpacks.errors import TaskpacksError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

HOOK: Final = "taskpacks-messages-are-not-deleted"
"""A stack's state remembers this name: another one would leave queues that cannot be deleted."""
_COUNTS: Final = {
    "ApproximateNumberOfMessages": "visible",
    "ApproximateNumberOfMessagesNotVisible": "in flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html"""
IN_FLIGHT: Final = "in flight"
_GONE: Final = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")


class MessagesLeftError(TaskpacksError):
    """A queue is to be deleted and still holds messages, or cannot be asked."""


def hook(how: Access) -> pulumi.ResourceHook:
    """The hook of queues, and of a deployment's record, which speaks for its two queues."""

    async def look(args: pulumi.ResourceHookArgs) -> None:
        urls = queue_urls(args.id, args.old_outputs or {})
        refuse_to_lose(await asyncio.to_thread(held, how, urls))

    return pulumi.ResourceHook(HOOK, look)


def held(how: Access, urls: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many messages queues hold, by the words of `_COUNTS`.

    Raises:
        MessagesLeftError: A queue cannot be asked.
    """
    with _asking(urls[0]):
        sqs = client(how, "sqs")
    return {url: counts(sqs, url) for url in urls}


def queue_urls(resource_id: str, outputs: Mapping[str, Any]) -> list[str]:
    """The queues that a resource speaks for: a queue for itself, a deployment's record for two.

    Args:
        resource_id: Of the resource; of a queue it is the URL.
        outputs: What the resource shows.
    """
    record = outputs.get("insecureValue")
    if record is None:
        return [resource_id]
    facts: dict[str, str] = json.loads(record)
    return [facts["queue_url"], facts["dead_letter_url"]]


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


def counts(sqs: Any, url: str) -> dict[str, int]:
    """How many messages a queue holds; one that is gone holds none.

    Raises:
        MessagesLeftError: It cannot be asked.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415 - as in `client`

    with _asking(url):
        try:
            found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS))
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return {}
            raise
    return {word: int(found["Attributes"][name]) for name, word in _COUNTS.items()}


def _asking(url: str) -> AbstractContextManager[None]:
    return asking(
        MessagesLeftError,
        f"{url} is not deleted, because the program cannot see whether it holds messages",
        "sqs:GetQueueAttributes on it",
    )
