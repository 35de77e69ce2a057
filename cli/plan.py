"""`taskpacks plan`: a plan as a table, or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.table import Table

from local.engine import load_for_reading
from stack.hardware import prices
from stack.preflight import plan

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from stack.preflight.plan import Plan

REFUSED = 1


def run(
    project_folder: Path,
    stack_file: Path,
    price_file: Path | None,
    file_before: Path | None = None,
) -> Plan:
    """Plans the stack whose settings stand in a file.

    Args:
        project_folder: Where the program is.
        stack_file: The stack's settings.
        price_file: The operator's own prices.
        file_before: The settings that the stack is deployed with, to plan the change from them.

    Raises:
        TaskpacksError: A file cannot be used.
    """
    project = load_for_reading(project_folder, stack_file)
    return plan.make(
        project.program,
        project.config,
        project=project.name,
        stack=project.stack,
        prices=prices.load(price_file),
        encrypted=project.encrypted,
        before=file_before and load_for_reading(project_folder, file_before).config,
    )


def as_json(planned: Plan) -> str:
    """The plan for machines."""
    return json.dumps(planned.as_json(), indent=2)


def show(planned: Plan, console: Console) -> None:
    """Prints the plan for people."""
    if planned.deployments:
        console.print(_deployments(planned))
        console.print(_quotas(planned))
        _costs(planned, console)
    for note in planned.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    for sentence in planned.refused:
        console.print(f"refused: {sentence}", style="red", markup=False, soft_wrap=True)
    if not planned.refused:
        console.print("Nothing is refused.")


def _deployments(planned: Plan) -> Table:
    table = Table(title="Deployments (each with a task queue and a job queue of its own)")
    for heading in ("deployment", "one worker", "runs on", "mode"):
        table.add_column(heading)
    for heading in ("alarms", "workers\nat most", "at worst\nper hour"):
        table.add_column(heading, justify="right")
    for each in planned.deployments:
        pack = "" if each.pack == each.name else f"\n({each.pack})"
        table.add_row(
            f"{each.name}{pack}",
            each.shape,
            f"{each.runs_on}\n{each.purchase}",
            each.mode,
            str(each.alarms),
            str(each.max_workers),
            _dollars(each.worst_usd_per_hour),
        )
    return table


def _quotas(planned: Plan) -> Table:
    table = Table(title="Quotas, as far as this stack takes of them")
    table.add_column("of")
    table.add_column("taken", justify="right")
    table.add_column("AWS allows", justify="right")
    for each in planned.quotas:
        if each.used:
            more = " (more on request)" if each.quota.adjustable else ""
            style = "yellow" if each.near else None
            most = f"{each.quota.most} in {each.quota.place}{more}"
            table.add_row(each.quota.what, str(each.used), most, style=style)
    return table


def _costs(planned: Plan, console: Console) -> None:
    console.print(
        f"At worst, with every worker that can run, on demand: "
        f"{_dollars(planned.worst_usd_per_hour)} an hour."
    )
    parts = ", ".join(
        f"{what} {_dollars(dollars)}"
        for what, dollars in sorted(planned.at_rest.items(), key=lambda item: -item[1])
    )
    console.print(
        f"At rest: {_dollars(planned.at_rest_usd_per_month)} a month ({parts}), and what is "
        "stored: images, results, data, logs."
    )
    oldest, newest = planned.price_dates
    console.print(f"Prices of {planned.price_region}, as seen between {oldest} and {newest}.")


def _dollars(value: float | None) -> str:
    return "unknown" if value is None else f"${value:,.2f}"
