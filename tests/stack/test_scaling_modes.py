"""Changes of a deployment's scaling settings."""

from local.engine import Action

CONTROLLER = {"scaling": {"mode": "controller"}}


def test_mode_alarms_has_nothing_of_the_controller(project):
    project.select({"small": {"scaling": {"mode": "alarms"}}}).up()
    assert not project.client("stepfunctions").list_state_machines()["stateMachines"]
    assert not project.client("lambda").list_functions()["Functions"]
    rules = project.client("events").list_rules()["Rules"]
    assert not [rule for rule in rules if "ScheduleExpression" in rule]


def test_a_second_up_changes_nothing_and_destroying_leaves_nothing(project):
    engine = project.select({"small": CONTROLLER})
    engine.up()
    assert set(engine.up().counts) == {Action.UNCHANGED}
    engine.destroy(run_program=True)
    assert not project.client("stepfunctions").list_state_machines()["stateMachines"]
    assert not project.client("lambda").list_functions()["Functions"]


def test_changing_the_pulse_updates_its_rule_and_the_alarms_that_look_as_often(project):
    project.select({"small": CONTROLLER}).up()
    changed = {"scaling": {"mode": "controller", "pulse_minutes": 1}}
    summary = project.select({"small": changed}).up()
    assert {change.urn.rpartition("::")[2] for change in summary.changed} == {
        "small-pulse",
        "small-halted-by-breaker",
        "small-halted-by-cap",
        "small-failed",
        "small-timed-out",
    }
    (rule,) = [
        rule
        for rule in project.client("events").list_rules()["Rules"]
        if "ScheduleExpression" in rule
    ]
    assert rule["ScheduleExpression"] == "rate(1 minute)"
