"""A task's line of the worker's reports says what it used."""

import time

import pytest

from taskpacks.contract import ExitCode
from worker import usage
from worker.usage import RECORDS, TaskUsage, UsageMeter, folder_bytes

MIB = 1024 * 1024
PACK = """
import os, signal, subprocess, sys, time

from taskpacks import PackSpec, hookimpl

GREEDY = (
    "import sys, time; held = bytearray(int(sys.argv[1]) << 20); "
    "time.sleep(float(sys.argv[2]))"
)


@hookimpl
def taskpack_spec():
    return PackSpec()


@hookimpl
def taskpack_register_tasks(app, context):
    @app.task(name="greedy.nothing")
    def nothing():
        return None

    @app.task(name="greedy.hold")
    def hold(mib, seconds=0, kill=False):
        held = bytearray(mib << 20)
        time.sleep(seconds)
        if kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(held)

    @app.task(name="greedy.compute")
    def compute(seconds):
        ends_at = time.process_time() + seconds
        while time.process_time() < ends_at:
            pass

    @app.task(name="greedy.write")
    def write(mib, times=1, fail=False):
        for _ in range(times):
            with context.scratch_folder() as folder:
                (folder / "inner").mkdir()
                (folder / "inner" / "file").write_bytes(b"x" * (mib << 20))
                if fail:
                    raise ValueError("broken on purpose")

    @app.task(name="greedy.write_and_delete")
    def write_and_delete(mib, seconds):
        with context.scratch_folder() as folder:
            (folder / "file").write_bytes(b"x" * (mib << 20))
            time.sleep(seconds)
            (folder / "file").unlink()

    @app.task(name="greedy.call")
    def call(mib):
        held = bytearray(mib << 20)
        del held
        nothing.apply()

    @app.task(name="greedy.program")
    def program(mib, seconds):
        subprocess.run([sys.executable, "-c", GREEDY, str(mib), str(seconds)], check=True)
"""


@pytest.fixture
def greedy(site):
    """The site, with a pack whose tasks use much."""
    folder = site.folder / "site"
    info = folder / "greedy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greedy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taskpacks]\ngreedy = greedy_pack\n")
    (folder / "greedy_pack.py").write_text(PACK)
    site.environment["TASKPACKS_PACK"] = "greedy"
    site.environment["TASKPACKS_MAX_ATTEMPTS"] = "1"
    return site


def run(site, *sends):
    """Sends tasks, lets one worker run them, and returns the report of each."""
    sent = [site.send(f"greedy.{name}", **arguments) for name, arguments in sends]
    worker = site.start()
    assert worker.wait() == ExitCode.DRAINED
    reports = {line["TaskId"]: line for line in worker.reports if "Outcome" in line}
    return [reports[each.id] for each in sent]


def test_each_task_is_told_its_own_peak_and_not_an_earlier_ones(greedy):
    small, large, again, program, nothing = run(
        greedy,
        ("nothing", {}),
        ("hold", {"mib": 300}),
        ("nothing", {}),
        ("program", {"mib": 500, "seconds": 0}),
        ("nothing", {}),
    )
    idle = small["PeakMemoryBytes"]
    assert 10 * MIB < idle < 290 * MIB
    assert 290 * MIB < large["PeakMemoryBytes"] - idle < 350 * MIB
    assert abs(again["PeakMemoryBytes"] - idle) < 30 * MIB
    assert 490 * MIB < program["PeakMemoryBytes"] - idle < 600 * MIB
    assert abs(nothing["PeakMemoryBytes"] - idle) < 30 * MIB


def test_a_program_smaller_than_an_earlier_tasks_is_seen_too(greedy):
    first, second = run(
        greedy,
        ("program", {"mib": 300, "seconds": 2.5}),
        ("program", {"mib": 200, "seconds": 2.5}),
    )
    assert 90 * MIB < first["PeakMemoryBytes"] - second["PeakMemoryBytes"] < 130 * MIB


def test_processor_time_is_the_tasks_own(greedy):
    nothing, busy, after = run(
        greedy, ("nothing", {}), ("compute", {"seconds": 0.7}), ("nothing", {})
    )
    assert nothing["CpuSeconds"] < 0.1
    assert 0.7 <= busy["CpuSeconds"] < 0.9
    assert after["CpuSeconds"] < 0.1


