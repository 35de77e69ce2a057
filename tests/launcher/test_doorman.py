"""The doorman, over the local cloud's SQS, Step Functions, Batch and SSM."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from launcher.doorman import Doorman, UnseenError
from local.cloud import LocalCloud
from taskpacks.contract import SENT_DETAIL_TYPE, pause_parameter, sent_source
from tests.cloud.conftest import deployed
from tests.cloud.serverless import make_machine
from tests.stack.conftest import ROOT

FOLDER = "/taskpacks/dev"
CLOCK = {"source": "aws.events", "detail-type": "Scheduled Event"}
SENT = {"source": sent_source("pi"), "detail-type": SENT_DETAIL_TYPE, "detail": {}}
PATH = f"{FOLDER}/deployments"
NOW = 1_800_000_000.0
SERVICES = ("ssm", "sqs", "stepfunctions", "batch")
STAYS = {"A": {"Type": "Wait", "Seconds": 100_000, "End": True}}
ENDS = {"A": {"Type": "Pass", "End": True}}


@pytest.fixture
def cloud(tmp_path):
    with LocalCloud(tmp_path / "cloud", program_folder=ROOT, pace=60) as cloud:
        yield cloud


class Stack:
    """Deployments as their records tell of them, and a doorman who reads these."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.client = cloud.client
        self.clients = {name: cloud.client(name) for name in SERVICES}
        self.now = NOW
        self.doorman = self.another_process()

    def another_process(self):
        return Doorman(FOLDER, self.clients, now=lambda: self.now)

    def add(self, name, *, states=STAYS, visible=0, **more):
        """Adds a deployment; returns its state machine, or None in mode `alarms`."""
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        for _ in range(visible):
            sqs.send_message(QueueUrl=url, MessageBody="{}")
        machine = make_machine(self.cloud, name, states) if states else None
        facts = {"queue_url": url, "job_queue": "q", "job_definition": "d", **more}
        if machine:
            facts["state_machine"] = machine
        self.client("ssm").put_parameter(
            Name=f"{PATH}/{name}", Value=json.dumps(facts), Type="String"
        )
        return machine

    def executions(self, machine):
        listed = self.client("stepfunctions").list_executions(stateMachineArn=machine)
        return [each["name"] for each in listed["executions"]]

    def counting(self, service, operation, also=lambda: None):
        """Notes each call of an operation before it is made."""
        calls = []
        original = getattr(self.clients[service], operation)

        def noted(**arguments):
            calls.append(arguments)
            also()
            return original(**arguments)

        fake = type("Client", (), {operation: staticmethod(noted)})()
        real = self.clients[service]
        self.clients[service] = _Instead(real, fake)
        return calls


class _Instead:
    def __init__(self, real, fake):
        self._real, self._fake = real, fake

    def __getattr__(self, name):
        return getattr(self._fake, name, None) or getattr(self._real, name)


@pytest.fixture
def stack(cloud):
    return Stack(cloud)


def test_an_execution_starts_where_a_message_is_visible_and_nowhere_else(stack):
    busy, idle = stack.add("busy", visible=2), stack.add("idle")
    listed = stack.counting("stepfunctions", "list_executions")
    assert stack.doorman.answer(CLOCK) == {"busy": f"started execution look-{int(NOW // 60)}"}
    assert len(stack.executions(busy)) == 1
    assert stack.executions(idle) == []
    assert [each["stateMachineArn"] for each in listed] == [busy]


def test_an_execution_that_is_at_work_is_left_alone(stack):
    machine = stack.add("busy", visible=1)
    stack.doorman.answer(CLOCK)
    stack.now += 60
    assert stack.doorman.answer(CLOCK) == {}
    assert len(stack.executions(machine)) == 1


def test_one_that_has_ended_is_replaced_in_the_next_minute_and_not_in_this(stack):
    machine = stack.add("halts", states=ENDS, visible=1)
    stack.doorman.answer(CLOCK)
    name = stack.executions(machine)[0]
    stack.cloud.events.wait_for(
        lambda event: str(event).startswith(f"execution {name} of halts: SUCCEEDED"), seconds=10
    )
    assert stack.doorman.answer(CLOCK) == {}
    stack.now += 60
    assert list(stack.doorman.answer(CLOCK)) == ["halts"]
    assert len(stack.executions(machine)) == 2


def test_all_counts_are_asked_for_at_once(stack):
    deployments = 50
    for index in range(deployments):
        stack.add(f"d{index}", states=None)
    together = threading.Barrier(deployments, timeout=60)  # passes when all wait at it
    asked = stack.counting("sqs", "get_queue_attributes", also=together.wait)
    assert stack.doorman.answer(CLOCK) == {}
    assert len(asked) == deployments


def test_one_that_cannot_be_looked_at_does_not_stop_the_others_and_is_reported(stack, capsys):
    stack.add("gone", visible=1)
    machine = stack.add("there", visible=1)
    stack.client("sqs").delete_queue(
        QueueUrl=stack.client("sqs").get_queue_url(QueueName="gone")["QueueUrl"]
    )
    with pytest.raises(UnseenError, match="gone: QueueDoesNotExist"):
        stack.doorman.answer(CLOCK)
    assert len(stack.executions(machine)) == 1
    line = json.loads(capsys.readouterr().out)
    assert list(line["Doorman"]) == ["there"]
    assert list(line["Problems"]) == ["gone"]


