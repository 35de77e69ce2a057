"""The settings that the stack gives the launcher, in one environment variable."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from launcher.records import Limits, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS_VARIABLE: Final = "TASKPACKS_LAUNCHER"
"""JSON of `Settings`; the stack writes it."""
FOLDER_VARIABLE: Final = "TASKPACKS_FOLDER"
"""For the doorman: the path of the stack's SSM parameters. Below `deployments/` is a record of each
deployment, below `paused/` a mark of each that is paused (taskpacks/contract.py)."""


@dataclass(frozen=True, kw_only=True)
class Settings(Record):
    """One deployment, as the launcher sees it.

    Attributes:
        stack: The stack that it belongs to.
        deployment: Its name.
        pack: The pack that it deploys.
        queue_url: Its task queue.
        queue_name: The same, as CloudWatch's dimension.
        job_queue: Its Batch job queue's ARN.
        job_definition: Its job definition's ARN without the revision.
        pause_parameter: Name of the SSM parameter that is there while it is paused.
        excused_exit_codes: With which a worker says that it was asked to leave.
        excused_reasons: Patterns of Batch's status reasons for machines that were taken away, and
            for jobs that were ended on purpose.
        limits: What it allows and aims at.
    """

    stack: str
    deployment: str
    pack: str
    queue_url: str
    queue_name: str
    job_queue: str
    job_definition: str
    pause_parameter: str
    excused_exit_codes: tuple[int, ...]
    excused_reasons: tuple[str, ...]
    limits: Limits

    @property
    def dimensions(self) -> dict[str, str]:
        """Returns those of its metrics, the workers' among them: see taskpacks/contract.py."""
        return {"Stack": self.stack, "Deployment": self.deployment}

    @classmethod
    def from_environment(cls) -> Self:
        """Reads them.

        Raises:
            ValueError: The variable is missing or does not fit this version of the launcher.
        """
        text = os.environ.get(SETTINGS_VARIABLE)
        if not text:
            raise ValueError(
                f"{SETTINGS_VARIABLE} is not set: the stack writes it; deploy it again"
            )
        return cls.from_json(json.loads(text))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """As every record's, with its lists and limits in their own types."""
        made = super().from_json(values)
        return replace(
            made,
            excused_exit_codes=tuple(made.excused_exit_codes),
            excused_reasons=tuple(made.excused_reasons),
            limits=Limits.from_json(values["limits"]),
        )
