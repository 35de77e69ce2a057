"""A stack's life: made, changed in each way that operators change it, repaired, and ended."""

import json

import pytest

from local.engine import Action, HookError
from local.engine.cloud import Cloud
from taskpacks.errors import UnknownDeploymentError
from taskpacks.pause import pause, resume
from tests.stack.inventory import INSIDE, KEYS, LISTS, inventory

EC2 = {"platform": "ec2", "vcpus": 2, "memory_mib": 4096}


@pytest.fixture
def up(project, network):
    """Deploys `small` in some mode with some overrides, beside others."""

    def up(mode, *, scaling=None, resources=None, others=(), **settings):
        small = {"scaling": {"mode": mode, **(scaling or {})}, "resources": resources or {}}
        packs = {"small": small, **{name: {"scaling": {"mode": mode}} for name in others}}
        return project.select(packs, **{**network, **settings}).up()

    return up


def fates(summary):
    return {
        (change.urn.rpartition("$")[2].replace("::", " ").split(":")[-1], change.action)
        for change in summary.changed
    }


def names(summary):
    return {f"{kind} {action}" for kind, action in fates(summary)}


BOTH_MODES = pytest.mark.parametrize("mode", ["alarms", "controller"])


@BOTH_MODES
def test_a_second_up_changes_nothing(up, mode):
    up(mode)
    assert set(up(mode).counts) == {Action.UNCHANGED}


def test_a_threshold_is_an_update_of_just_that_alarm(up, project):
    up("alarms")
    summary = up("alarms", scaling={"low_depth": 7})
    (change,) = summary.changed
    assert str(change) == (
        "updated aws:cloudwatch/metricAlarm:MetricAlarm small-depth-low "
        "(alarmDescription, threshold)"
    )
    alarms = project.client("cloudwatch").describe_alarms(AlarmNamePrefix="small-depth-low")
    assert [alarm["Threshold"] for alarm in alarms["MetricAlarms"]] == [7]


def test_the_controllers_threshold_is_an_update_of_its_alarm_and_of_what_decides_by_it(up):
    up("controller")
    summary = up("controller", scaling={"start_within_seconds": 1000})
    assert names(summary) == {
        "MetricAlarm small-age updated",
        "MetricAlarm small-late updated",
        "Function small-launcher updated",
    }


@pytest.mark.parametrize(
    ("mode", "follows"), [("alarms", set()), ("controller", {"Function small-launcher updated"})]
)
def test_more_vcpus_are_a_new_revision_of_the_job_definition(up, project, mode, follows):
    up(mode)
    before = project.engine().outputs()["deployments"]["small"]
    summary = up(mode, resources={"vcpus": 2, "memory_mib": 4096})
    # What submits jobs names the definition and not the revision, so it stays as it is. The
    # launcher counts vCPUs, and the dashboard their price.
    assert names(summary) == {
        "JobDefinition small-worker-fargate updated",
        "Dashboard dashboard-graphs updated",
        *follows,
    }
    assert project.engine().outputs()["deployments"]["small"] == before
    batch = project.client("batch")
    revisions = {
        each["revision"]: each["status"]
        for each in batch.describe_job_definitions(jobDefinitionName=before["job_definition"])[
            "jobDefinitions"
        ]
    }
    assert revisions == {1: "INACTIVE", 2: "ACTIVE"}
    job = batch.submit_job(
        jobName="next", jobQueue=before["job_queue"], jobDefinition=before["job_definition"]
    )
    (described,) = batch.describe_jobs(jobs=[job["jobId"]])["jobs"]
    assert described["jobDefinition"].endswith(":2")
    batch.terminate_job(jobId=job["jobId"], reason="the test is over")