def test_scratch_is_measured_before_it_is_removed(greedy):
    written, twice, failed, deleted, nothing = run(
        greedy,
        ("write", {"mib": 7}),
        ("write", {"mib": 7, "times": 2}),
        ("write", {"mib": 7, "fail": True}),
        ("write_and_delete", {"mib": 7, "seconds": 2.5}),
        ("nothing", {}),
    )
    assert 7 * MIB <= written["ScratchBytes"] < 7.1 * MIB
    assert 14 * MIB <= twice["ScratchBytes"] < 14.2 * MIB
    assert failed["Outcome"] == "failed"
    assert 7 * MIB <= failed["ScratchBytes"] < 7.1 * MIB
    assert 7 * MIB <= deleted["ScratchBytes"] < 7.1 * MIB
    assert nothing["ScratchBytes"] == 0


def test_a_task_that_a_task_calls_is_a_part_of_it(greedy):
    nothing, calling = run(greedy, ("nothing", {}), ("call", {"mib": 300}))
    assert calling["PeakMemoryBytes"] - nothing["PeakMemoryBytes"] > 290 * MIB


def test_a_task_whose_process_is_killed_is_told_what_was_seen_of_it(greedy):
    (killed,) = run(greedy, ("hold", {"mib": 400, "seconds": 2.5, "kill": True}))
    assert killed["Outcome"] == "lost"
    assert killed["PeakMemoryBytes"] > 400 * MIB
    assert killed["CpuSeconds"] > 0


def test_a_task_that_exceeds_its_time_limit_is_told_what_it_used(greedy):
    greedy.environment["TASKPACKS_TASK_TIME_LIMIT_SECONDS"] = "2"
    (ended,) = run(greedy, ("hold", {"mib": 400, "seconds": 30}))
    assert ended["Outcome"] == "timed_out"
    assert ended["PeakMemoryBytes"] > 400 * MIB
    assert ended["CpuSeconds"] > 0


def test_it_is_no_metric_that_costs(greedy):
    (report,) = run(greedy, ("nothing", {}))
    (metrics,) = report["_aws"]["CloudWatchMetrics"]
    assert {each["Name"] for each in metrics["Metrics"]} == {"WaitSeconds", "RunSeconds"}
    assert report["TaskName"] == "greedy.nothing"


@pytest.fixture
def meter(tmp_path):
    return UsageMeter(tmp_path)


def test_tasks_that_ended_ahead_of_their_reports_are_told_apart(meter, tmp_path):
    names = [f"task {number}" for number in range(RECORDS)]
    for number, name in enumerate(names):
        meter.begin(name)
        folder = tmp_path / name
        folder.mkdir()
        (folder / "file").write_bytes(b"x" * 4096 * number)
        meter.scratch(folder)
        meter.end()
    assert [meter.take(name).scratch_bytes for name in names] == [
        4096 * number for number in range(RECORDS)
    ]
    assert meter.take(names[0]) == TaskUsage()


def test_a_task_whose_process_lives_when_it_is_reported_is_looked_at_once_more(meter):
    meter.begin("exceeds its time limit")
    used = meter.take("exceeds its time limit")
    assert used.peak_memory_bytes > 10 * MIB
    assert (used.cpu_seconds, used.scratch_bytes) >= (0, 0)
    assert meter.take("exceeds its time limit") == TaskUsage()


def test_it_takes_less_than_a_millisecond(meter, tmp_path):
    rounds = 50
    began_at = time.process_time()
    for number in range(rounds):
        meter.begin(str(number))
        meter.scratch(tmp_path)
        meter.end()
        meter.take(str(number))
    assert (time.process_time() - began_at) / rounds < 0.001


def test_files_are_counted_and_not_what_they_link_to_and_no_more_than_some(tmp_path, monkeypatch):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.write_bytes(b"x" * 5 * MIB)
    for number in range(5):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "file").write_bytes(b"x" * MIB)
        (folder / str(number) / "link").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    assert 5 * MIB <= folder_bytes(folder) < 5.1 * MIB  # a link may take a block
    monkeypatch.setattr(usage, "ENTRIES_MAX", 10)  # six of the folder, and two of each in it
    assert 2 * MIB <= folder_bytes(folder) < 2.1 * MIB


def test_a_folder_that_does_not_exist_takes_nothing(tmp_path):
    assert folder_bytes(tmp_path / "none") == 0
