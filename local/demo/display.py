"""Shows the cloud's events as a log, and a live table where there is a terminal."""

from __future__ import annotations

import logging
import re
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Final

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from local.cloud import (
    AlarmChanged,
    CloudEvent,
    ExecutionChanged,
    FunctionLine,
    JobChanged,
    LogLine,
    NoticeSent,
    RuleMatched,
)
from local.cloud.targets import THE_CLOCK
from local.demo.progress import ENDED, decision_of, doorman_of, log_record

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from rich.console import Console

    from local.demo.progress import DecisionLine, DeploymentProgress, Progress

_STYLES: Final = {"ALARM": "bold red", "OK": "green", "INSUFFICIENT_DATA": "dim"}
_TOLD_LOGGERS: Final = ("worker.run", "worker.shutdown")
_TOLD_LEVELS: Final = ("ERROR", "CRITICAL")
_TOLD_STATUSES: Final = ("RUNNING", *ENDED)
_JOB_ID: Final = re.compile(r"\b([0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_FIGURE: Final = re.compile(r"\d[\d.,_]*")
TRACE_LINES: Final = 4
"""The lines shown of an error's trace: where it was raised, and what."""
FINDINGS_SHOWN: Final = 6
"""The findings shown of a deployment; of more only the number is shown."""


class Display:
    """Writes the demo's log and tables to a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._shown: dict[tuple[str, str], str] = {}

    def say(self, text: str, style: str = "") -> None:
        """Writes one line of the log, with the seconds since the start."""
        seconds = time.monotonic() - self._began
        self._console.print(
            f"[dim]{seconds:6.1f} s[/dim]  {escape(short_ids(text))}",
            style=style,
            highlight=False,
            soft_wrap=True,
        )

    def on_event(self, event: CloudEvent) -> None:
        """Writes the events that tell the story."""
        if isinstance(event, LogLine):
            self._log_line(event)
        elif isinstance(event, FunctionLine):
            if decision := decision_of(event.line):
                self._decision(decision)
            for deployment, what in (doorman_of(event.line) or {}).items():
                self.say(f"doorman {deployment}: {what}", style="bold cyan")
        elif is_shown(event):
            self.say(str(event), style="red" if event.level >= logging.ERROR else "")

    def _decision(self, decision: DecisionLine) -> None:
        """Writes a decision, unless it says the same as the last of its kind but for figures."""
        kind = decision.deployment, decision.verb
        words = decision.verb if decision.verb == "stand_down" else without_figures(decision.reason)
        if decision.verb != "start" and self._shown.get(kind) == words:
            return
        self._shown[kind] = words
        text = f"launcher {decision.deployment}: {decision.verb}: {decision.reason}"
        self.say(text, style="bold red" if decision.halts else "bold cyan")

    def _log_line(self, event: LogLine) -> None:
        # Of a worker's log only its leaving and its troubles; the whole is in CloudWatch Logs.
        record = log_record(event.line)
        if record is None:
            return
        if record["logger"] in _TOLD_LOGGERS or record["level"] in _TOLD_LEVELS:
            self.say(f"worker {event.job_id}: {record['message']}")
            for line in str(record.get("trace", "")).splitlines()[-TRACE_LINES:]:
                self.say(f"    {line}", style="dim")

    @contextmanager
    def live(self, progress: Progress) -> Generator[Callable[[], None]]:
        """Shows a table that is refreshed whenever the yielded function is called."""
        if not self._console.is_terminal:
            yield lambda: None
            return
        with Live(status_table(progress), console=self._console, auto_refresh=False) as live:
            yield lambda: live.update(status_table(progress), refresh=True)

    def findings(self, right: Mapping[str, Sequence[str]], wrong: Sequence[str]) -> None:
        """Writes what the packs found when they checked their results."""
        for deployment, sentences in right.items():
            for sentence in sentences[:FINDINGS_SHOWN]:
                self.say(f"{deployment}: {sentence}")
            if (more := len(sentences) - FINDINGS_SHOWN) > 0:
                self.say(f"{deployment}: {more} more, all right")
        for sentence in wrong:
            self.say(sentence, style="red")

    def story(self, progress: Progress) -> None:
        """Writes the figures at the end."""
        self._console.print(story_table(progress))


def is_shown(event: CloudEvent) -> bool:
    """Whether an event is part of the story; the rest is in the cloud's log."""
    match event:
        case JobChanged():
            return event.status in _TOLD_STATUSES
        case AlarmChanged():  # that a new alarm finds nothing wrong is no news
            return event.previous != "INSUFFICIENT_DATA" or event.state == "ALARM"
        case NoticeSent():
            return event.state == "ALARM"
        case RuleMatched():  # the doorman looks once a minute, and says itself what it does
            return event.event != THE_CLOCK
        case ExecutionChanged():  # what started it says that it runs, and one stands down at once
            verb = event.output.get("verb") if isinstance(event.output, dict) else None
            return event.status not in ("RUNNING", "ABORTED") and verb != "stand_down"
        case _:
            return True


def without_figures(text: str) -> str:
    """A sentence without its numbers: two that are the same then say the same."""
    return _FIGURE.sub("", text)


def counted(number: int, what: str) -> str:
    """A number of things in words: 1 task, 2 tasks."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def short_ids(text: str) -> str:
    """Leaves of every job id the first eight digits, which tell jobs apart well enough here."""
    return _JOB_ID.sub(r"\1", text)


def status_table(progress: Progress) -> Table:
    """Depth, alarms, decision, workers and tasks of every deployment, as they are now."""
    headings = (
        "deployment",
        "visible",
        "in flight",
        "alarms",
        "decision",
        "workers",
        "done",
        "failed",
    )
    table = Table(*headings, title="Taskpacks on this machine")
    for made in progress.deployments.values():
        tasks = progress.of(made.name)
        done = sum(task.outcome == "done" for task in tasks)
        failed = sum(task.failed for task in tasks)
        table.add_row(
            made.name,
            str(made.depth[0]),
            str(made.depth[1]),
            _alarms(made),
            made.decision.verb if made.decision else "-",
            f"{made.working} of {len(made.workers)}",
            f"{done} of {len(tasks)}",
            str(failed),
        )
    return table


def _alarms(made: DeploymentProgress) -> str:
    return "  ".join(
        f"[{_STYLES.get(state, '')}]{trigger_name(alarm, made.name)}[/]"
        for alarm, state in sorted(made.alarms.items())
    )


def trigger_name(alarm: str, deployment: str) -> str:
    """The part of an alarm's name between its deployment and its random ending."""
    return alarm.removeprefix(f"{deployment}-").rpartition("-")[0] or alarm


def story_table(progress: Progress) -> Table:
    """Returns a table of what happened, in figures, by deployment."""
    table = Table("deployment", title="The story in figures (seconds: median / longest)")
    for heading in ("tasks", "done", "failed", "wait to start", "run time", "workers"):
        table.add_column(heading, justify="right")
    table.add_column("last task to last exit", justify="right")
    for made in progress.deployments.values():
        tasks = progress.of(made.name)
        done = [task for task in tasks if task.outcome == "done"]
        delay = made.exit_delay_seconds
        table.add_row(
            made.name,
            str(len(tasks)),
            str(len(done)),
            str(sum(task.failed for task in tasks)),
            _spread([task.wait_seconds for task in done]),
            _spread([task.run_seconds for task in done]),
            str(len(made.workers)),
            "-" if delay is None else f"{delay:.1f}",
        )
    return table


def _spread(seconds: list[float | None]) -> str:
    known = [value for value in seconds if value is not None]
    return f"{median(known):.1f} / {max(known):.1f}" if known else "-"
