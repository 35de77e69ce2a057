"""Wake on send, as deployed and run by the local cloud; applications with boto3 alone."""

import json

import pytest

from local.cloud import ExecutionChanged, LocalCloud, RuleMatched
from taskpacks.contract import SENT_DETAIL_TYPE
from tests.launcher.machine import Deployed
from tests.stack.conftest import ROOT, project_in

pytestmark = pytest.mark.timeout(180)
FORGED = 1000


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cloud")
    with LocalCloud(folder, program_folder=ROOT, pace=60, max_running_jobs=1) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, cloud):
    wakes = {"scaling": {"wake_on_send": True, "task_seconds": 3600}}
    with project_in(tmp_path_factory.mktemp("program"), cloud) as project:
        engine = project.select({"small": wakes, "other": {}})
        engine.up()
        yield engine.outputs()


def minute(cloud):
    return cloud.events.now().cloud.timestamp() // 60


@pytest.fixture
def deployed(cloud, outputs):
    """The deployment, with the doorman's clock stopped: events alone wake it."""
    made = Deployed(cloud, "small", outputs["deployments"]["small"])
    made.open()
    before = minute(cloud)  # in which another test's event may have had its effect
    made.until(lambda: minute(cloud) > before)
    yield made
    made.close()


def put(cloud, outputs, events, **more):
    """Puts events as an application does; returns how many the bus refused."""
    entry = {
        "EventBusName": outputs["sends_bus"],
        "Source": outputs["deployments"]["small"]["wake_source"],
        "DetailType": SENT_DETAIL_TYPE,
        "Detail": "{}",
        **more,
    }
    failed = 0
    for first in range(0, events, 10):
        entries = [entry] * min(10, events - first)
        failed += cloud.client("events").put_events(Entries=entries)["FailedEntryCount"]
    return failed


def test_an_event_that_comes_before_its_message_is_counted_is_not_lost(cloud, outputs, deployed):
    put(cloud, outputs, 1)
    deployed.until(lambda: deployed.lines)
    assert "is not counted yet" in deployed.lines[0]["Reason"]
    deployed.send(1)
    deployed.until(lambda: deployed.jobs)
    assert deployed.jobs == [None]


def test_other_sources_and_detail_types_match_no_rule(cloud, outputs, deployed):
    put(cloud, outputs, 1, DetailType="Order Placed")
    put(cloud, outputs, 1, Source="shop.orders")
    put(cloud, outputs, 1, EventBusName="default")
    seen = len(cloud.events.past)
    put(cloud, outputs, 1)  # events are delivered in order
    deployed.until(lambda: deployed.lines)
    matched = [event for event in cloud.events.past[seen:] if isinstance(event, RuleMatched)]
    assert [event.event for event in matched if event.rule.startswith("sends-")] == [
        f"taskpacks.small {SENT_DETAIL_TYPE}"
    ]


def test_a_deployment_that_does_not_listen_says_no_source(outputs):
    assert "wake_source" not in outputs["deployments"]["other"]


def test_a_message_and_its_event_start_one_worker_without_the_doormans_clock(
    cloud, outputs, deployed
):
    deployed.send(1)
    assert put(cloud, outputs, 1) == 0
    deployed.until(lambda: deployed.jobs)
    (execution,) = deployed.running()
    described = cloud.client("stepfunctions").describe_execution(executionArn=execution)
    assert json.loads(described["input"]) == {"woken_by": "send"}
    deployed.rounds(2)
    assert deployed.jobs == [None]


def test_a_thousand_forged_events_give_one_execution_that_works_and_no_worker(
    cloud, outputs, deployed
):
    told = []
    stop = cloud.subscribe(
        lambda event: (
            told.append(event)
            if isinstance(event, ExecutionChanged) and event.machine in deployed.machine
            else None
        )
    )
    assert put(cloud, outputs, FORGED) == 0
    deployed.until(lambda: [event for event in told if event.status == "SUCCEEDED"], seconds=60)
    stop()
    ended = [event for event in told if event.status == "SUCCEEDED"]
    assert {event.output["verb"] for event in ended} <= {"done", "stand_down"}
    # They went on for some of the cloud's minutes, each of which may have one.
    at_work, working = set(), {e.execution for e in ended if e.output["verb"] == "done"}
    for event in told:
        if event.execution in working and event.status == "RUNNING":
            assert not at_work
            at_work.add(event.execution)
        else:
            at_work.discard(event.execution)
    assert deployed.jobs == []
    assert deployed.failures == []