class Consumers:
    """After every call that changes something: can what is submitted still be run?"""

    def __init__(self, project):
        self.project = project
        self.calls = []
        """Operation, and for each job queue in use the compute environments behind it."""

    def look(self, model, **_details):
        if model.name.startswith(("Describe", "List", "Get")):
            return
        behind = {self.runnable(*pair) for pair in self.submitted()}
        assert behind, f"after {model.name}"
        self.calls.append((model.name, behind))

    def submitted(self):
        """Every pair of job queue and job definition that a rule or a state machine names."""
        events = self.project.client("events")
        for rule in events.list_rules()["Rules"]:
            for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
                if "BatchParameters" in target:
                    yield target["Arn"], target["BatchParameters"]["JobDefinition"]
        machines = self.project.client("stepfunctions")
        for machine in machines.list_state_machines()["stateMachines"]:
            arn = machine["stateMachineArn"]
            definition = machines.describe_state_machine(stateMachineArn=arn)["definition"]
            for state in json.loads(definition)["States"].values():
                if "JobQueue" in state.get("Parameters", {}):
                    yield state["Parameters"]["JobQueue"], state["Parameters"]["JobDefinition"]

    def runnable(self, job_queue, job_definition):
        """The environments that take a job; fails where there is none."""
        batch = self.project.client("batch")
        (queue,) = batch.describe_job_queues(jobQueues=[job_queue])["jobQueues"]
        assert queue["state"] == "ENABLED"
        arns = [each["computeEnvironment"] for each in queue["computeEnvironmentOrder"]]
        environments = batch.describe_compute_environments(computeEnvironments=arns)
        assert [
            (each["state"], each["status"]) for each in environments["computeEnvironments"]
        ] == [("ENABLED", "VALID")] * len(arns)
        assert batch.describe_job_definitions(jobDefinitionName=job_definition, status="ACTIVE")[
            "jobDefinitions"
        ]
        return tuple(arn.rpartition("/")[2].rpartition("-")[0] for arn in arns)


@pytest.fixture
def consumers(project, monkeypatch):
    watching = Consumers(project)
    original = Cloud.client

    def client(self, service):
        made = original(self, service)
        made.meta.events.register("after-call", watching.look, unique_id="consumers")
        return made

    def begin():
        assert list(watching.submitted())
        monkeypatch.setattr(Cloud, "client", client)
        return watching.calls

    return begin


def check_turn(calls, old, new):
    """The new environment is there before anybody turns to it, and the old one goes last.

    Returns what the last of them turned by.
    """
    operations = [name for name, _ in calls]
    behind = [environments for _, environments in calls]
    turned = behind.index({(new,)})
    # Several rules turn one after the other.
    assert set.union(*behind[:turned]) <= {(old,), (new,)}
    assert all(each == {(new,)} for each in behind[turned:])
    first = next(index for index, each in enumerate(behind) if (new,) in each)
    assert operations.index("CreateComputeEnvironment") < first
    assert operations.index("DeleteComputeEnvironment") > turned
    return operations[turned]


def environments(summary, action):
    """The logical names of the compute environments that something was done to."""
    return [
        name.removeprefix("ComputeEnvironment ")
        for name, done in fates(summary)
        if name.startswith("ComputeEnvironment ") and done == action
    ]


@pytest.mark.parametrize(
    ("mode", "turning"), [("alarms", "PutTargets"), ("controller", "UpdateStateMachine")]
)
def test_another_architecture_gets_another_job_queue_and_never_leaves_tasks_without_a_consumer(
    up, consumers, mode, turning
):
    up(mode, resources=EC2)
    calls = consumers()
    summary = up(mode, resources={**EC2, "architecture": "arm64"})
    (new,), (old,) = (environments(summary, action) for action in (Action.CREATED, Action.DELETED))
    assert "-on-demand-arm64-" in new
    assert "-on-demand-x86_64-" in old
    assert {
        "JobQueue small-jobs-arm64 created",
        "JobQueue small-jobs-x86_64 deleted",
        "JobDefinition small-worker-arm64 created",
        "JobDefinition small-worker-x86_64 deleted",
    } <= names(summary)
    assert check_turn(calls, old, new) == turning
    operations = [name for name, _ in calls]
    assert operations.index("DeleteJobQueue") < operations.index("DeleteComputeEnvironment")


