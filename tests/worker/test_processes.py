"""A worker with several processes keeps for each of them what it promises."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from taskpacks.contract import ExitCode
from worker.shutdown import alive

MIB = 1024 * 1024
PACK = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

from taskpacks import PackSpec, hookimpl


def wait_for(path):
    while not path.exists():
        time.sleep(0.01)


def meet(folder, name, others):
    "Ends when all tasks have come: none could, if one waited for another's end."
    (Path(folder) / name).touch()
    for other in others:
        wait_for(Path(folder) / other)


@hookimpl
def taskpack_spec():
    return PackSpec()


@hookimpl
def taskpack_register_tasks(app, context):
    @app.task(name="several.meet")
    def together(folder, name, others):
        meet(folder, name, others)
        return [os.getpid(), context.thread_budget, context.memory_budget_mib]

    @app.task(name="several.use")
    def use(folder, name, others, mib, cpu_seconds):
        meet(folder, name, others)
        with context.scratch_folder() as scratch:
            with (scratch / "file").open("wb") as file:
                for _ in range(mib // 4):
                    file.write(b"x" * 2**20)
            print(f"{name} prints")
            subprocess.run([sys.executable, "-c", f"print('{name} has it printed')"], check=True)
            held = bytearray(mib << 20)
            ends_at = time.process_time() + cpu_seconds
            while time.process_time() < ends_at:
                pass
            meet(folder, f"{name}-used", [f"{other}-used" for other in others])
        return len(held)

    @app.task(name="several.tidy")
    def tidy(folder, name, others):
        (Path(folder) / name).touch()
        try:
            time.sleep(600)
        finally:
            meet(folder, f"{name}-tidies", [f"{other}-tidies" for other in others])
            (Path(folder) / f"{name}-tidied").touch()

    @app.task(name="several.hold", bind=True)
    def hold(self, folder, name):
        "Runs until its end is asked for, with scratch and a program of its own."
        with context.scratch_folder() as scratch:
            program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            receipt = self.request.properties["delivery_tag"]
            facts = {"pid": os.getpid(), "scratch": str(scratch), "program": program.pid,
                     "receipt": receipt}
            receives = sum(each.name.startswith(f"{name}.begun") for each in Path(folder).iterdir())
            begun = Path(folder) / f"{name}.begun.{receives}"
            begun.with_suffix(".part").write_text(json.dumps(facts))
            begun.with_suffix(".part").rename(begun)
            try:
                wait_for(Path(folder) / f"{name}.end")
            finally:
                program.kill()
                program.wait()
        return name
"""


@pytest.fixture
def several(site):
    """The site, with workers of four processes."""
    folder = site.folder / "site"
    info = folder / "several-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: several\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taskpacks]\nseveral = several_pack\n")
    (folder / "several_pack.py").write_text(PACK)
    site.environment["TASKPACKS_PACK"] = "several"
    site.environment["TASKPACKS_PROCESSES"] = "4"
    return site


@pytest.fixture
def meeting(tmp_path):
    folder = tmp_path / "meeting"
    folder.mkdir()
    return folder


NAMES = [f"task-{number}" for number in range(4)]


class Held:
    """Tasks that run until their end is asked for."""

    def __init__(self, site, folder, wait_until, names=NAMES):
        self.folder = folder
        self.wait_until = wait_until
        self.results = {
            name: site.send("several.hold", folder=str(folder), name=name) for name in names
        }

    def begun(self, name, run=0):
        """Returns what a run of a task says of itself, once it has begun."""
        path = self.folder / f"{name}.begun.{run}"
        self.wait_until(path.exists)
        return json.loads(path.read_text())

    def runs(self, name):
        return len(list(self.folder.glob(f"{name}.begun.?")))

    def end(self, *names):
        for name in names:
            (self.folder / f"{name}.end").touch()
            assert self.results[name].get(timeout=30) == name


@pytest.fixture
def held(several, meeting, wait_until):
    return Held(several, meeting, wait_until)


def outcomes(worker):
    """How each task ended, by its id."""
    return {line["TaskId"]: line["Outcome"] for line in worker.reports if "Outcome" in line}


