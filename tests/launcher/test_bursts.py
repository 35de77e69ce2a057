"""Real tasks in three bursts through the deployed controller, held against the simulator."""

import json
import re
import time
from datetime import UTC, datetime
from statistics import mean, median

import pytest
from celery import Celery

from launcher.policy import Limits
from local.cloud import FunctionLine, JobChanged, JobSubmitted, LocalCloud, LogLine
from local.demo.progress import decision_of, task_report
from simulate.loads import Load
from simulate.scalers import LauncherLoop
from simulate.setting import Setting
from simulate.world import World
from tests.stack.conftest import ROOT, Project

PACE = 60
BURSTS = 3
TASKS_IN_A_BURST = 100
TASK_SECONDS = 0.3
BURST_EVERY_SECONDS = 18
WORKERS_MAX = 8
IDLE_SECONDS = 3
SEEDS = 20
PACK = """
import time

from taskpacks import PackSpec, hookimpl

@hookimpl
def taskpack_spec():
    return PackSpec()

@hookimpl
def taskpack_register_tasks(app):
    @app.task(name="napping.nap")
    def nap(seconds):
        time.sleep(seconds)
"""


@pytest.fixture
def cloud(tmp_path):
    with LocalCloud(
        tmp_path / "cloud", program_folder=ROOT, pace=PACE, max_running_jobs=WORKERS_MAX
    ) as cloud:
        yield cloud


@pytest.fixture
def outputs(tmp_path, cloud, monkeypatch):
    """A pack whose task takes a known time, deployed; its times are in the cloud's."""
    site, program = tmp_path / "site", tmp_path / "program"
    info = site / "napping-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: napping\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taskpacks]\nnapping = napping_pack\n")
    (site / "napping_pack.py").write_text(PACK)
    monkeypatch.syspath_prepend(site)
    program.mkdir()
    engine = Project(program, cloud).select(
        {
            "napping": {
                "resources": {"vcpus": 1, "memory_mib": 2048, "max_vcpus": WORKERS_MAX},
                "scaling": {
                    "mode": "controller",
                    "task_seconds": TASK_SECONDS * PACE,
                    "startup_seconds": 200,
                    "idle_seconds": IDLE_SECONDS,
                    # Each second that this machine takes to wake the launcher is a minute here:
                    # no message is to be late for that.
                    "start_within_seconds": 1800,
                },
                "environment": {"PYTHONPATH": str(site)},
            }
        }
    )
    engine.up()
    return engine.outputs()


class Watch:
    """The workers and their tasks as they are seen, in real seconds."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.started = 0
        self.submitted_at = {}
        self.startups = []
        self.runs = []
        self.done = set()
        self.failed = []
        self.decisions = []
        self.began = datetime.now(UTC)
        cloud.subscribe(self.on_event)

    def on_event(self, event):
        at = (event.when.real - self.began).total_seconds()
        if isinstance(event, JobSubmitted):
            self.started += event.array_size or 1
        elif isinstance(event, JobChanged) and event.status == "STARTING":
            self.submitted_at[event.job_id] = at
        elif isinstance(event, JobChanged) and event.status == "FAILED":
            self.failed.append(event)
        elif isinstance(event, FunctionLine) and (decision := decision_of(event.line)):
            self.decisions.append(decision)
        elif isinstance(event, LogLine):
            report = task_report(event.line)
            if report and report["Outcome"] == "done":
                self.done.add(report["TaskId"])
                self.runs.append(report["RunSeconds"])
            elif "serving task queue" in event.line and event.job_id in self.submitted_at:
                self.startups.append(at - self.submitted_at.pop(event.job_id))


def limits_as_deployed(cloud):
    client = cloud.client("lambda")
    (function,) = [
        each
        for each in client.list_functions()["Functions"]
        if each["FunctionName"].startswith("napping-launcher-")
    ]
    settings = json.loads(function["Environment"]["Variables"]["TASKPACKS_LAUNCHER"])
    return Limits.from_json(settings["limits"])


def sent_in_bursts(cloud, outputs):
    """Sends all bursts, each at its time; returns the cloud seconds at which each task came."""
    app = Celery("bursts", set_as_current=False)
    app.conf.update(outputs["producer"], task_serializer="json", accept_content=["json"])
    began, arrivals = time.monotonic(), []
    for burst in range(BURSTS):
        time.sleep(max(0.0, began + burst * BURST_EVERY_SECONDS - time.monotonic()))
        for _ in range(TASKS_IN_A_BURST):
            app.send_task("napping.nap", [TASK_SECONDS], queue="napping", ignore_result=True)
            arrivals.append((time.monotonic() - began) * PACE)
    return arrivals


def simulated_starts(limits, arrivals, *, task_seconds, startup_seconds):
    """How many workers the simulator starts for the same load, on average over its seeds."""
    load = Load("as sent", arrivals, [task_seconds] * len(arrivals))
    started = []
    for seed in range(SEEDS):
        world = World(
            load,
            Setting(
                capacity=WORKERS_MAX,
                startup_seconds=startup_seconds,
                idle_seconds=IDLE_SECONDS * PACE,
                count_lag_seconds=1,  # moto's counts are exact
                metric_delay_seconds=0,  # and its alarms see each minute as it ends
                seed=seed,
            ),
        )
        LauncherLoop(limits).attach(world)
        started.append(world.run().started)
    return mean(started)


def depth(cloud, queue):
    """Visible and in-flight messages."""
    asked = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = cloud.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=asked)
    return [counts["Attributes"][name] for name in asked]


@pytest.mark.timeout(180)
def test_300_tasks_in_three_bursts_drain_with_as_many_workers_as_the_simulator_starts(
    cloud, outputs
):
    watch = Watch(cloud)
    arrivals = sent_in_bursts(cloud, outputs)
    queue = outputs["deployments"]["napping"]["queue_url"]
    cloud.events.wait_for(lambda _: len(watch.done) == BURSTS * TASKS_IN_A_BURST, seconds=90)
    cloud.events.wait_for(
        lambda event: (
            isinstance(event, FunctionLine)
            and event.when.real > watch.began
            and re.search(r'"Verb": "done"', event.line)
            and len(watch.done) == BURSTS * TASKS_IN_A_BURST
        ),
        seconds=30,
    )
    # A message is deleted a moment after its task is reported.
    give_up_at = time.monotonic() + 5
    while depth(cloud, queue) != ["0", "0"]:
        assert time.monotonic() < give_up_at, depth(cloud, queue)
        time.sleep(0.1)
    assert not watch.failed

    simulated = simulated_starts(
        limits_as_deployed(cloud),
        arrivals,
        task_seconds=mean(watch.runs) * PACE,
        startup_seconds=median(watch.startups) * PACE,
    )
    told = f"{watch.started} workers started, {simulated:.1f} simulated"
    print(f"{told}; start-up {median(watch.startups):.1f} s, task {mean(watch.runs):.2f} s")
    starts = [decision.reason for decision in watch.decisions if decision.verb == "start"]
    assert watch.started == pytest.approx(simulated, rel=0.2), (told, starts)
