"""The controller as it is deployed, run by the local cloud: machine, launcher, jobs."""

import sys

import pytest

from local.cloud import LocalCloud, NoticeSent
from tests.launcher.machine import Deployed
from tests.stack.conftest import ROOT, project_in

pytestmark = pytest.mark.timeout(120)
PACE = 60


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cloud")
    with LocalCloud(folder, program_folder=ROOT, pace=PACE, max_running_jobs=2) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, cloud):
    """Deployments of one pack; its workers die, since jobs cannot import it."""
    plenty = {"mode": "controller", "task_seconds": 3600, "breaker_failures": 1000}
    dies = {"breaker_failures": 2, "breaker_cooldown_seconds": 600, "max_workers": 2}
    capped = {"vcpu_hours_per_day": 0.01, "startup_seconds": 0, "task_seconds": 30}
    with project_in(tmp_path_factory.mktemp("program"), cloud) as project:
        engine = project.select(
            {
                "small": {"scaling": plenty},
                "large": {
                    "pack": "small",
                    "resources": {"max_vcpus": 20_000},
                    "scaling": {**plenty, "max_workers": 20_000},
                },
                "dies": {"pack": "small", "scaling": {**plenty, **dies}},
                "capped": {"pack": "small", "scaling": {**plenty, **capped}},
                "stops": {"pack": "small", "scaling": {**plenty, **capped, "cap": "stop"}},
            }
        )
        engine.up()
        made = engine.outputs()["deployments"]
        for name in made:  # no alarm of one disturbs another's test
            quiet = Deployed(cloud, name, made[name])
            quiet.open()
            quiet.close()
        yield made


@pytest.fixture
def deploy(cloud, outputs):
    opened = []

    def deploy(name="small"):
        for each in ("small", "dies", "capped", "stops"):
            opened.append(Deployed(cloud, each, outputs[each]))
            opened[-1].open()
        return next(each for each in opened if each.name == name)

    yield deploy
    for each in opened:
        each.close()


def told(cloud, alarm):
    """Waits until people received a notice of an alarm of this deployment."""
    cloud.events.wait_for(
        lambda event: (
            isinstance(event, NoticeSent)
            and event.alarm.startswith(f"{alarm}-")
            and event.state == "ALARM"
        ),
        seconds=30,
    )


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}},
        {"source": "aws.cloudwatch", "detail": {"state": {"value": "ALARM"}}},
    ],
)
def test_with_nothing_to_do_it_ends_at_once(deploy, event):
    deployed = deploy()
    output = deployed.output(deployed.start(event))
    assert (output["verb"], output["active"]) == ("done", 0)
    assert output["memory"]["round"] == 1
    assert deployed.jobs == []


@pytest.mark.parametrize(("messages", "submitted"), [(1, [None]), (7, [7])])
def test_messages_get_their_workers_once(deploy, messages, submitted):
    deployed = deploy()
    deployed.send(messages)
    deployed.start()
    deployed.until(lambda: deployed.jobs)
    deployed.rounds(3)
    assert deployed.jobs == submitted
    assert deployed.lines[-1]["ActiveWorkers"] == messages


def test_a_second_execution_stands_down_while_one_is_at_work(deploy):
    deployed = deploy()
    deployed.send(1)
    first = deployed.start()
    deployed.until(lambda: deployed.jobs)
    output = deployed.output(deployed.start())
    assert output["verb"] == "stand_down"
    assert first in output["reason"]
    assert deployed.running() == [first]
    deployed.rounds(1)
    assert deployed.jobs == [None]


def test_two_that_are_woken_together_start_one_worker(deploy):
    deployed = deploy()
    deployed.send(1)
    deployed.start()
    deployed.start()
    deployed.until(lambda: deployed.jobs)
    deployed.rounds(2)
    assert deployed.jobs == [None]
    assert len(deployed.running()) == 1


def test_a_submission_that_is_refused_for_its_rate_is_tried_again_in_place(deploy, cloud):
    deployed = deploy()
    deployed.send(1)
    cloud.faults.refuse("batch", "SubmitJob", times=3, code="TooManyRequestsException", status=429)
    execution = deployed.start()
    deployed.until(lambda: deployed.jobs)
    assert deployed.jobs == [None]
    assert len(deployed.lines) == 2  # no other round in between
    assert deployed.running() == [execution]


def test_any_other_failure_to_submit_is_looked_into_in_the_next_round(deploy, cloud):
    deployed = deploy()
    deployed.send(1)
    cloud.faults.refuse("batch", "SubmitJob", times=1, code="ServerException", status=500)
    deployed.start()
    deployed.until(lambda: deployed.jobs)
    assert deployed.jobs == [None]
    assert len(deployed.lines) == 3


def test_submissions_that_never_succeed_fail_the_execution(deploy, cloud):
    deployed = deploy()
    deployed.send(1)
    cloud.faults.refuse("batch", "SubmitJob", times=5, code="ClientException", status=400)
    described = deployed.ended(deployed.start())
    assert (described["status"], described["error"]) == ("FAILED", "GaveUp")
    assert "5 rounds in a row failed" in described["cause"]
    assert "ClientException" in described["cause"]
    assert deployed.jobs == []


