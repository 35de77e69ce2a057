"""How long the program takes with 1, 10 and 50 deployments, on this machine.

    python -m benchmarks.program [--rounds N]

Each run is a fresh process: Python, imports, the whole program, and a preview by the local
engine against moto, which makes nothing. Runs take turns. Of the wall clock the median is printed;
of the processor's time the least, since all that others do on the machine can only add to it, and
the slope between 1 and 10 is a small difference of large figures.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from moto.server import ThreadedMotoServer
from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).resolve().parents[1]
SIZES: Final = (1, 10, 50)
RATIO_GOAL: Final = 3
"""The most that fifty deployments may take, as a multiple of one."""
LINEAR_GOAL: Final = 1.25
"""The cost of a deployment between 10 and 50, over its cost between 1 and 10."""
WIDTH: Final = 100

CHILD: Final = """
import sys
from pathlib import Path
from local.engine import Engine
folder, endpoint, packs = sys.argv[1:]
import json
engine = Engine(
    Path(folder), "dev", endpoint_url=endpoint, state_file=Path(folder) / "never.json",
    config={"taskpacks:packs": json.loads(packs)},
)
print(len(engine.preview().changes))
"""


@dataclass(frozen=True)
class Run:
    """One process from its start to its end."""

    resources: int
    wall_seconds: float
    processor_seconds: float


def run(endpoint: str, deployments: int) -> Run:
    """Previews a stack of so many deployments in a process of its own."""
    packs = json.dumps({f"pi-{index}": {"pack": "pi"} for index in range(deployments)})
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(ROOT), endpoint, packs],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    if done.returncode:
        raise SystemExit(f"the program failed:\n{done.stderr[-3000:]}")
    return Run(
        resources=int(done.stdout),
        wall_seconds=ended - began,
        processor_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


def main() -> None:
    """Runs every size in turns and prints the medians, and what they say of the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    runs: dict[int, list[Run]] = {size: [] for size in SIZES}
    try:
        run(f"http://{host}:{port}", 1)  # so that everybody finds the byte code written
        for _ in range(rounds):
            for size in SIZES:
                runs[size].append(run(f"http://{host}:{port}", size))
    finally:
        server.stop()
    show(runs, rounds)


def show(runs: dict[int, list[Run]], rounds: int) -> None:
    """Prints the table, and whether the goals are met."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    wall = {size: median(each.wall_seconds for each in found) for size, found in runs.items()}
    processor = {
        size: min(each.processor_seconds for each in found) for size, found in runs.items()
    }
    table = Table(title=f"The program, {rounds} fresh processes each: median wall, least processor")
    for heading in ("deployments", "resources", "wall", "processor", "processor, times one"):
        table.add_column(heading, justify="right")
    one, ten, fifty = SIZES
    for size in SIZES:
        table.add_row(
            str(size),
            str(runs[size][0].resources),
            f"{wall[size]:.2f} s",
            f"{processor[size]:.2f} s",
            f"{processor[size] / processor[one]:.1f}",
        )
    console.print(table)
    first = (processor[ten] - processor[one]) / (ten - one)
    later = (processor[fifty] - processor[ten]) / (fifty - ten)
    console.print(
        f"A deployment more takes {first * 1000:.0f} ms up to {ten} and {later * 1000:.0f} ms up "
        f"to {fifty}; goal: at most {LINEAR_GOAL} times as much: "
        f"{_verdict(later <= LINEAR_GOAL * first)}"
    )
    ratio = processor[fifty] / processor[one]
    console.print(
        f"{fifty} take {ratio:.1f} times as long as {one}; goal: at most {RATIO_GOAL}: "
        f"{_verdict(ratio <= RATIO_GOAL)}"
    )


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


if __name__ == "__main__":
    main()
