"""Reports a simulation: figures as plain data, a table, and a page."""

from __future__ import annotations

import base64
import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from simulate.scalers import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.policy import Decision, Limits
    from simulate.loads import Load
    from simulate.setting import Figures

BOUND: Final = "clairvoyant"


@dataclass(frozen=True)
class Run:
    """One policy's run under the load.

    Attributes:
        policy: Its name.
        figures: What was counted.
        decisions: Ours only: when, in seconds, and what was decided.
    """

    policy: str
    figures: Figures
    decisions: Sequence[tuple[float, Decision]] = ()


def summary(run: Run, load: Load, limits: Limits) -> dict[str, Any]:
    """The figures of a run as plain data: JSON has no infinity, so that None stands for never."""
    figures = run.figures
    return {
        "policy": run.policy,
        "messages": len(load.arrivals),
        "work_seconds": load.work_seconds,
        "drained_seconds": _finite(figures.drained_seconds),
        "wait_p50_seconds": _finite(percentile(figures.waits, 0.5)),
        "wait_p95_seconds": _finite(percentile(figures.waits, 0.95)),
        "wait_p99_seconds": _finite(percentile(figures.waits, 0.99)),
        "late": sum(wait > limits.start_within_seconds for wait in figures.waits),
        "never_done": figures.never,
        "worker_seconds": figures.billed_seconds,
        "vcpu_hours": figures.billed_seconds * limits.vcpus / 3600,
        "workers_started": figures.started,
        "workers_surplus": figures.surplus,
        "workers_cancelled": figures.cancelled,
        "workers_taken_by_spot": figures.taken,
        "decisions": figures.decisions,
        "api_calls": figures.api_calls,
    }


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


COLUMNS: Final = (
    ("policy", "policy"),
    ("drained_seconds", "drained after"),
    ("wait_p50_seconds", "wait p50"),
    ("wait_p95_seconds", "p95"),
    ("wait_p99_seconds", "p99"),
    ("late", "late"),
    ("vcpu_hours", "vCPU-hours"),
    ("share", "of it work"),
    ("workers_started", "workers"),
    ("workers_surplus", "surplus"),
    ("api_calls", "API calls"),
)


def rows(summaries: Sequence[dict[str, Any]], limits: Limits) -> list[list[str]]:
    """The table's cells, a row for each policy."""
    return [[_cell(each, key, limits) for key, _ in COLUMNS] for each in summaries]


def _cell(summary: dict[str, Any], key: str, limits: Limits) -> str:
    if key == "share":
        hours = summary["vcpu_hours"]
        work = summary["work_seconds"] / limits.processes * limits.vcpus / 3600
        return f"{work / hours:.0%}" if hours else "-"
    value = summary[key]
    if value is None:
        return "never" if summary["messages"] else "-"
    if key.endswith("_seconds"):
        return duration(value)
    return f"{value:,.2f}".replace(",", " ") if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds for people: 45 s, 3 min 20 s, 2 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def title(load: Load, limits: Limits) -> str:
    """One line that says what was simulated."""
    at_a_time = f", {limits.processes} tasks at a time" if limits.processes > 1 else ""
    return (
        f"{load.name}: {len(load.arrivals)} messages, {load.work_seconds / 3600:.2f} hours of work;"
        f" at most {limits.workers} workers of {limits.vcpus:g} vCPU{at_a_time}"
    )


def table(summaries: Sequence[dict[str, Any]], load: Load, limits: Limits) -> Table:
    """For the terminal."""
    made = Table(title=title(load, limits), title_justify="left")
    for _, heading in COLUMNS:
        made.add_column(heading, justify="left" if heading == "policy" else "right")
    for row in rows(summaries, limits):
        made.add_row(*row)
    return made


def page(summaries: Sequence[dict[str, Any]], load: Load, limits: Limits, plot_png: bytes) -> str:
    """One HTML file that holds everything, the plot too."""
    heading = html.escape(title(load, limits))
    heads = "".join(f"<th>{html.escape(heading)}</th>" for _, heading in COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows(summaries, limits)
    )
    image = base64.b64encode(plot_png).decode("ascii")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{heading}</title>
<style>
body {{ font-family: sans-serif; margin: 2em auto; max-width: 70em; }}
table {{ border-collapse: collapse; margin: 1em 0; }}
th, td {{ padding: 0.3em 0.8em; text-align: right; border-bottom: 1px solid #ccc; }}
th:first-child, td:first-child {{ text-align: left; }}
img {{ max-width: 100%; }}
</style>
</head>
<body>
<h1>{heading}</h1>
<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>
<img alt="Queue depth, workers and vCPU-hours over time" src="data:image/png;base64,{image}">
</body>
</html>
"""
