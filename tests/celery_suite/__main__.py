"""Runs Celery's own integration tests with a plain worker and with ours, side by side.

    python -m tests.celery_suite [--backend dynamodb] [--quick] [TEST ...]

Both receive from the same local SQS, each in a process of its own. Prints what does not pass
with both, and ends with 1 when something passes with the plain worker and fails with ours that
allowed.yaml does not name. Logs are in build/celery-suite/runs.
"""

import argparse
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import yaml

from tests.celery_suite.report import PASSED, differences, split, table
from tests.celery_suite.sites import REDIS, Combination, run
from tests.celery_suite.sources import BUILD, HERE, fetch

BACKENDS = ("dynamodb", "redis")
WORKERS = ("plain", "ours")
SHARDS = 2
AT_ONCE = 4
"""Runs beside one another: most tests wait most of their time."""
RUN_SECONDS = 540
AGAIN_SECONDS = 240
AGAIN = 2
"""Times that a test is run again that passes with the plain worker only. Celery's own runs allow
five for many of them: they wait for fixed times."""


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.celery_suite", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="one; default: both")
    parser.add_argument("--quick", action="store_true", help="leave out what takes long")
    parser.add_argument("tests", nargs="*", help="pytest's arguments; default: all")
    arguments = parser.parse_args()
    if shutil.which(REDIS) is None:
        sentence = f"Celery's own tests need {REDIS}: apt-get install redis-server"
        if os.environ.get("CI"):
            return sentence
        print(f"skipped: {sentence}")
        return 0
    listed = yaml.safe_load((HERE / "allowed.yaml").read_text())
    left_out = [test for tests in listed["left_out"].values() for test in tests]
    left_out += listed["left_out_of_quick"] if arguments.quick else []
    selection = [
        *(arguments.tests or ["t/integration"]),
        *(
            f"--ignore={test}" if test.endswith(".py") else f"--deselect={test}"
            for test in left_out
        ),
    ]
    sources = fetch()
    backends = arguments.backend or BACKENDS
    began_at = time.monotonic()
    with ProcessPoolExecutor(AT_ONCE, get_context("spawn")) as pool:
        lines = run_all(pool, sources, backends, selection)
        for _ in range(AGAIN):
            run_again(pool, sources, lines)
    refused = {}
    for backend in backends:
        plain, ours = (lines[worker, backend] for worker in WORKERS)
        text = table(plain, ours)
        (BUILD / f"{backend}.txt").write_text(f"{text}\n")
        print(f"results in {backend}:\n{text}\n")
        allowed = {**listed["allowed"]["any"], **listed["allowed"][backend]}
        wrong, unused = split(differences(plain, ours), allowed)
        refused.update({f"{backend}: {test}": why for test, why in wrong.items()})
        for test in unused:
            if plain.get(test, {}).get("outcome") == PASSED:
                print(f"allowed.yaml names {test}, which passed this time")
    print(f"{time.monotonic() - began_at:.0f} s")
    for test, why in refused.items():
        print(f"passes with the plain worker and not with ours: {test}\n    {why}")
    return 1 if refused else 0


def run_all(pool, sources, backends, selection):
    """Runs a selection with both workers and each backend.

    Returns:
        (worker, backend) -> test -> its line.
    """
    runs = {
        (worker, backend, shard): pool.submit(
            run,
            Combination(worker, backend),
            sources,
            selection,
            seconds=RUN_SECONDS,
            shard=(shard, SHARDS),
        )
        for backend in backends
        for shard in range(SHARDS)
        for worker in WORKERS
    }
    lines = {(worker, backend): {} for worker in WORKERS for backend in backends}
    for (worker, backend, _), each in runs.items():
        lines[worker, backend].update(each.result())
    return lines


def run_again(pool, sources, lines):
    """Runs what passes with the plain worker only again with ours, and notes what passes now."""
    runs = {}
    for worker, backend in lines:
        found = differences(lines["plain", backend], lines["ours", backend])
        if worker == "ours" and found:
            runs[backend] = pool.submit(
                run,
                Combination(worker, backend),
                sources,
                list(found),
                seconds=AGAIN_SECONDS,
                name="-again",
            )
    for backend, each in runs.items():
        passed = {test: line for test, line in each.result().items() if line["outcome"] == PASSED}
        lines["ours", backend].update(passed)


if __name__ == "__main__":
    sys.exit(main())
