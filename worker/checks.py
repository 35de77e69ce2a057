"""Checks the task queue and the permissions before the first message is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from taskpacks.errors import RefusedSettingsError, TaskpacksError
from worker.sqs import DELETE, FAULTS, VISIBILITY, code_of

if TYPE_CHECKING:
    from collections.abc import Callable

NO_SUCH_RECEIPT: Final = "taskpacks-permission-check"
DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "KMS.AccessDeniedException"})


class UnusableQueueError(TaskpacksError):
    """The task queue cannot be served as it is."""


@dataclass(frozen=True)
class QueueFacts:
    """The attributes of the task queue."""

    lease_seconds: int
    """Its visibility time-out: how long a received message is hidden."""


def check_queue(client: Any, queue_url: str) -> QueueFacts:
    """Refuses a task queue that does not answer, is not ours to serve or would lose tasks.

    No message is touched: deleting and extending are tried with a receipt that there is not,
    which SQS answers differently when they are not allowed. For receiving there is no such call:
    AWS documents no order between the check of a permission and of a parameter, and a receive that
    is executed costs a message one of its receives. So the first real receive is the check
    (`AccessPolicy`).

    Raises:
        UnusableQueueError: It cannot be served.
        RefusedSettingsError: Its URL or region is not one that boto3 can use.
    """
    attributes = _tried(
        queue_url,
        "sqs:GetQueueAttributes",
        lambda: client.get_queue_attributes(
            QueueUrl=queue_url, AttributeNames=["RedrivePolicy", "VisibilityTimeout"]
        ),
    ).get("Attributes", {})
    if "RedrivePolicy" not in attributes:
        raise UnusableQueueError(
            f"task queue {queue_url} has no redrive policy: a task that fails would be lost. "
            "Give the queue a dead-letter queue; the stack's own queues have one."
        )
    _permitted(
        queue_url,
        VISIBILITY,
        lambda: client.change_message_visibility(
            QueueUrl=queue_url, ReceiptHandle=NO_SUCH_RECEIPT, VisibilityTimeout=0
        ),
    )
    _permitted(
        queue_url,
        DELETE,
        lambda: client.delete_message(QueueUrl=queue_url, ReceiptHandle=NO_SUCH_RECEIPT),
    )
    return QueueFacts(lease_seconds=int(attributes["VisibilityTimeout"]))


def _tried(queue_url: str, action: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return call()
    except ValueError as error:  # botocore's own word for a malformed URL or region
        raise RefusedSettingsError(f"task queue {queue_url}: {error}") from error
    except FAULTS as error:
        raise UnusableQueueError(
            f"task queue {queue_url} cannot be read: {error}. It must exist in the worker's "
            f"region, and the worker's role must allow {action} on it."
        ) from error


def _permitted(queue_url: str, action: str, call: Callable[[], Any]) -> None:
    try:
        call()
    except ClientError as error:
        if code_of(error) in DENIED:
            raise UnusableQueueError(
                f"task queue {queue_url}: the worker may not {action}: without it a task would "
                "run again and again. Allow it in the worker's role."
            ) from error
        # Any other answer means that the call was allowed and the receipt unknown, as meant;
        # a passing fault shows itself again where it can be retried.
    except FAULTS as error:
        raise UnusableQueueError(f"task queue {queue_url} does not answer: {error}") from error
