"""Checks a message before Celery sees it: pure, with the reason in words.

Stock Celery deletes some malformed messages, dies on others and stops at a third kind. What
passes here can be handed to it; what does not is poison.

The envelope is kombu's; headers and body are Celery's message protocol 2, or 1:
https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

from __future__ import annotations

import base64
import binascii
import bz2
import json
import lzma
import zlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from taskpacks.errors import QUOTED_CHARACTERS_MAX, listed, nearest, quoted, shortened
from worker import protocol_1

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

JSON_TYPE: Final = "application/json"
TEXT_ENCODINGS: Final = ("utf-8", "utf8", "us-ascii")
BODY_BYTES_MAX: Final = 16 * 2**20
"""The size of a decompressed body: a message of 1 MiB could hold a gigabyte."""
DECOMPRESSORS: Final[Mapping[str, Callable[[], Any]]] = MappingProxyType(
    {
        "application/x-gzip": zlib.decompressobj,
        "application/x-bz2": bz2.BZ2Decompressor,
        "application/x-lzma": partial(lzma.LZMADecompressor, memlimit=64 * 2**20),
    }
)
"""kombu's names of what the standard library decompresses."""
_CONTAINERS: Final = (dict, list)
PARTS_OF_A_BODY: Final = 3
"""Positional arguments, keyword arguments, and what Celery embeds."""
CHORD_UNLOCK: Final = "celery.chord_unlock"
"""Celery's task for chords on result backends that do not count: it sends itself again, without
an end, until the chord's parts are done."""
NAME_CHARACTERS_MAX: Final = QUOTED_CHARACTERS_MAX
"""The length of a task's id and name, which stand in many lines of the log."""
NESTING_MAX: Final = 100
"""How deeply lists and objects may be nested. A message goes to the task's process as a pickle,
which holds 493 levels on Python 3.11, and the task's code has frames of its own."""
ONCE_HEADER: Final = "taskpacks_once"
"""A header of a message that may have been sent twice: its task is locked before it starts."""
_GENERATIONS: Final = 10**6
"""More than a task can send itself again."""


