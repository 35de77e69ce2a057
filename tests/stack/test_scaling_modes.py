"""Changes of a deployment's scaling settings."""

from local.engine import Action

CONTROLLER = {"scaling": {"mode": "controller"}}


def test_mode_alarms_has_nothing_of_the_controller(project):
    project.select({"small": {"scaling": {"mode": "alarms"}}}).up()
    assert not project.client("stepfunctions").list_state_machines()["stateMachines"]
    (function,) = project.client("lambda").list_functions()["Functions"]
    assert function["FunctionName"].startswith("doorman-")


def test_a_second_up_changes_nothing_and_destroying_leaves_nothing(project):
    wakes = {"scaling": {"mode": "controller", "wake_on_send": True}}
    engine = project.select({"small": CONTROLLER, "other": wakes})
    engine.up()
    assert set(engine.up().counts) == {Action.UNCHANGED}
    engine.destroy(run_program=True)
    assert not project.client("stepfunctions").list_state_machines()["stateMachines"]
    assert not project.client("lambda").list_functions()["Functions"]
    assert len(project.client("events").list_event_buses()["EventBuses"]) == 1  # the default one


def test_a_deployment_that_comes_or_goes_changes_nothing_of_another_nor_of_the_doorman(project):
    project.select({"small": CONTROLLER}).up()
    both = {"small": CONTROLLER, "other": {"scaling": {"mode": "controller"}}}
    for packs in (both, {"small": CONTROLLER}):
        changed = {change.urn for change in project.select(packs).up().changed}
        of_others = {urn for urn in changed if "PackDeployment" in urn and "::other" not in urn}
        assert not of_others
        assert not {urn for urn in changed if "Doorman" in urn}
