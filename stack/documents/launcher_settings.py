"""Fills the settings of a deployment's launcher, its own records, from the pack's spec."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from launcher.records import Limits
from launcher.settings import Settings
from stack.hardware import shapes
from taskpacks.contract import ENDED_REASON, ExitCode, pause_parameter

if TYPE_CHECKING:
    from taskpacks.types import PackSpec

_OF_RESOURCES = {"vcpus", "max_vcpus", "processes"}
_OF_SCALING = {each.name for each in fields(Limits)} - _OF_RESOURCES


def limits_of(spec: PackSpec) -> Limits:
    """Returns what a deployment allows and aims at: the names are the same on both sides."""
    return Limits(
        **spec.resources.model_dump(include=_OF_RESOURCES),
        **spec.scaling.model_dump(include=_OF_SCALING),
    )


def launcher_settings(
    *,
    stack: str,
    deployment: str,
    pack: str,
    spec: PackSpec,
    queue_url: str,
    queue_name: str,
    job_queue_arn: str,
    job_definition_arn: str,
) -> Settings:
    """Returns what the launcher reads from its environment."""
    return Settings(
        stack=stack,
        deployment=deployment,
        pack=pack,
        queue_url=queue_url,
        queue_name=queue_name,
        job_queue=job_queue_arn,
        job_definition=job_definition_arn,
        pause_parameter=pause_parameter(stack, deployment),
        excused_exit_codes=tuple(int(code) for code in ExitCode if code.starts_another),
        excused_reasons=(*shapes.MACHINE_TAKEN, f"{ENDED_REASON}*"),
        limits=limits_of(spec),
    )
