"""The worker's log: JSON lines in a container, plain lines in a terminal.

A served application may set up the log as it likes (Django does): its lines then take the form
that it gives them, and the worker's own lines stay as they are.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

from celery import signals

from taskpacks.errors import shortened

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN: Final = ("worker", "taskpacks")
"""Loggers of the worker and of the packs, whose lines take the worker's form."""
KEPT: Final = (*OWN, "celery", "kombu")
"""Loggers that no configuration silences because they existed before it."""
OUTPUT: Final = "output"
"""The logger's name in lines that a task or a program of its has printed."""
TASK_FIELDS: Final = ("task_id", "task_name", "attempt")
MESSAGE_CHARACTERS_MAX: Final = 6000
TRACE_CHARACTERS_MAX: Final = 6000
"""Together below 16 KiB, where a container's log splits a line, which then is no JSON."""
_PLAIN: Final = "%(asctime)s %(levelname)s %(name)s: %(task)s%(message)s"

_task: dict[str, Any] = {}
"""The fields of the task that this process runs, which runs one at a time; a task's threads
write lines too, and Celery's `current_task` is not known in them."""
_handlers: list[logging.StreamHandler[TextIO]] = []
"""The worker's own, then the root's."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, task, and an error's trace."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        task = {name: value for name in TASK_FIELDS if (value := vars(record).get(name))}
        if record.name == OUTPUT and (printed := _object(record.msg)) is not None:
            return json.dumps({**task, **printed})  # metrics, or a log of the pack's own form
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": shortened(record.getMessage(), MESSAGE_CHARACTERS_MAX),
            **task,
        }
        if record.exc_info:
            # Its end names the error.
            line["trace"] = self.formatException(record.exc_info)[-TRACE_CHARACTERS_MAX:]
        return json.dumps(line, default=str)


class PlainFormatter(logging.Formatter):
    """One line for people, with the task before the message."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        task_id, name, attempt = (vars(record).get(field) for field in TASK_FIELDS)
        record.task = f"{name}[{task_id}] attempt {attempt}: " if task_id else ""
        return super().format(record)


class KeptLogger(logging.Logger):
    """A logger that `disable_existing_loggers` of a later configuration does not disable."""

    @property
    def disabled(self) -> bool:
        """Always False."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] -- as meant
        """Has no effect."""


def set_up() -> None:
    """Sends the log to standard output, in the form that suits who reads it."""
    own = _handler()
    # The root has one of its own, which an application may replace or change.
    logging.basicConfig(level=logging.INFO, handlers=[_handler()])
    for name in OWN:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(own)
        logger.propagate = False
    logging.captureWarnings(capture=True)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    keep()


def keep() -> None:
    """Sees to it that the worker's and Celery's loggers of now stay enabled."""
    for name, logger in tuple(logging.root.manager.loggerDict.items()):
        # Not a class of the application's own.
        if type(logger) is logging.Logger and name.partition(".")[0] in KEPT:
            vars(logger).pop("disabled", None)
            logger.__class__ = KeptLogger


def take_over_from_celery() -> None:
    """Has Celery leave the log as it is, and tell an application's receivers all the same."""
    signals.setup_logging.connect(_on_setup_logging, weak=False)


def _on_setup_logging(**asked: Any) -> None:
    """Does what Celery does when nobody connects to `setup_logging`, which this is for."""
    keep()
    if len(signals.setup_logging.receivers) > 1:
        return  # the application sets up the log, and Celery would send nothing more
    facts: Mapping[str, Any] = {
        name: asked.get(name) for name in ("loglevel", "logfile", "format", "colorize")
    }
    signals.after_setup_logger.send(sender=None, logger=logging.getLogger(), **facts)
    signals.after_setup_task_logger.send(
        sender=None, logger=logging.getLogger("celery.task"), **facts
    )


def name_lines(fields: Mapping[str, Any]) -> None:
    """Has each further line of this process say which task it is about; none for `{}`."""
    _task.clear()
    _task.update(fields)


def write_to(stream: TextIO) -> None:
    """Sends the log somewhere else than to standard output."""
    for handler in _handlers:
        handler.setStream(stream)


def write(text: str, fields: Mapping[str, Any]) -> None:
    """Writes a line that is not from a logger, with the fields of its task."""
    record = logging.LogRecord(OUTPUT, logging.INFO, "", 0, text, None, None)
    vars(record).update(fields)
    _handlers[0].handle(record)


def _name_task(record: logging.LogRecord) -> bool:
    for name, value in tuple(_task.items()):
        vars(record).setdefault(name, value)  # not over what the line says itself
    return True


def _handler() -> logging.StreamHandler[TextIO]:
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_name_task)
    handler.setFormatter(PlainFormatter(_PLAIN) if sys.stdout.isatty() else JsonFormatter())
    _handlers.append(handler)
    return handler


def _object(text: str) -> dict[str, Any] | None:
    """The JSON object that a line is, if it is one."""
    if not text.startswith("{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
