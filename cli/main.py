"""The `taskpacks` command."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from cli.simulate import simulate
from local.isolation import without_aws_settings
from taskpacks.errors import TaskpacksError

if TYPE_CHECKING:
    from types import FrameType

LOG_WIDTH = 120
INTERRUPTED = 130
"""The exit code that shells report for a process that Ctrl-C ended."""
PROJECT_FOLDER = Path(__file__).resolve().parent.parent

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)


@app.callback()
def taskpacks() -> None:
    """Celery's heavy tasks on AWS Batch."""


app.command()(simulate)


@app.command()
def demo(
    stack: Annotated[str, typer.Option(help="Which Pulumi.STACK.yaml to deploy.")] = "local",
    output: Annotated[
        Path, typer.Option(help="Where this run's folder is made.", file_okay=False)
    ] = Path("demo-output"),
    pace: Annotated[
        float, typer.Option(help="Cloud seconds that pass in a second.", min=1, max=600)
    ] = 60,
    time_limit: Annotated[float, typer.Option(help="Give up after so many seconds.", min=1)] = 600,
) -> None:
    """Runs the whole system on this machine: no cloud account, no Pulumi CLI."""
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has Ctrl-C ignored
        signal.signal(number, _interrupt)
    # A log in a file is read with long lines; a terminal knows its own width.
    console = Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)
    with without_aws_settings():
        from local import demo as local_demo  # noqa: PLC0415 -- after the line above; and --help does without

        options = local_demo.DemoOptions(
            project_folder=PROJECT_FOLDER,
            stack=stack,
            output_folder=output,
            pace=pace,
            time_limit_seconds=time_limit,
        )
        try:
            local_demo.run(options, console)
        except KeyboardInterrupt:
            console.print("taskpacks: interrupted; no worker is left, and no cloud")
            raise typer.Exit(INTERRUPTED) from None


@app.command()
def plan(
    stack: Annotated[
        str, typer.Option(help="A stack's name, or its file Pulumi.STACK.yaml.")
    ] = "dev",
    prices: Annotated[
        Path | None,
        typer.Option(help="Your own prices, in the form of stack/hardware/prices.yaml."),
    ] = None,
    before: Annotated[
        Path | None,
        typer.Option(
            help="The stack's file as it is deployed: is the change possible in one step?"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Says what a stack would be, would cost and breaks: no account, no Pulumi CLI."""
    from cli import plan as plan_command  # noqa: PLC0415 -- imports pulumi below it; --help does without

    file = Path(stack) if stack.endswith((".yaml", ".yml")) else None
    planned = plan_command.run(
        PROJECT_FOLDER, file or PROJECT_FOLDER / f"Pulumi.{stack}.yaml", prices, before
    )
    if as_json:
        sys.stdout.write(plan_command.as_json(planned) + "\n")
    else:
        console = Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)
        plan_command.show(planned, console)
    if planned.refused:
        raise typer.Exit(plan_command.REFUSED)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Runs the command; an error of ours is one sentence, not a trace."""
    try:
        app()
    except TaskpacksError as error:
        Console(stderr=True).print(f"taskpacks: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
