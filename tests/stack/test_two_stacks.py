"""Two stacks of one project in one account and region, each with a deployment `pi`."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import celery
import pytest

from launcher import handler
from launcher.handler import Memory
from launcher.observe import Observer
from launcher.policy import Observation
from launcher.settings import SETTINGS_VARIABLE, Settings
from local.cloud.embedded_metrics import data_points
from local.cloud.process import base_environment
from tests.stack.conftest import Project

ROOT = Path(__file__).resolve().parents[2]
PACKS = {"pi": {"scaling": {"mode": "controller", "idle_seconds": 1}}}
TASKS = 5
"""The fewest that the launcher learns from."""


@dataclass(frozen=True)
class Made:
    """A stack that is up: its outputs, what it says to the launcher, its job's environment."""

    outputs: dict
    launcher: Settings
    worker: dict


def made(project):
    engine = project.select(PACKS)
    engine.up()
    outputs = engine.outputs()
    deployment = outputs["deployments"]["pi"]
    with pytest.MonkeyPatch.context() as patch:
        for function in project.client("lambda").list_functions()["Functions"]:
            text = function["Environment"]["Variables"].get(SETTINGS_VARIABLE, "{}")
            if json.loads(text).get("queue_url") == deployment["queue_url"]:
                patch.setenv(SETTINGS_VARIABLE, text)
        launcher = Settings.from_environment()
    (definition,) = project.client("batch").describe_job_definitions(
        jobDefinitionName=deployment["job_definition"], status="ACTIVE"
    )["jobDefinitions"]
    worker = {
        pair["name"]: pair["value"] for pair in definition["containerProperties"]["environment"]
    }
    return Made(outputs, launcher, worker)


@pytest.fixture(scope="module")
def project(shared_project):
    return shared_project


@pytest.fixture(scope="module")
def stacks(project, tmp_path_factory):
    other = Project(tmp_path_factory.mktemp("other"), project.cloud, stack="other")
    both = made(project), made(other)
    yield both
    for stack in both:  # a queue with messages in it is kept
        project.client("sqs").purge_queue(QueueUrl=stack.launcher.queue_url)
    other.clear()


@pytest.fixture(scope="module")
def asleep(project, stacks):
    """Nothing is woken: the tests ask and run by themselves."""
    events = project.client("events")
    for rule in events.list_rules()["Rules"]:
        events.disable_rule(Name=rule["Name"])


def send(stack, tasks):
    app = celery.Celery("producer", set_as_current=False)
    app.conf.update(stack.outputs["producer"], task_serializer="json", accept_content=["json"])
    for _ in range(tasks):
        app.send_task("pi.calculate", kwargs={"digits": 10})
    app.close()


def lines_of_a_worker(project, stack, folder):
    """Runs one until its task queue is drained."""
    environment = {**base_environment(folder), **project.cloud.environment, **stack.worker}
    worker = subprocess.run(
        [sys.executable, "-m", "worker"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert worker.returncode == 0, worker.stderr
    return worker.stdout.splitlines()


def lines_of_a_launcher_that_halts(stack):
    observation = Observation(complete=True, age_seconds=0, visible=3)
    told = {"verb": "halt", "reason": "", "desired": 2, "start": 0, "halted_by": "cap"}
    line = handler.embedded(stack.launcher, told, Memory(), observation, now=1_000_000)
    return [json.dumps(line)]


def pairs(dimensions):
    return frozenset((each["Name"], each["Value"]) for each in dimensions)


def metrics(lines):
    """Each metric that log lines hold: name and dimensions."""
    return {
        (datum["MetricName"], pairs(datum["Dimensions"]))
        for line in lines
        for _, datum in data_points(line, moment=lambda seconds: seconds, second=1)
    }


def test_the_task_times_of_one_stack_are_not_learned_by_the_other(
    project, stacks, asleep, tmp_path, monkeypatch
):
    one, other = stacks
    for name, value in project.cloud.environment.items():
        monkeypatch.setenv(name, value)
    send(one, TASKS)
    cloudwatch = project.client("cloudwatch")
    for line in lines_of_a_worker(project, one, tmp_path):
        for namespace, datum in data_points(line, moment=lambda seconds: seconds, second=1):
            cloudwatch.put_metric_data(Namespace=namespace, MetricData=[datum])
    clients = {name: project.client(name) for name in ("sqs", "batch", "cloudwatch")}
    learned = []
    for stack in (one, other):
        send(stack, 1)  # metrics are looked at while something waits
        observation = Observer(stack.launcher, clients).observe(())
        assert observation.complete, observation.problem
        learned.append(observation.task_seconds)
    assert learned[0] is not None
    assert learned[1] is None


def test_a_halt_of_one_stack_rings_no_alarm_of_the_other(project, stacks):
    def rings(stack, halted):
        told = metrics(lines_of_a_launcher_that_halts(halted))
        return [
            alarm["AlarmName"].rpartition("-")[0]
            for alarm in project.client("cloudwatch").describe_alarms()["MetricAlarms"]
            if alarm["AlarmActions"] == [stack.outputs["notices"]]
            and alarm.get("Namespace") == "Taskpacks"
            and (alarm["MetricName"], pairs(alarm["Dimensions"])) in told
        ]

    one, other = stacks
    assert rings(one, halted=one) == rings(other, halted=other) == ["pi-halted-by-cap"]
    assert rings(one, halted=other) == rings(other, halted=one) == []


def test_each_stack_has_a_dashboard_that_names_the_region_and_shows_its_own_metrics(
    project, stacks
):
    cloudwatch = project.client("cloudwatch")
    names = {entry["DashboardName"] for entry in cloudwatch.list_dashboards()["DashboardEntries"]}
    assert names == {"taskpacks-test-us-east-1", "taskpacks-other-us-east-1"}
    for stack in ("test", "other"):
        body = json.loads(
            cloudwatch.get_dashboard(DashboardName=f"taskpacks-{stack}-us-east-1")["DashboardBody"]
        )
        shown = [
            metric[2:-1]
            for widget in body["widgets"]
            for metric in widget["properties"].get("metrics", ())
            if metric[0] == "Taskpacks"
        ]
        assert shown
        assert all(dimensions == ["Stack", stack, "Deployment", "pi"] for dimensions in shown)