def test_lambda_failing_thrice_is_got_over(deploy, cloud):
    deployed = deploy()
    cloud.faults.refuse("lambda", "Invoke", times=3, code="ServiceException", status=500)
    assert deployed.output(deployed.start())["verb"] == "done"


def test_lambda_that_goes_on_failing_fails_the_execution_and_starts_nothing(deploy, cloud):
    deployed = deploy()
    deployed.send(5)
    cloud.faults.refuse("lambda", "Invoke", times=5, code="ServiceException", status=500)
    described = deployed.ended(deployed.start())
    assert (described["status"], described["error"]) == ("FAILED", "LauncherFailed")
    assert deployed.jobs == []


def test_a_launcher_that_raises_thrice_fails_the_execution_and_people_are_told(deploy, cloud):
    deployed = deploy()
    deployed.send(5)
    with deployed.settings_lost():
        described = deployed.ended(deployed.start())
    assert (described["status"], described["error"]) == ("FAILED", "LauncherFailed")
    assert "TASKPACKS_LAUNCHER is not set" in described["cause"]
    assert len(deployed.failures) == 3
    assert deployed.jobs == []
    told(cloud, "small-failed")


def test_before_the_history_is_full_a_successor_goes_on_where_it_was(deploy):
    deployed = deploy()
    deployed.send(1)
    with deployed.renewing_after(rounds=4):
        first = deployed.start()
        output = deployed.output(first)
        assert output["verb"] == "wait"
        output = deployed.output(output["successor"]["execution"])
    assert output["memory"]["predecessor"] == first
    assert output["memory"]["round"] == 4
    assert deployed.running() == [output["successor"]["execution"]]
    assert deployed.jobs == [None]  # over eight rounds in two executions


def test_jobs_that_wait_for_machines_are_cancelled_when_no_message_needs_them(deploy):
    deployed = deploy()
    deployed.send(7)
    deployed.start()
    deployed.until(lambda: deployed.jobs)
    deployed.client("sqs").purge_queue(QueueUrl=deployed.outputs["queue_url"])
    deployed.until(lambda: deployed.lines[-1]["Verb"] == "done", seconds=60)
    assert deployed.jobs == [7]
    cancelled = deployed.reasons_of_ended_children()
    assert cancelled == ["taskpacks: no message needs it"] * 7


def test_workers_that_always_die_halt_it_and_one_probes_after_the_cool_down(deploy, cloud):
    deployed = deploy("dies")
    deployed.send(5)
    deployed.wake()  # the pack cannot be imported in a job: each worker ends with 64
    halts = lambda: [line for line in deployed.lines if line.get("HaltedBy") == "breaker"]  # noqa: E731 - a word for it
    deployed.until(halts, seconds=60)
    began = sum(size or 1 for size in deployed.jobs)
    assert began in {2, 3}  # a third where a round came between the ends of the two
    assert "the last 2 workers that started and ended failed" in halts()[0]["Reason"]
    told(cloud, "dies-halted-by-breaker")
    deployed.until(lambda: sum(size or 1 for size in deployed.jobs) > began, seconds=60)
    seen = len(halts())
    deployed.until(lambda: len(halts()) > seen, seconds=60)
    assert sum(size or 1 for size in deployed.jobs) == began + 1


def test_the_daily_cap_halts_it(deploy, cloud):
    deployed = deploy("capped")
    deployed.send(5)
    deployed.wake()
    deployed.until(
        lambda: [line for line in deployed.lines if line.get("HaltedBy") == "cap"], seconds=60
    )
    told(cloud, "capped-halted-by-cap")


def test_a_cap_that_stops_ends_the_workers_that_run(deploy):
    deployed = deploy("stops")
    deployed.wake()
    batch = deployed.client("batch")
    runs = {"command": [sys.executable, "-c", "import time; time.sleep(600)"]}
    queue = {"jobQueue": deployed.outputs["job_queue"]}
    job = {"jobDefinition": deployed.outputs["job_definition"], "containerOverrides": runs}
    sent = [batch.submit_job(jobName=f"long-{n}", **queue, **job)["jobId"] for n in range(2)]

    def listed(status):
        return {
            each["jobId"] for each in batch.list_jobs(**queue, jobStatus=status)["jobSummaryList"]
        }

    deployed.until(lambda: listed("RUNNING") == {*sent}, seconds=60)
    deployed.start()
    deployed.until(lambda: listed("FAILED") == {*sent}, seconds=60)
    ended = batch.describe_jobs(jobs=sent)["jobs"]
    assert {each["statusReason"] for each in ended} == {"taskpacks: the cap is reached"}
    assert {line["HaltedBy"] for line in deployed.lines if line["Verb"] == "stop"} == {"cap"}


@pytest.mark.timeout(300)
def test_more_than_an_array_job_holds_come_in_two_rounds(cloud, outputs):
    deployed = Deployed(cloud, "large", outputs["large"])
    deployed.open()
    try:
        deployed.send(10_001)
        deployed.start()
        deployed.until(lambda: len(deployed.jobs) == 2, seconds=120)
        deployed.rounds(1)
        assert deployed.jobs == [10_000, None]
        assert deployed.lines[-1]["ActiveWorkers"] == 10_001
    finally:
        # A deployment whose task queue holds messages, or whose workers run, would not be deleted.
        cloud.client("sqs").purge_queue(QueueUrl=outputs["large"]["queue_url"])
        deployed.close()  # its executions first: they would submit again
