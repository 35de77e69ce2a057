"""How long the loop takes on this machine: the whole demo, and an `up` that changes nothing.

    python -m benchmarks.loop [RUNS]

Prints medians. The promises: a demo ends within 120 s on two cores; an `up` without changes
takes less than 2 s once the program is loaded.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from local.cloud import LocalCloud
from local.engine import Action, Engine

ROOT = Path(__file__).resolve().parent.parent
DEMO_PROMISE_SECONDS = 120
UP_PROMISE_SECONDS = 2


def demo_seconds(output: Path) -> float:
    """Runs the demo as a newcomer does, imports included."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "cli", "demo", "--output", str(output)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - began


def unchanged_up_seconds(folder: Path, runs: int) -> list[float]:
    """Deploys the local stack once, then again and again without a change."""
    seconds: list[float] = []
    with LocalCloud(folder / "cloud", program_folder=ROOT, pace=1) as cloud:
        engine = Engine(
            ROOT, "local", endpoint_url=cloud.endpoint_url, state_file=folder / "state.json"
        )
        engine.up()
        for _ in range(runs):
            began = time.monotonic()
            summary = engine.up()
            seconds.append(time.monotonic() - began)
            if set(summary.counts) != {Action.UNCHANGED}:
                raise SystemExit(f"that up changed something: {summary}")
    return seconds


def main() -> None:
    """Runs both and prints a table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as scratch:
        demos = [demo_seconds(Path(scratch) / "demo") for _ in range(runs)]
        ups = unchanged_up_seconds(Path(scratch), runs)
    table = Table(title=f"seconds, {runs} runs each")
    for heading in ("what", "median", "longest", "promise"):
        table.add_column(heading)
    for what, seconds, promise in (
        ("the whole demo", demos, DEMO_PROMISE_SECONDS),
        ("an up without changes", ups, UP_PROMISE_SECONDS),
    ):
        table.add_row(what, f"{median(seconds):.2f}", f"{max(seconds):.2f}", f"< {promise}")
    Console().print(table)


if __name__ == "__main__":
    main()
