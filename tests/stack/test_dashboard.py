import json
import re
from dataclasses import replace

from stack.documents import dashboard
from tests.stack.contexts import CONTEXT

ROW = dashboard.Row(
    stack="dev",
    deployment="pi",
    queue_name="pi-tasks-1",
    dead_letter_name="pi-dead-1",
    log_group_name="pi-log-1",
    vcpus=2,
    dollars_per_hour=None,
)


def name_of(stack):
    return dashboard.dashboard_name(replace(CONTEXT, stack=stack, region="eu-west-1"))


def test_stacks_whose_names_differ_by_a_dot_have_dashboards_of_their_own():
    assert name_of("a-b") == "taskpacks-a-b-eu-west-1"
    assert len({name_of("a-b"), name_of("a.b"), name_of("a.b.c"), name_of("a-b.c")}) == 4
    assert re.fullmatch(r"[A-Za-z0-9_-]+", name_of("a.b"))


def test_each_deployment_has_a_title_and_eight_graphs_that_fill_two_lines():
    widgets = dashboard.body([ROW, ROW], "eu-west-1")["widgets"]
    assert len(widgets) == 2 * 9
    first, second = widgets[:9], widgets[9:]
    assert (first[0]["type"], first[0]["y"], second[0]["y"]) == ("text", 0, 13)
    places = {(each["x"], each["y"]) for each in first[1:]}
    assert places == {(x, y) for x in (0, 6, 12, 18) for y in (1, 7)}
    assert all(each["width"] == 6 for each in first[1:])


def test_the_graphs_show_depth_age_workers_dead_letters_wait_run_time_failures_and_cost():
    graphs = dashboard.body([ROW], "eu-west-1")["widgets"][1:]
    titles = [graph["properties"]["title"] for graph in graphs]
    assert titles == [
        "Depth: messages",
        "Age of the oldest message, s",
        "Workers",
        "Dead letters",
        "Wait from sending to start, s",
        "Run time of tasks, s",
        "Tasks by outcome",
        "vCPU-hours of workers that left",
    ]
    assert {graph["properties"]["region"] for graph in graphs} == {"eu-west-1"}
    assert "SOURCE 'pi-log-1'" in graphs[6]["properties"]["query"]


def expression(row):
    cost = dashboard.body([row], "eu-west-1")["widgets"][-1]["properties"]
    return cost["title"], cost["metrics"][0][0]["expression"]


def test_cost_is_in_dollars_where_the_price_is_known_else_in_vcpu_hours():
    assert expression(ROW) == ("vCPU-hours of workers that left", "seconds / 3600 * 2")
    priced = dashboard.Row(**{**vars(ROW), "dollars_per_hour": 0.25})
    assert expression(priced) == ("Dollars of workers that left", "seconds / 3600 * 0.25")


def test_the_metrics_are_those_that_workers_tell():
    telemetry = __import__("worker.telemetry", fromlist=["embedded"])
    told = telemetry.embedded(
        {"WaitSeconds": 1, "RunSeconds": 1, "WorkerSeconds": 1},
        {"Stack": "dev", "Deployment": "pi"},
        {},
    )
    (metrics,) = told["_aws"]["CloudWatchMetrics"]
    names = {each["Name"] for each in metrics["Metrics"]}
    text = json.dumps(dashboard.body([ROW], "eu-west-1"))
    assert all(f'"{name}"' in text for name in names)
    (dimensions,) = metrics["Dimensions"]
    for name in dimensions:
        assert f'"{name}", "{told[name]}"' in text
