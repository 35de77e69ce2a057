"""What the stack tells the launcher, in one environment variable."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Final, Self

from launcher.policy import Limits

SETTINGS_VARIABLE: Final = "TASKPACKS_LAUNCHER"
"""JSON; the stack writes it (stack/launcher.py), and tests hold both sides together."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One deployment, as the launcher sees it.

    Attributes:
        stack: The stack that it belongs to.
        deployment: Its name.
        pack: The pack that it deploys.
        queue_url: Its task queue.
        queue_name: The same, as CloudWatch's dimension.
        job_queue: Its Batch job queue's ARN.
        job_definition: Its job definition's ARN without the revision.
        excused_exit_codes: With which a worker says that it was asked to leave.
        excused_reasons: Patterns of Batch's status reasons for machines that were taken away.
        limits: What it allows and aims at.
    """

    stack: str
    deployment: str
    pack: str
    queue_url: str
    queue_name: str
    job_queue: str
    job_definition: str
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
        values = json.loads(text)
        limits = Limits.from_json(values.pop("limits"))
        codes, reasons = values.pop("excused_exit_codes"), values.pop("excused_reasons")
        return cls(
            **values,
            excused_exit_codes=tuple(codes),
            excused_reasons=tuple(reasons),
            limits=limits,
        )