def test_four_tasks_run_at_once_and_share_the_budget(several, meeting):
    results = [
        several.send("several.meet", folder=str(meeting), name=name, others=NAMES) for name in NAMES
    ]
    worker = several.start()
    ended = [result.get(timeout=50) for result in results]  # none ends before all have begun
    assert len({pid for pid, *_ in ended}) == 4
    assert {tuple(budget) for _, *budget in ended} == {(1, 256)}  # of 4 vCPUs and 1024 MiB
    assert worker.wait() == ExitCode.DRAINED
    assert several.depth() == several.depth(several.dead_url) == (0, 0)
    (left,) = [line for line in worker.reports if "WorkerSeconds" in line]
    assert left["Tasks"] == 4
    assert left["BusySeconds"] < left["WorkerSeconds"]


def test_what_each_task_uses_and_prints_is_its_own(several, meeting):
    names = NAMES[:2]
    large, small = (
        several.send(
            "several.use", folder=str(meeting), name=name, others=names, mib=mib, cpu_seconds=cpu
        )
        for name, mib, cpu in zip(names, (400, 40), (0.1, 3), strict=True)
    )
    worker = several.start()
    assert (large.get(timeout=50), small.get(timeout=50)) == (400 * MIB, 40 * MIB)
    assert worker.wait() == ExitCode.DRAINED
    used = {line["TaskId"]: line for line in worker.reports if "Outcome" in line}
    of_large, of_small = used[large.id], used[small.id]
    assert 300 * MIB < of_large["PeakMemoryBytes"] - of_small["PeakMemoryBytes"] < 420 * MIB
    assert of_small["CpuSeconds"] >= 3 > of_large["CpuSeconds"]
    assert 100 * MIB <= of_large["ScratchBytes"] < 101 * MIB
    assert 10 * MIB <= of_small["ScratchBytes"] < 11 * MIB
    lines = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
    for name, result in zip(names, (large, small), strict=True):
        for text in (f"{name} prints", f"{name} has it printed"):
            (line,) = [line for line in lines if line.get("message") == text]
            assert line["task_id"] == result.id


def test_a_process_that_is_killed_costs_its_own_task_only(several, held):
    worker = several.start()
    facts = {name: held.begun(name) for name in NAMES}
    os.kill(facts["task-2"]["pid"], signal.SIGKILL)
    again = held.begun("task-2", run=1)
    assert again["pid"] not in [each["pid"] for each in facts.values()]
    assert not Path(facts["task-2"]["scratch"]).exists()
    for name in ("task-0", "task-1", "task-3"):
        assert alive(facts[name]["pid"])
        assert Path(facts[name]["scratch"]).exists()
        assert held.runs(name) == 1
    held.end(*NAMES)
    assert worker.wait() == ExitCode.DRAINED
    ended = [line for line in worker.reports if "Outcome" in line]
    assert sorted(line["Outcome"] for line in ended) == ["done"] * 4 + ["lost"]
    assert several.depth() == several.depth(several.dead_url) == (0, 0)


def test_a_time_limit_ends_its_own_task_only(several, held, wait_until):
    limited = several.producer.send_task(
        "several.hold",
        kwargs={"folder": str(held.folder), "name": "limited"},
        time_limit=3,
    )
    several.environment["TASKPACKS_PROCESSES"] = "5"
    several.environment["TASKPACKS_MAX_ATTEMPTS"] = "1"
    worker = several.start()
    facts = {name: held.begun(name) for name in (*NAMES, "limited")}
    with pytest.raises(Exception, match=r"TimeLimitExceeded\(3"):
        limited.get(timeout=40)
    wait_until(lambda: not alive(facts["limited"]["pid"]))
    assert all(alive(facts[name]["pid"]) and alive(facts[name]["program"]) for name in NAMES)
    held.end(*NAMES)
    assert worker.wait() == ExitCode.DRAINED
    assert outcomes(worker)[limited.id] == "timed_out"
    assert several.depth() == (0, 0)
    assert several.depth(several.dead_url) == (1, 0)