REPLACED_FOR = {
    "instance types": {"resources": {"instance_types": ["m7i.4xlarge", "m6i.4xlarge"]}},
    "scratch": {"resources": {"scratch_gib": 100}},
    "a machine image for GPUs": {"resources": {"gpus": 1}},
    "the instances' tags": {"owner": "another-team"},
    "the newest machine image": {"machine_image_generation": 2},
    "subnets": {"subnet_ids": 1},
}


@pytest.mark.parametrize("what", REPLACED_FOR)
def test_machines_are_replaced_in_safe_order_where_aws_would_replace_their_instances(
    up, consumers, project, what
):
    up("alarms", resources=EC2)
    calls = consumers()
    changes = dict(REPLACED_FOR[what])
    if "subnet_ids" in changes:
        subnets = project.client("ec2").describe_subnets()["Subnets"]
        changes["subnet_ids"] = [subnets[1]["SubnetId"]]
    resources = {**EC2, **changes.pop("resources", {})}
    summary = up("alarms", resources=resources, **changes)
    (new,), (old,) = (environments(summary, action) for action in (Action.CREATED, Action.DELETED))
    assert not environments(summary, Action.UPDATED)
    assert "JobQueue small-jobs-x86_64 updated" in names(summary)
    assert check_turn(calls, old, new) == "UpdateJobQueue"
    # What updates one afterwards disables it, so that it can be deleted.
    operations = [name for name, _ in calls]
    turned = operations.index("UpdateJobQueue")
    assert "UpdateComputeEnvironment" not in operations[:turned]


def test_a_higher_ceiling_of_vcpus_is_an_update_in_place(up, project):
    up("alarms", resources=EC2)
    summary = up("alarms", resources={**EC2, "max_vcpus": 32})
    (updated,) = environments(summary, Action.UPDATED)
    assert "-on-demand-x86_64-" in updated
    assert not environments(summary, Action.CREATED)
    found = project.client("batch").describe_compute_environments()["computeEnvironments"]
    assert [each["computeResources"]["maxvCpus"] for each in found] == [32]


def test_other_subnets_on_fargate_are_an_update_in_place(up, project):
    up("alarms")
    subnets = project.client("ec2").describe_subnets()["Subnets"]
    summary = up("alarms", subnet_ids=[subnets[1]["SubnetId"]])
    assert names(summary) == {"ComputeEnvironment small-on-demand-fargate updated"}


def test_a_way_of_purchase_that_joins_leaves_the_others_machines(up):
    up("alarms", resources={**EC2, "purchase": "spot"})
    summary = up("alarms", resources={**EC2, "purchase": "spot_then_on_demand"})
    (made,) = environments(summary, Action.CREATED)
    assert "-on-demand-x86_64-" in made
    assert not environments(summary, Action.DELETED)
    assert not environments(summary, Action.UPDATED)


def test_another_architecture_on_fargate_is_another_job_definition_only(up, consumers):
    up("alarms")
    calls = consumers()
    summary = up("alarms", resources={"architecture": "arm64"})
    assert names(summary) == {
        "JobDefinition small-worker-fargate updated",
        "Dashboard dashboard-graphs updated",
    }
    assert all(behind == {("small-on-demand-fargate",)} for _, behind in calls)
    operations = [name for name, _ in calls]
    assert operations.index("RegisterJobDefinition") < operations.index("DeregisterJobDefinition")


def test_the_state_machine_turns_to_another_platform_when_its_job_queue_is_there(up, consumers):
    up("controller")
    calls = consumers()
    summary = up("controller", resources=EC2)
    assert {
        "JobQueue small-jobs-x86_64 created",
        "JobQueue small-jobs-fargate deleted",
        "JobDefinition small-worker-x86_64 created",
        "JobDefinition small-worker-fargate deleted",
    } <= names(summary)
    (new,) = environments(summary, Action.CREATED)
    assert check_turn(calls, "small-on-demand-fargate", new) == "UpdateStateMachine"


