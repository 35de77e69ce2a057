"""SQS as a worker calls it: time-outs, answers that are SQS's own, and what a failure proves.

botocore takes a truncated answer, or a page that a proxy sent in its place, for an empty one: a
receive that brought messages would look like an empty task queue, and a deletion like one that
was done. Here both are failures without an answer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    SSLError,
)

if TYPE_CHECKING:
    from worker.settings import WorkerSettings

RECEIVE: Final = "sqs:ReceiveMessage"
DELETE: Final = "sqs:DeleteMessage"
VISIBILITY: Final = "sqs:ChangeMessageVisibility"

FAULTS: Final = (ClientError, BotoCoreError, RuntimeError)
"""A call's errors; the last is botocore's, for credentials that have expired when they come."""

# What SQS answers when a message is not ours any more: deleted, or delivered to another.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
GONE: Final = frozenset(
    {
        "InvalidParameterValue",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
        "ReceiptHandleIsInvalid",
    }
)
PASSING: Final = ("Throttl", "OverLimit", "LimitExceeded", "TooManyRequests")
"""Parts of the codes of refusals that pass by themselves."""
_ERROR_STATUS: Final = 300
_SERVER_ERROR_STATUS: Final = 500


class MangledAnswerError(HTTPClientError):
    """The answer is not the service's whole one: whether the call was executed is not known."""

    fmt = "the answer is truncated or not AWS's: {status}, {received} bytes of {announced}"


def client(settings: WorkerSettings, *, tries: int = 1) -> Any:
    """Makes a client with connections of its own.

    Args:
        settings: Have the region and the time-outs.
        tries: How often it makes a call that fails; 1 leaves it to the caller to try again.
    """
    retries = {"mode": "standard", "total_max_attempts": tries}
    config = Config(**{**settings.client_settings, "retries": retries})
    return checked(boto3.client("sqs", region_name=settings.region, config=config))


def checked(client: Any) -> Any:
    """Has a client raise `MangledAnswerError` for what is no whole answer; returns the client.

    Args:
        client: boto3's of a service that answers with JSON, as SQS and DynamoDB do.
    """
    client.meta.events.register("before-parse", _check_answer)
    return client


def _check_answer(response_dict: dict[str, Any], **_: Any) -> None:
    body: bytes = response_dict["body"]
    status: int = response_dict["status_code"]
    announced = response_dict["headers"].get("Content-Length", str(len(body)))
    if announced == str(len(body)) and (not body or _is_object(body)):
        return
    if status < _ERROR_STATUS:
        raise MangledAnswerError(status=status, received=len(body), announced=announced)
    response_dict["body"] = b""  # a page about an error: its status says enough


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


def code_of(error: Exception) -> str:
    """SQS's word for an error; empty when there was no answer."""
    return error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""


def _status_of(error: ClientError) -> int:
    # An answer without a status proves nothing.
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_ERROR_STATUS)


def not_executed(error: Exception) -> bool:
    """Says whether a call that failed has certainly changed nothing.

    SQS refused it, or it was not sent. A server error, a time-out, a connection that broke and a
    truncated answer prove nothing: the call may have been executed, or may be yet.
    """
    if isinstance(error, ClientError):
        return _status_of(error) < _SERVER_ERROR_STATUS
    return not isinstance(error, HTTPClientError | SSLError)


def refused(error: Exception) -> bool:
    """Says whether a call failed for a reason that does not pass by itself.

    Permissions, credentials, the queue or its key; not throttling, and not what SQS says of a
    message that is gone.
    """
    if isinstance(error, ClientError):
        code = code_of(error)
        passing = code in GONE or any(part in code for part in PASSING)
        return not_executed(error) and not passing
    return isinstance(error, NoCredentialsError | CredentialRetrievalError | RuntimeError)