def test_where_ssm_fails_the_deployments_known_before_are_looked_at(stack):
    machine = stack.add("known", states=ENDS)
    stack.doorman.answer(CLOCK)
    stack.client("sqs").send_message(
        QueueUrl=stack.client("sqs").get_queue_url(QueueName="known")["QueueUrl"], MessageBody="{}"
    )
    stack.cloud.faults.refuse("ssm", "GetParametersByPath", times=1, code="Throttled", status=500)
    with pytest.raises(UnseenError, match=f"{PATH}: ClientError"):
        stack.doorman.answer(CLOCK)
    assert len(stack.executions(machine)) == 1


def test_a_deployment_that_comes_or_goes_is_seen_in_the_next_minute(stack):
    for index in range(11):  # more than a page of records
        stack.add(f"d{index}", visible=1)
    assert len(stack.doorman.answer(CLOCK)) == 11
    stack.client("ssm").delete_parameter(Name=f"{PATH}/d3")
    stack.add("new", visible=1)
    assert list(stack.doorman.answer(CLOCK)) == ["new"]


def test_a_paused_deployment_is_left_alone_until_it_is_resumed(stack):
    machine = stack.add("paused", visible=1)
    url = stack.client("sqs").get_queue_url(QueueName="paused")["QueueUrl"]
    mark = pause_parameter("dev", "paused")
    for queue_url, executions in ((url, 0), ("of an earlier deployment", 1)):
        value = json.dumps({"since": "now", "reason": "a test", "queue_url": queue_url})
        stack.client("ssm").put_parameter(Name=mark, Value=value, Type="String", Overwrite=True)
        stack.doorman.answer(CLOCK)
        assert len(stack.executions(machine)) == executions


def test_in_mode_alarms_one_worker_starts_where_none_is_active(stack):
    fleet = deployed(stack.cloud)
    definition = fleet.define("worker", "import time; time.sleep(600)")
    stack.add("few", states=None, visible=1, job_queue=fleet.job_queue, job_definition=definition)
    stack.add("none", states=None, job_queue=fleet.job_queue, job_definition=definition)
    done = stack.doorman.answer(CLOCK)
    assert list(done) == ["few"]
    job = fleet.job(done["few"].removeprefix("submitted job "))
    assert job["jobName"] == "few-doorman"
    assert stack.doorman.answer(CLOCK) == {}
    fleet.wait(job["jobId"], "RUNNING")
    assert stack.doorman.answer(CLOCK) == {}


def test_a_submission_that_fails_is_left_to_the_next_minute(stack):
    fleet = deployed(stack.cloud)
    definition = fleet.define("worker", "import time; time.sleep(600)")
    stack.add("few", states=None, visible=1, job_queue=fleet.job_queue, job_definition=definition)
    stack.cloud.faults.refuse("batch", "SubmitJob", times=1, code="ServerException", status=500)
    with pytest.raises(UnseenError, match="few: ServerException"):
        stack.doorman.answer(CLOCK)
    assert list(stack.doorman.answer(CLOCK)) == ["few"]


def test_a_senders_event_starts_an_execution_though_no_message_is_counted_yet(stack):
    machine = stack.add("pi", wake_source=sent_source("pi"))
    other = stack.add("other")
    assert stack.doorman.answer(SENT) == {"pi": f"started execution send-{int(NOW // 60)}"}
    (execution,) = stack.client("stepfunctions").list_executions(stateMachineArn=machine)[
        "executions"
    ]
    described = stack.client("stepfunctions").describe_execution(
        executionArn=execution["executionArn"]
    )
    assert json.loads(described["input"]) == {"woken_by": "send"}
    assert stack.executions(other) == []


@pytest.mark.parametrize("states", [STAYS, ENDS])
def test_a_thousand_forged_events_start_one_execution_a_minute(stack, states):
    machine = stack.add("pi", states=states, wake_source=sent_source("pi"))
    processes = [stack.another_process() for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        for _ in range(100):
            list(pool.map(lambda process: process.answer(SENT), processes))
    assert len(stack.executions(machine)) == 1


def test_events_while_an_execution_is_at_work_list_once_a_minute(stack):
    machine = stack.add("pi", wake_source=sent_source("pi"), visible=1)
    stack.doorman.answer(CLOCK)
    listed = stack.counting("stepfunctions", "list_executions")
    for _ in range(100):
        assert stack.doorman.answer(SENT) == {}
    assert len(listed) == 1
    assert len(stack.executions(machine)) == 1


def test_events_for_what_does_not_listen_start_nothing_and_read_the_records_once_a_minute(stack):
    machine = stack.add("pi")
    read = stack.counting("ssm", "get_parameters_by_path")
    for _ in range(100):
        assert stack.doorman.answer(SENT) == {}
    assert len(read) == 1
    assert stack.executions(machine) == []


def test_a_senders_event_leaves_a_paused_deployment_alone(stack):
    machine = stack.add("pi", wake_source=sent_source("pi"))
    url = stack.client("sqs").get_queue_url(QueueName="pi")["QueueUrl"]
    mark = json.dumps({"since": "now", "reason": "a test", "queue_url": url})
    name = pause_parameter("dev", "pi")
    stack.client("ssm").put_parameter(Name=name, Value=mark, Type="String")
    assert stack.doorman.answer(SENT) == {}
    assert stack.executions(machine) == []
