"""A job's or a function's output on its way to CloudWatch Logs."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from local.cloud.process import CannotStartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_LOG_GROUP: Final = "/aws/batch/job"
"""https://docs.aws.amazon.com/batch/latest/userguide/using_cloudwatch_logs.html"""
_LINE_MAX_BYTES: Final = 256 * 1024
_BATCH_LINES: Final = 100
_BATCH_SECONDS: Final = 0.3


class LineSplitter:
    """Makes lines of chunks of bytes; what is no UTF-8 is replaced, empty lines are dropped."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """Takes a chunk; returns the lines that it completed."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) >= _LINE_MAX_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [text for line in lines if (text := _text(line))]

    def end(self) -> list[str]:
        """Returns the last line when it had no end."""
        rest, self._rest = self._rest, b""
        return [text] if (text := _text(rest)) else []


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r")


def log_of(container: Mapping[str, Any], default_prefix: str) -> dict[str, Any]:
    """Where a container's output goes, for `LogStream`.

    Args:
        container: The container's properties, for its logConfiguration.
        default_prefix: What the stream's name starts with when nothing else is said.
    """
    options = (container.get("logConfiguration") or {}).get("options") or {}
    group: str = options.get("awslogs-group") or DEFAULT_LOG_GROUP
    return {
        "group": group,
        "prefix": f"{options.get('awslogs-stream-prefix') or default_prefix}/default/",
        "create_group": (
            group == DEFAULT_LOG_GROUP or options.get("awslogs-create-group") == "true"
        ),
    }


class LogStream:
    """A log stream of its own, written to in small batches."""

    def __init__(
        self,
        logs: Any,
        *,
        group: str,
        prefix: str,
        create_group: bool,
        on_lost: Callable[[str], None],
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Creates the log stream.

        Args:
            logs: A CloudWatch Logs client.
            group: The log group's name.
            prefix: What the stream's name starts with.
            create_group: Whether a group that is not there is made.
            on_lost: Called with the reason when lines could not be sent; life goes on.
            on_line: Called with each line.

        Raises:
            CannotStartError: The log group does not exist.
        """
        self.group = group
        self.name = f"{prefix}{uuid.uuid4().hex}"
        self._logs = logs
        self._on_line = on_line
        self._on_lost = on_lost
        self._splitter = LineSplitter()
        self._batch: list[dict[str, Any]] = []
        self._flushed = time.monotonic()
        if create_group:
            self._create_group()
        try:
            logs.create_log_stream(logGroupName=self.group, logStreamName=self.name)
        except ClientError as error:
            raise CannotStartError(
                "ResourceInitializationError: failed to validate logger args: The task cannot "
                f"find the Amazon CloudWatch log group defined in the task definition: "
                f"{self.group}"
            ) from error

    def _create_group(self) -> None:
        try:
            self._logs.create_log_group(logGroupName=self.group)
        except self._logs.exceptions.ResourceAlreadyExistsException:
            return

    def write(self, chunk: bytes) -> None:
        """Takes output; sends what is due."""
        self._add(self._splitter.feed(chunk))
        if len(self._batch) >= _BATCH_LINES or (
            self._batch and time.monotonic() - self._flushed >= _BATCH_SECONDS
        ):
            self._flush()

    def put(self, lines: list[str]) -> None:
        """Sends whole lines at once."""
        self._add(lines)
        self._flush()

    def close(self, rest: bytes) -> None:
        """Sends the rest."""
        self._add([*self._splitter.feed(rest), *self._splitter.end()])
        self._flush()

    def _add(self, lines: list[str]) -> None:
        for line in lines:
            self._batch.append({"timestamp": int(time.time() * 1000), "message": line})
            if self._on_line is not None:
                self._on_line(line)

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        if self._batch:
            batch, self._batch = self._batch, []
            try:
                self._logs.put_log_events(
                    logGroupName=self.group, logStreamName=self.name, logEvents=batch
                )
            except ClientError as error:
                self._on_lost(f"{len(batch)} log lines were lost: {error}")