def test_another_pack_touches_nothing_of_the_first(up):
    up("controller")
    summary = up("controller", others=["other"])
    about_all = {"dashboard-graphs", "images-lifecycle", "producer-document", "producer-policy"}
    for change in summary.changed:
        name = change.urn.rpartition("::")[2]
        if name in about_all:
            assert change.action is Action.UPDATED
        else:
            assert name.startswith("other")
            assert change.action is Action.CREATED


def queues_of(project, name):
    made = project.engine().outputs()["deployments"][name]
    return made["queue_url"], made["dead_letter_url"]


@BOTH_MODES
def test_an_empty_pack_goes_at_once_and_its_record_first(up, project, mode, monkeypatch):
    up(mode, others=["other"])
    deleted = []
    original = Cloud.client

    def note(model, **_details):
        if model.name.startswith("Delete"):
            deleted.append(model.name)

    def client(self, service):
        made = original(self, service)
        made.meta.events.register("after-call", note, unique_id="deleted")
        return made

    monkeypatch.setattr(Cloud, "client", client)
    up(mode)
    assert deleted[0] == "DeleteParameter"
    assert not [(kind, name) for kind, name in inventory(project.client) if "other" in name]


@pytest.mark.parametrize("which", ["task queue", "dead-letter queue"])
def test_a_pack_whose_queues_hold_messages_stays_whole_and_the_error_says_how_to_go_on(
    up, project, which
):
    up("alarms", others=["other"])
    task_queue, dead_letters = queues_of(project, "other")
    url = task_queue if which == "task queue" else dead_letters
    sqs = project.client("sqs")
    for _ in range(2):
        sqs.send_message(QueueUrl=url, MessageBody="work")
    sqs.receive_message(QueueUrl=url, VisibilityTimeout=600)
    before = {each for each in inventory(project.client) if "other" in each[1]}
    with pytest.raises(HookError) as refused:
        up("alarms")
    said = str(refused.value)
    assert f"{url} holds 1 visible, 1 in flight." in said
    assert "Put the deployment back" in said
    assert f"aws sqs purge-queue --queue-url {url} (AWS" in said
    assert {each for each in inventory(project.client) if "other" in each[1]} == before

    # The first way on: it goes back to what it was, with its messages.
    assert names(up("alarms", others=["other"])) <= {
        "Dashboard dashboard-graphs updated",
        "LifecyclePolicy images-lifecycle updated",
        "Parameter producer-document updated",
        "Policy producer-policy updated",
    }
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == "1"

    # The second: they are given up.
    sqs.purge_queue(QueueUrl=url)
    up("alarms")
    assert not [each for each in inventory(project.client) if "other" in each[1]]


def test_the_end_of_a_stack_spares_messages_too(up, project):
    up("alarms")
    url, _ = queues_of(project, "small")
    project.client("sqs").send_message(QueueUrl=url, MessageBody="work")
    with pytest.raises(HookError, match=r"destroy\(run_program=True\)"):
        project.engine().destroy()
    with pytest.raises(HookError, match="holds 1 visible"):
        project.engine().destroy(run_program=True)
    assert up("alarms").counts[Action.UNCHANGED]
    project.client("sqs").purge_queue(QueueUrl=url)
    project.engine().destroy(run_program=True)