def test_sigterm_gives_all_of_them_back(several, held):
    worker = several.start(TASKPACKS_STOP_GRACE_SECONDS="1")
    facts = {name: held.begun(name) for name in NAMES}
    worker.signal(signal.SIGTERM)
    assert worker.wait(20) == ExitCode.STOPPED
    assert several.depth() == (4, 0)
    for each in facts.values():
        assert not alive(each["pid"])
        assert not alive(each["program"])  # its `finally` clause ran
    second = several.start()
    for name in NAMES:
        held.begun(name, run=1)
    held.end(*NAMES)
    assert second.wait() == ExitCode.DRAINED
    receives = [line["Receives"] for line in second.reports if "Outcome" in line]
    assert receives == [2] * 4


def test_what_ends_within_the_grace_is_done_and_the_rest_is_given_back(several, held):
    worker = several.start(TASKPACKS_STOP_GRACE_SECONDS="6")
    for name in NAMES:
        held.begun(name)
    worker.signal(signal.SIGTERM)
    held.end("task-0", "task-1")
    assert worker.wait(30) == ExitCode.STOPPED
    assert several.depth() == (2, 0)


def test_tasks_that_are_cancelled_clean_up_at_the_same_time(several, meeting, wait_until):
    # One after another they would take longer than the platform waits.
    for name in NAMES:
        several.send("several.tidy", folder=str(meeting), name=name, others=NAMES)
    worker = several.start(TASKPACKS_STOP_GRACE_SECONDS="0")
    wait_until(lambda: {each.name for each in meeting.iterdir()} >= set(NAMES))
    worker.signal(signal.SIGTERM)
    assert worker.wait(30) == ExitCode.STOPPED
    # None of these could be there, if one had waited for another's end.
    assert {each.name for each in meeting.iterdir()} >= {f"{name}-tidied" for name in NAMES}
    assert several.depth() == (4, 0)


def test_a_lease_that_is_lost_ends_its_own_task_only(several, held, wait_until):
    several.configure_queue(lease_seconds=10)
    worker = several.start()
    facts = {name: held.begun(name) for name in NAMES}
    several.sqs.delete_message(QueueUrl=several.url, ReceiptHandle=facts["task-1"]["receipt"])
    wait_until(lambda: not alive(facts["task-1"]["pid"]))
    others = ("task-0", "task-2", "task-3")
    assert all(alive(facts[name]["pid"]) and alive(facts[name]["program"]) for name in others)
    held.end(*others)
    assert worker.wait() == ExitCode.DRAINED
    assert outcomes(worker)[held.results["task-1"].id] == "interrupted"
    assert held.runs("task-1") == 1
    assert several.depth() == several.depth(several.dead_url) == (0, 0)


def test_the_tasks_of_a_worker_that_is_stopped_past_its_leases_end_themselves(
    several, held, wait_until
):
    several.configure_queue(lease_seconds=10)
    worker = several.start()
    facts = {name: held.begun(name) for name in NAMES}
    worker.signal(signal.SIGSTOP)
    # Each process ends itself, with all that it started.
    wait_until(lambda: not any(alive(each["pid"]) for each in facts.values()))
    wait_until(lambda: not any(alive(each["program"]) for each in facts.values()))
    other = several.start()
    for name in NAMES:
        held.begun(name, run=1)
    worker.signal(signal.SIGCONT)
    held.end(*NAMES)
    assert other.wait() == ExitCode.DRAINED
    assert worker.wait() == ExitCode.DRAINED
    assert all(held.runs(name) == 2 for name in NAMES)
    assert several.depth() == several.depth(several.dead_url) == (0, 0)


def test_a_worker_does_not_leave_while_one_of_its_tasks_runs(several, held, wait_until):
    worker = several.start(TASKPACKS_IDLE_SECONDS="1")
    for name in NAMES:
        held.begun(name)
    held.end("task-0", "task-1", "task-2")
    # What comes meanwhile is taken.
    for name in ("later", "latest"):
        assert several.send("several.meet", folder=str(held.folder), name=name, others=[]).get(
            timeout=30
        )
        time.sleep(1.5)  # longer than it would stay without a task
    held.end("task-3")
    assert worker.wait() == ExitCode.DRAINED


def test_a_worker_with_a_number_of_processes_that_cannot_be_leaves_with_a_sentence(site):
    for value in ("0", "33", "2.5", "many"):
        worker = site.start(TASKPACKS_PROCESSES=value)
        assert worker.wait() == ExitCode.SETTINGS_REFUSED
        assert f"TASKPACKS_PROCESSES is '{value}': it must be a whole number from 1" in worker.log
