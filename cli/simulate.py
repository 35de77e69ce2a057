"""`taskpacks simulate`: time to drain and cost under a load, before paying for it."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from simulate import loads, report
from simulate.bound import clairvoyant
from simulate.scalers import LauncherLoop
from simulate.setting import Setting
from simulate.world import World
from stack.documents.launcher_settings import limits_of
from taskpacks.errors import RefusedSettingsError, nearest
from taskpacks.types import PackSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.records import Limits
    from simulate.loads import Load
    from simulate.report import Run

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
LOG_WIDTH = 150
OURS = "taskpacks"


class LoadShape(StrEnum):
    """When messages come."""

    AT_ONCE = "at-once"
    POISSON = "poisson"
    TIDE = "tide"
    BURSTS = "bursts"


def simulate(  # noqa: PLR0917 -- typer makes each an option, given by name
    stack: Annotated[
        str | None, typer.Option(help="Take the limits from a deployment of Pulumi.STACK.yaml.")
    ] = None,
    deployment: Annotated[
        str | None, typer.Option(help="Which deployment of the stack; the first if not given.")
    ] = None,
    pack: Annotated[str | None, typer.Option(help="Take the limits that a pack declares.")] = None,
    load: Annotated[LoadShape, typer.Option(help="When messages come.")] = LoadShape.AT_ONCE,
    messages: Annotated[
        int, typer.Option(help="at-once, and each of the bursts: how many.", min=0)
    ] = 1000,
    per_hour: Annotated[
        float, typer.Option(help="poisson, the tide's peak, the trickle under bursts.", min=0)
    ] = 60,
    hours: Annotated[float, typer.Option(help="How long messages come.", min=0)] = 24,
    every_hours: Annotated[float, typer.Option(help="Between two bursts.", min=0.01)] = 3,
    trace: Annotated[
        Path | None,
        typer.Option(help="A recorded load instead: CSV with the columns time,task_seconds."),
    ] = None,
    task_seconds: Annotated[
        float | None, typer.Option(help="What tasks take on average; else as declared.", min=0.001)
    ] = None,
    task_spread: Annotated[
        float, typer.Option(help="Spread of task times: 0 none, 0.5 some, 1.5 a heavy tail.", min=0)
    ] = 0,
    start_seconds: Annotated[
        float | None, typer.Option(help="A worker's median start-up; else as declared.", min=0)
    ] = None,
    start_spread: Annotated[float, typer.Option(help="Spread of start-up times.", min=0)] = 0.25,
    spot_per_hour: Annotated[
        float, typer.Option(help="How often a worker is taken away, per hour of running.", min=0)
    ] = 0,
    max_workers: Annotated[int | None, typer.Option(help="Overrides the limit.", min=1)] = None,
    max_vcpus: Annotated[float | None, typer.Option(help="Overrides the limit.", min=1)] = None,
    break_even: Annotated[
        float | None, typer.Option(help="Overrides the setting.", min=0.01)
    ] = None,
    seed: Annotated[int, typer.Option(help="All randomness comes from it.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Write a page with table and plot.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the plot.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="Print each start with its reason.")
    ] = False,
) -> None:
    """Simulates scaling under a load, with the launcher's own policy: time to drain and cost."""
    for option, file in (("--png", png), ("--html", html)):
        _refuse_unwritable(option, file)
    declared = _limits(stack, deployment, pack)
    overrides: dict[str, Any] = {
        "max_workers": max_workers,
        "max_vcpus": max_vcpus,
        "break_even": break_even,
        "task_seconds": task_seconds,
    }
    limits = replace(
        declared, **{name: value for name, value in overrides.items() if value is not None}
    )
    rng = Random(seed)  # noqa: S311 -- a simulation's, not a secret
    draw = loads.durations(limits.task_seconds, task_spread, rng)
    if trace:
        coming = loads.trace(trace)
    else:
        coming = _load(
            load, messages, per_hour, hours=hours, every_hours=every_hours, draw=draw, rng=rng
        )
    setting = Setting(
        capacity=limits.workers,
        processes=limits.processes,
        startup_seconds=limits.startup_seconds if start_seconds is None else start_seconds,
        startup_spread=start_spread,
        idle_seconds=limits.idle_seconds,
        spot_per_hour=spot_per_hour,
        seed=seed,
    )
    run = _run(coming, setting, limits)
    bound = report.Run(report.BOUND, clairvoyant(coming, setting))
    summaries = [report.summary(each, coming, limits) for each in (run, bound)]
    _print(summaries, run, coming, limits, as_json=as_json, decisions=decisions)
    if png or html:
        from simulate import plots  # noqa: PLC0415 -- matplotlib takes its time

        plot = plots.png(run, report.title(coming, limits), limits)
        if png:
            png.write_bytes(plot)
        if html:
            html.write_text(report.page(summaries, coming, limits, plot), "utf-8")


