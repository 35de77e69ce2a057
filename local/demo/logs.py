"""The workers' logs as files, for who wants to know more than the demo tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.cloud import CloudEvent, LogLine

if TYPE_CHECKING:
    from pathlib import Path


class WorkerLogs:
    """Writes every line of a worker's log to a file named after its job."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder."""
        self._folder = folder
        folder.mkdir()

    def on_event(self, event: CloudEvent) -> None:
        """Takes in what the cloud says."""
        if isinstance(event, LogLine):
            with (self._folder / f"{event.job_id.replace(':', '-')}.log").open("a") as file:
                file.write(f"{event.line}\n")
