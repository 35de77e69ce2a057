"""The worker's log: JSON lines in a container, plain lines in a terminal."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from taskpacks.errors import shortened

MESSAGE_CHARACTERS_MAX: Final = 6000
TRACE_CHARACTERS_MAX: Final = 6000
"""Together below 16 KiB, where a container's log splits a line, which then is no JSON."""

_PLAIN: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the trace of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": shortened(record.getMessage(), MESSAGE_CHARACTERS_MAX),
        }
        if record.exc_info:
            # Its end names the error.
            line["trace"] = self.formatException(record.exc_info)[-TRACE_CHARACTERS_MAX:]
        return json.dumps(line)


def set_up() -> None:
    """Sends the log to standard output, in the form that suits who reads it."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(_PLAIN) if sys.stdout.isatty() else JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(capture=True)
    logging.getLogger("botocore").setLevel(logging.WARNING)