def _refuse_unwritable(option: str, file: Path | None) -> None:
    """Before the simulation, which may take minutes.

    Raises:
        RefusedSettingsError: The file is a folder, or its folder is not there.
    """
    if file is None:
        return
    if file.is_dir():
        raise RefusedSettingsError(f"{option} {file} is a folder; name a file in it")
    if not file.parent.is_dir():
        raise RefusedSettingsError(
            f"{option} {file}: there is no folder {file.parent}; make it, or name another"
        )


def _print(
    summaries: list[dict[str, Any]],
    run: Run,
    coming: Load,
    limits: Limits,
    *,
    as_json: bool,
    decisions: bool,
) -> None:
    if as_json:
        typer.echo(json.dumps({"limits": limits.as_json(), "policies": summaries}, indent=2))
        return
    console = Console()
    if not console.is_terminal:  # a log in a file is read with long lines
        console = Console(width=LOG_WIDTH)
    console.print(report.table(summaries, coming, limits))
    if decisions:
        for time, decision in run.decisions:
            if decision.verb in ("start", "halt"):
                console.print(
                    f"{report.duration(time)}: {decision.reason}", highlight=False, markup=False
                )


def _run(coming: Load, setting: Setting, limits: Limits) -> Run:
    loop = LauncherLoop(limits)
    world = World(coming, setting)
    loop.attach(world)
    figures = world.run()
    return report.Run(OURS, figures, loop.decisions)


def _load(
    shape: LoadShape,
    messages: int,
    per_hour: float,
    *,
    hours: float,
    every_hours: float,
    draw: Callable[[], float],
    rng: Random,
) -> Load:
    if shape is LoadShape.AT_ONCE:
        return loads.at_once(messages, draw)
    if shape is LoadShape.POISSON:
        return loads.poisson(per_hour, hours, draw, rng=rng)
    if shape is LoadShape.TIDE:
        return loads.tide(per_hour, hours, draw, rng=rng)
    return loads.bursts(
        per_hour, messages, every_hours=every_hours, hours=hours, draw=draw, rng=rng
    )


def _limits(stack: str | None, deployment: str | None, pack: str | None) -> Limits:
    if pack and (stack or deployment):
        raise RefusedSettingsError(
            "--pack is a pack's own declaration and --stack a deployment's: give one of them"
        )
    if deployment and not stack:
        raise RefusedSettingsError(
            f"--deployment {deployment}: a deployment belongs to a stack; add --stack"
        )
    if not stack and not pack:
        return limits_of(PackSpec())
    from local.engine import load_for_reading  # noqa: PLC0415 -- brings pulumi, which takes its time
    from stack import settings  # noqa: PLC0415 -- as above

    if pack:
        return limits_of(settings.parse({"packs": {pack: {}}}).deployments[0].spec)
    project = load_for_reading(PROJECT_FOLDER, PROJECT_FOLDER / f"Pulumi.{stack}.yaml")
    parsed = settings.read(project.config, project.encrypted)
    deployments = {each.name: each for each in parsed.deployments}
    name = deployment or next(iter(deployments))
    if name not in deployments:
        raise RefusedSettingsError(
            f"--deployment {name}: Pulumi.{stack}.yaml has no such deployment."
            f"{nearest(name, deployments)}"
        )
    return limits_of(deployments[name].spec)
