"""Scaling mode `controller`, deployed by the local engine."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from launcher.handler import ARRAY_SIZE_MAX
from launcher.observe import NAMESPACE, OBSERVING_SECONDS_MAX
from launcher.settings import SETTINGS_VARIABLE, Settings
from local.engine.monitor import Monitor
from stack.components import launcher, python_function
from stack.components.controller import deletion_seconds
from taskpacks import limits
from taskpacks.contract import METRICS_NAMESPACE, metric_dimensions
from taskpacks.types import Scaling
from tests.launcher import fakes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project(shared_project):
    return shared_project


@pytest.fixture(scope="module")
def deployed(project):
    engine = project.select({"small": {"scaling": {"mode": "controller"}}})
    engine.up()
    return engine.outputs()["deployments"]["small"]


def machine_of(project):
    (machine,) = project.client("stepfunctions").list_state_machines()["stateMachines"]
    return project.client("stepfunctions").describe_state_machine(
        stateMachineArn=machine["stateMachineArn"]
    )


def launcher_of(project):
    functions = project.client("lambda").list_functions()["Functions"]
    return next(each for each in functions if each["FunctionName"].startswith("small-launcher-"))


def test_the_age_alarm_wakes_the_state_machine_where_the_doorman_does_not(project, deployed):
    machine = machine_of(project)
    events = project.client("events")
    rules = {
        rule["Name"].removeprefix("small-").rpartition("-")[0]: rule
        for rule in events.list_rules()["Rules"]
    }
    assert rules.keys() == {"age", "blocked", "doorman"}
    (target,) = events.list_targets_by_rule(Rule=rules["age"]["Name"])["Targets"]
    assert target["Arn"] == machine["stateMachineArn"]
    assert target["RoleArn"]
    assert target["DeadLetterConfig"]["Arn"]
    assert "BatchParameters" not in target


def test_the_deletion_of_the_state_machine_may_take_longer_than_a_round(project, monkeypatch):
    asked = {}
    register = Monitor.RegisterResource

    def note(self, request, context=None):
        asked[request.type] = request.customTimeouts.delete
        return register(self, request, context)

    monkeypatch.setattr(Monitor, "RegisterResource", note)
    scaling = {"mode": "controller", "round_seconds": 600}
    project.select({"small": {"scaling": scaling}}).preview()
    assert asked["aws:sfn/stateMachine:StateMachine"] == "960s"
    assert deletion_seconds(Scaling(round_seconds=30)) == 390


def test_the_age_alarm_wakes_before_the_sla(project, deployed):
    alarms = project.client("cloudwatch").describe_alarms()["MetricAlarms"]
    thresholds = {
        alarm["AlarmName"].removeprefix("small-").rpartition("-")[0]: alarm["Threshold"]
        for alarm in alarms
    }
    assert thresholds["age"] == 480
    assert not {"message", "depth-low", "depth-high"} & thresholds.keys()


def test_what_the_launcher_has_to_say_again_is_the_same():
    assert NAMESPACE == METRICS_NAMESPACE
    assert fakes.SETTINGS.dimensions == metric_dimensions("prod", "pi")
    assert ARRAY_SIZE_MAX == limits.ARRAY_SIZE_MAX


def test_alarms_for_people_say_which_pack_which_figure_and_what_to_do(project, deployed):
    alarms = {
        alarm["AlarmName"].removeprefix("small-").rpartition("-")[0]: alarm
        for alarm in project.client("cloudwatch").describe_alarms()["MetricAlarms"]
    }
    assert alarms["halted-by-breaker"]["AlarmDescription"].startswith(
        "small (pack small): 5 workers that started one after the other failed"
    )
    groups = project.client("logs").describe_log_groups()["logGroups"]
    (log,) = [g["logGroupName"] for g in groups if g["logGroupName"].startswith("/taskpacks/")]
    assert f"({log})" in alarms["halted-by-breaker"]["AlarmDescription"]
    for name in ("halted-by-breaker", "halted-by-cap", "failed", "timed-out"):
        (action,) = alarms[name]["AlarmActions"]
        assert ":sns:" in action
        assert alarms[name]["OKActions"] == [action]
    assert "200 vCPU-hours" in alarms["halted-by-cap"]["AlarmDescription"]
    assert machine_of(project)["name"] in alarms["failed"]["AlarmDescription"]
    assert alarms["failed"]["Dimensions"] == [
        {"Name": "StateMachineArn", "Value": machine_of(project)["stateMachineArn"]}
    ]


def test_the_machine_asks_the_launcher_and_submits_this_deployments_workers(project, deployed):
    states = json.loads(machine_of(project)["definition"])["States"]
    function = launcher_of(project)
    assert states["Decide"]["Parameters"]["FunctionName"] == function["FunctionArn"]
    for state in ("StartOne", "StartArray"):
        assert states[state]["Parameters"]["JobQueue"] == deployed["job_queue"]
        assert states[state]["Parameters"]["JobDefinition"] == deployed["job_definition"]


def test_the_machine_keeps_a_log_under_the_prefix_of_deliveries(project, deployed):
    logging = machine_of(project)["loggingConfiguration"]
    assert logging["level"] == "ERROR"
    (destination,) = logging["destinations"]
    group = destination["cloudWatchLogsLogGroup"]["logGroupArn"]
    assert ":log-group:/aws/vendedlogs/states/taskpacks-test-small:*" in group


def test_the_zip_holds_the_launcher_alone_and_works_by_itself(tmp_path):
    archive = tmp_path / "launcher.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for name, asset in python_function.archive().assets.items():
            made.write(asset.path, name)
    names = set(zipfile.ZipFile(archive).namelist())
    assert names == {f"launcher/{path.name}" for path in (ROOT / "launcher").glob("*.py")}
    module, _, handler = launcher.HANDLER.rpartition(".")
    code = f"import sys; sys.path.insert(0, {str(archive)!r}); import {module} as m; "
    code += f"print(m.__file__, callable(m.{handler}), 'boto3' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == [f"{archive}/launcher/handler.py", "True", "False"]


def test_the_function_runs_on_graviton_longer_than_an_observation_may_take(project, deployed):
    function = launcher_of(project)
    assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])
    assert function["Handler"] == launcher.HANDLER
    assert function["Timeout"] > OBSERVING_SECONDS_MAX


def test_the_launcher_can_read_what_the_stack_tells_it(project, deployed, monkeypatch):
    function = launcher_of(project)
    variables = function["Environment"]["Variables"]
    monkeypatch.setenv(SETTINGS_VARIABLE, variables[SETTINGS_VARIABLE])
    settings = Settings.from_environment()
    assert settings.queue_url == deployed["queue_url"]
    assert settings.queue_name == deployed["queue_name"]
    assert settings.job_queue == deployed["job_queue"]
    assert settings.job_definition.endswith(f":job-definition/{deployed['job_definition']}")
    assert settings.excused_exit_codes == (75,)
    assert "Host EC2*" in settings.excused_reasons
    assert (settings.limits.vcpus, settings.limits.max_vcpus) == (1, 16)
    assert settings.limits.vcpu_hours_per_day == 200


def test_the_controller_submits_nothing_by_rule(project, deployed):
    events = project.client("events")
    rules = events.list_rules()["Rules"]
    assert rules
    for rule in rules:
        for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
            assert ":job-queue/" not in target["Arn"]