def test_what_was_changed_behind_the_stack_is_seen_and_repaired(up, project):
    up("alarms")
    cloudwatch, events = project.client("cloudwatch"), project.client("events")
    (alarm,) = cloudwatch.describe_alarms(AlarmNamePrefix="small-depth-low")["MetricAlarms"]
    known = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape.members
    settings = {key: value for key, value in alarm.items() if key in known}
    cloudwatch.put_metric_alarm(**{**settings, "Threshold": 99})
    (rule,) = [
        each["Name"]
        for each in events.list_rules()["Rules"]
        if each["Name"].startswith("small-age")
    ]
    (target,) = events.list_targets_by_rule(Rule=rule)["Targets"]
    events.remove_targets(Rule=rule, Ids=[target["Id"]])
    events.delete_rule(Name=rule)

    assert not up("alarms").changed  # nobody has looked
    seen = project.engine().refresh()
    assert names(seen) == {
        "MetricAlarm small-depth-low updated",
        "EventRule small-age deleted",
        "EventTarget small-age deleted",
    }
    repaired = up("alarms")
    # The rule has a new ARN: who else names it follows.
    assert names(repaired) == {
        "MetricAlarm small-depth-low updated",
        "EventRule small-age created",
        "EventTarget small-age created",
        "MetricAlarm small-failed-invocations updated",
        "QueuePolicy small-undelivered updated",
    }
    (alarm,) = cloudwatch.describe_alarms(AlarmNamePrefix="small-depth-low")["MetricAlarms"]
    assert alarm["Threshold"] == 5
    assert set(up("alarms").counts) == {Action.UNCHANGED}


@BOTH_MODES
def test_a_pause_outlives_up_and_refresh_and_ends_with_its_resumption(up, project, mode):
    up(mode)
    late, failed = (f"small-{each}" for each in ("late", "failed-invocations"))

    def state():
        alarms = project.client("cloudwatch").describe_alarms()["MetricAlarms"]
        muted = {
            each["AlarmName"].rpartition("-")[0] for each in alarms if not each["ActionsEnabled"]
        }
        (queue,) = project.client("batch").describe_job_queues()["jobQueues"]
        parameters = project.client("ssm").get_parameters(Names=["/taskpacks/test/paused/small"])
        return muted, queue["state"], len(parameters["Parameters"])

    untouched = state()
    assert untouched == (set(), "ENABLED", 0)
    for _ in range(2):  # it may be repeated
        pause(project.client, "test", "small", "an upstream fault")
    paused = state()
    assert paused == ({late, failed}, "DISABLED" if mode == "alarms" else "ENABLED", 1)
    up(mode)
    assert project.engine().refresh()
    up(mode)
    up(mode, resources={"vcpus": 2, "memory_mib": 4096})
    assert state() == paused
    for _ in range(2):
        resume(project.client, "test", "small")
    assert state() == untouched


def test_a_deployment_that_got_another_mode_while_it_was_paused_is_resumed_as_a_whole(up, project):
    up("alarms")
    pause(project.client, "test", "small", "an upstream fault")
    up("controller")
    resume(project.client, "test", "small")
    (queue,) = project.client("batch").describe_job_queues()["jobQueues"]
    assert queue["state"] == "ENABLED"


def test_only_a_deployment_that_is_there_is_paused(up, project):
    up("alarms")
    with pytest.raises(UnknownDeploymentError, match=r"no deployment 'smal'.*Did you mean 'small'"):
        pause(project.client, "test", "smal", "a slip")
    assert not project.client("ssm").get_parameters_by_path(Path="/taskpacks/test/paused")[
        "Parameters"
    ]


def test_the_end_of_a_stack_leaves_nothing(project):
    before = inventory(project.client)
    engine = project.select(
        {
            "small": {"resources": EC2},
            "other": {"scaling": {"mode": "alarms"}},
            "pi": {},
        },
        notify=["people@example.com"],
        data="delete",
    )
    made = engine.up()
    kinds = {
        change.urn.split("::")[2].rpartition("$")[2]
        for change in made.changes.values()
        if ":aws:" in change.urn or "$aws:" in change.urn
    }
    # Nothing of a type that the inventory cannot see.
    assert kinds <= {*LISTS, *INSIDE, KEYS}
    assert {kind for kind, _ in inventory(project.client) - before} == kinds - set(INSIDE)
    engine.destroy(run_program=True)
    assert inventory(project.client) - before == set()
    assert before <= inventory(project.client)
    assert json.loads((project.folder / "state.json").read_text())["resources"] == []
