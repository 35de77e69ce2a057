"""Checks a message before Celery sees it: pure, with the reason in words.

Stock Celery deletes some malformed messages, dies on others and stops at a third kind. What
passes here can be handed to it; what does not is poison.

The envelope is kombu's; headers and body are Celery's message protocol 2:
https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from taskpacks.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

JSON_TYPE: Final = "application/json"
TEXT_ENCODINGS: Final = ("utf-8", "utf8", "us-ascii")
PARTS_OF_A_BODY: Final = 3
"""Positional arguments, keyword arguments, and what Celery embeds."""
NESTING_MAX: Final = 100
"""How deeply lists and objects may be nested. A message goes to the task's process as a pickle,
which holds 493 levels on Python 3.11, and the task's code has frames of its own."""


class PoisonError(Exception):
    """A message that no worker can run, whatever it tries; its text is the reason."""


@dataclass(frozen=True)
class Envelope:
    """A message that Celery can be given.

    Attributes:
        payload: kombu's: body, headers, properties, content type and encoding.
        task_id: The task's id.
        task_name: The task's name.
        eta: When it may start, in seconds since the epoch; None at once.
    """

    payload: dict[str, Any]
    task_id: str
    task_name: str
    eta: float | None


def read(text: object, known_tasks: Collection[str]) -> Envelope:
    """Checks the body of an SQS message.

    Args:
        text: What SQS gave as the message's body.
        known_tasks: Names of the tasks that the worker can run.

    Raises:
        PoisonError: Saying what is wrong with it.
    """
    payload = _object(_decoded(text), "the message")
    headers = _object(payload.get("headers"), "headers")
    _check_nesting(payload, "the message")
    _check_properties(payload)
    _check_types(payload)
    task_name = _word(headers, "task")
    if task_name not in known_tasks:
        ours = [name for name in known_tasks if not name.startswith("celery.")]
        raise PoisonError(
            f"there is no task {task_name!r:.200} in this pack.{nearest(task_name, ours)}"
        )
    _check_body(payload)
    _check_time_limits(headers)
    _moment(headers, "expires")
    return Envelope(
        payload=payload,
        task_id=_word(headers, "id"),
        task_name=task_name,
        eta=_moment(headers, "eta"),
    )


def _decoded(text: object) -> object:
    if not isinstance(text, str) or not text:
        raise PoisonError("the message has no body")
    # kombu's producers wrap the JSON in base64 unless a setting turns it off.
    candidate = text if text.lstrip()[:1] == "{" else _from_base64(text, "the message")
    return _from_json(candidate, "the message")


def _from_base64(text: str, what: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise PoisonError(f"{what} is neither JSON nor base64 of it: {error}") from error


def _from_json(text: str, what: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PoisonError(f"{what} is not JSON: {error}") from error


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PoisonError(f"{what}: a JSON object was expected, not {type(value).__name__}")
    return value


def _word(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise PoisonError(f"header '{key}' is {value!r:.200}: a text was expected")
    if not value.isprintable():  # half of a surrogate pair cannot even be stored
        raise PoisonError(f"header '{key}' is {value!r:.200}: printable text was expected")
    return value


def _check_properties(payload: Mapping[str, Any]) -> None:
    properties = _object(payload.get("properties"), "properties")
    _object(properties.get("delivery_info"), "properties.delivery_info")
    encoding = properties.get("body_encoding")
    if encoding not in (None, "base64", *TEXT_ENCODINGS):
        raise PoisonError(f"body_encoding is {encoding!r:.200}: base64 or utf-8 was expected")


def _check_types(payload: Mapping[str, Any]) -> None:
    kind, encoding = payload.get("content-type"), payload.get("content-encoding")
    if kind != JSON_TYPE:
        raise PoisonError(f"content-type is {kind!r:.200}: only {JSON_TYPE} is accepted")
    if not isinstance(encoding, str) or encoding.lower() not in TEXT_ENCODINGS:
        raise PoisonError(f"content-encoding is {encoding!r:.200}: utf-8 was expected")


def _check_body(payload: Mapping[str, Any]) -> None:
    body = payload.get("body")
    if not isinstance(body, str):
        raise PoisonError(f"body: a text was expected, not {type(body).__name__}")
    if payload["properties"].get("body_encoding") == "base64":
        body = _from_base64(body, "body")
    parts = _from_json(body, "body")
    if not isinstance(parts, list) or len(parts) != PARTS_OF_A_BODY:
        raise PoisonError("body: [arguments, keyword arguments, embedded] were expected")
    _check_nesting(parts, "body")
    arguments, keywords, embedded = parts
    if not isinstance(arguments, list):
        raise PoisonError(f"arguments: a list was expected, not {type(arguments).__name__}")
    _object(keywords, "keyword arguments")
    if embedded is not None:
        _object(embedded, "embedded")


def _check_nesting(value: Any, what: str) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > NESTING_MAX:
            raise PoisonError(
                f"{what} has lists and objects in one another deeper than {NESTING_MAX} levels; "
                "send flatter data, or its address"
            )
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]


def _check_time_limits(headers: Mapping[str, Any]) -> None:
    limits = headers.get("timelimit")
    if limits is None:
        return
    numbers = limits if isinstance(limits, list) else [limits]
    well_formed = isinstance(limits, list) and len(numbers) == 2  # noqa: PLR2004 -- hard and soft
    if not well_formed or not all(
        number is None or (isinstance(number, int | float) and not isinstance(number, bool))
        for number in numbers
    ):
        raise PoisonError(f"header 'timelimit' is {limits!r:.200}: two numbers were expected")


def _moment(headers: Mapping[str, Any], key: str) -> float | None:
    text = headers.get(key)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        # In UTC, because not every moment of another zone is one there, and Celery converts it.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (TypeError, ValueError, OverflowError) as error:
        raise PoisonError(f"header '{key}' is {text!r:.200}: no moment in ISO 8601") from error