class PoisonError(Exception):
    """A message that no worker can run, whatever it tries; its text is the reason.

    Attributes:
        request: Of the task that somebody may wait for, with its "id"; None when there is none.
    """

    def __init__(self, reason: str, request: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.request = request


@dataclass(frozen=True)
class Envelope:
    """A message that Celery can be given.

    Attributes:
        payload: kombu's: body, headers, properties, content type and encoding.
        task_id: The task's id.
        task_name: The task's name.
        eta: When it may start, in seconds since the epoch; None at once.
        embedded: What Celery embeds: callbacks, errbacks, chain, chord.
    """

    payload: dict[str, Any]
    task_id: str
    task_name: str
    eta: float | None
    embedded: dict[str, Any]

    @property
    def generation(self) -> int:
        """Grows with each message that a task sends in its own place, to retry or replace it."""
        headers = self.payload["headers"]
        replaced, retries = headers.get("replaced_task_nesting"), headers.get("retries")
        return _small(replaced) * _GENERATIONS + _small(retries)

    @property
    def may_be_sent_twice(self) -> bool:
        """Its sender may have sent it before, and ended or heard no answer."""
        return self.generation > 0 or bool(self.payload["headers"].get(ONCE_HEADER))


def _small(value: object) -> int:
    if isinstance(value, int) and 0 <= value < _GENERATIONS:
        return int(value)
    return 0  # Celery takes such a message all the same


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
    try:
        return _checked(payload, headers, known_tasks)
    except PoisonError as error:
        with suppress(PoisonError):
            if error.request is None and _word(payload["headers"], "id"):
                error.request = request_of(payload)
        raise


def request_of(payload: dict[str, Any]) -> dict[str, Any]:
    """Returns what Celery's `Context` of a task is made of; arguments are not.

    Args:
        payload: kombu's, with headers. What Celery embeds is left out where it cannot be read.
    """
    embedded: dict[str, Any] = {}
    with suppress(PoisonError):
        _check_properties(payload)
        embedded = _object(_body_of(payload)[2], "embedded")
        _check_nesting(embedded, "embedded")
    properties = payload.get("properties")
    return {**payload["headers"], "properties": properties, "delivery_info": {}, **embedded}


def _checked(
    payload: dict[str, Any], headers: dict[str, Any], known_tasks: Collection[str]
) -> Envelope:
    _check_nesting(payload, "the message")
    _check_properties(payload)
    _check_types(payload)
    if "task" not in headers:
        headers = _of_protocol_1(payload)
    task_name = _word(headers, "task")
    if task_name not in known_tasks:
        ours = [name for name in known_tasks if not name.startswith("celery.")]
        raise PoisonError(
            f"there is no task {quoted(task_name)} in this pack.{nearest(task_name, ours)}"
        )
    arguments, keywords, embedded = _parts(payload)
    if task_name == CHORD_UNLOCK:
        raise PoisonError(
            f"{CHORD_UNLOCK} is not run, because it asks for a chord's parts again and again: "
            "chords need a result backend that counts their parts, as DynamoDB and Redis do; "
            "give sender and worker the same one",
            _body_of_chord(arguments, keywords),
        )
    _check_time_limits(headers)
    _moment(headers, "expires")
    headers["shadow"] = _shadow(headers)
    return Envelope(
        payload=payload,
        task_id=_word(headers, "id"),
        task_name=task_name,
        eta=_moment(headers, "eta"),
        embedded=embedded,
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
        raise PoisonError(f"header '{key}' is {quoted(value)}: a text was expected")
    if not value.isprintable():  # half of a surrogate pair cannot even be stored
        raise PoisonError(f"header '{key}' is {quoted(value)}: printable text was expected")
    if len(value) > NAME_CHARACTERS_MAX:
        raise PoisonError(
            f"header '{key}' has {len(value)} characters: at most {NAME_CHARACTERS_MAX} are "
            "accepted"
        )
    return value


def _shadow(headers: Mapping[str, Any]) -> str | None:
    """Returns the name that logs show in place of the task's, as short as any other name."""
    shadow = headers.get("shadow")
    if shadow is None:
        return None
    return shortened(shadow if isinstance(shadow, str) else quoted(shadow), NAME_CHARACTERS_MAX)


def _check_properties(payload: Mapping[str, Any]) -> None:
    properties = _object(payload.get("properties"), "properties")
    _object(properties.get("delivery_info"), "properties.delivery_info")
    encoding = properties.get("body_encoding")
    if encoding not in (None, "base64", *TEXT_ENCODINGS):
        raise PoisonError(f"body_encoding is {quoted(encoding)}: base64 or utf-8 was expected")


def _check_types(payload: Mapping[str, Any]) -> None:
    kind, encoding = payload.get("content-type"), payload.get("content-encoding")
    if kind != JSON_TYPE:
        raise PoisonError(f"content-type is {quoted(kind)}: only {JSON_TYPE} is accepted")
    if not isinstance(encoding, str) or encoding.lower() not in TEXT_ENCODINGS:
        raise PoisonError(f"content-encoding is {quoted(encoding)}: utf-8 was expected")


def _of_protocol_1(payload: dict[str, Any]) -> dict[str, Any]:
    """Rewrites a message of protocol 1 as one of protocol 2, and returns its headers."""
    body = _from_json(_text_of_body(payload), "body")
    if not isinstance(body, dict):
        return payload["headers"]
    _check_nesting(body, "body")
    headers, parts = protocol_1.rewritten(body)
    payload["headers"] = {**payload["headers"], **headers}
    payload["body"] = json.dumps(parts)
    payload["properties"]["body_encoding"] = "utf-8"
    return payload["headers"]


def _text_of_body(payload: dict[str, Any]) -> str:
    body, properties, headers = payload.get("body"), payload["properties"], payload["headers"]
    compression = headers.get("compression")
    if compression and isinstance(body, dict) and body.get("__type__") == "base64":
        body = body.get("__value__")  # kombu's JSON for the bytes that no base64 was asked for
    if not isinstance(body, str):
        raise PoisonError(f"body: a text was expected, not {type(body).__name__}")
    if compression:
        # Celery is handed what was checked: its own logs a body that it cannot decompress.
        body = payload["body"] = _decompressed(body, compression)
        properties["body_encoding"] = "utf-8"
        del headers["compression"]
    elif properties.get("body_encoding") == "base64":
        body = _from_base64(body, "body")
    return body


def _decompressed(text: str, compression: object) -> str:
    make = DECOMPRESSORS.get(compression) if isinstance(compression, str) else None
    if make is None:
        raise PoisonError(
            f"header 'compression' is {quoted(compression)}: "
            f"{listed(DECOMPRESSORS)} or nothing was expected"
        )
    try:
        decompressor = make()
        found = decompressor.decompress(base64.b64decode(text, validate=True), BODY_BYTES_MAX)
        if not decompressor.eof:
            raise PoisonError(
                f"body: it is cut off, or has more than {BODY_BYTES_MAX} bytes when it is "
                "decompressed; send less, or its address"
            )
        return found.decode()
    except (ValueError, OSError, zlib.error, lzma.LZMAError) as error:
        raise PoisonError(
            f"body is no base64 of a text in {compression}: {type(error).__name__}"
        ) from error


def _parts(payload: dict[str, Any]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Checks the body, and returns its arguments, keyword arguments and what Celery embeds."""
    parts = _body_of(payload)
    _check_nesting(parts, "body")
    arguments, keywords, embedded = parts
    if not isinstance(arguments, list):
        raise PoisonError(f"arguments: a list was expected, not {type(arguments).__name__}")
    return (
        arguments,
        _object(keywords, "keyword arguments"),
        {} if embedded is None else _object(embedded, "embedded"),
    )


def _body_of(payload: dict[str, Any]) -> list[Any]:
    parts = _from_json(_text_of_body(payload), "body")
    if not isinstance(parts, list) or len(parts) != PARTS_OF_A_BODY:
        raise PoisonError("body: [arguments, keyword arguments, embedded] were expected")
    return parts


def _body_of_chord(arguments: list[Any], keywords: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the request of a chord's body, from the arguments of `celery.chord_unlock`."""
    body: Any = keywords.get("callback") or (arguments[1] if len(arguments) > 1 else None)
    try:
        while body.get("subtask_type") == "chain":
            body = body["kwargs"]["tasks"][-1]
        return {"id": _word(body["options"], "task_id")}
    except (PoisonError, LookupError, TypeError, AttributeError):
        return None  # it is not as Celery sends it


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
            if isinstance(inner, _CONTAINERS)
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
        raise PoisonError(f"header 'timelimit' is {quoted(limits)}: two numbers were expected")


def _moment(headers: Mapping[str, Any], key: str) -> float | None:
    text = headers.get(key)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        # In UTC, because not every moment of another zone is one there, and Celery converts it.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (TypeError, ValueError, OverflowError) as error:
        raise PoisonError(f"header '{key}' is {quoted(text)}: no moment in ISO 8601") from error
