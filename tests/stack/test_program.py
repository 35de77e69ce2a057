import json

import pytest

from local.engine import Action
from taskpacks import TaskpacksError

SMALL_AND_OTHER = {"small": {}, "other": {}}
ALARMS = {"scaling": {"mode": "alarms"}}


def changed(summary):
    return {change.urn: change.action for change in summary.changed}


def metrics_of(alarm):
    inner = [
        each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each
    ]
    return inner or [alarm]


def test_up_makes_what_mode_alarms_needs(project):
    engine = project.select({"small": ALARMS})
    engine.up()
    made = engine.outputs()["deployments"]["small"]
    alarms = [
        alarm
        for alarm in project.client("cloudwatch").describe_alarms()["MetricAlarms"]
        if not alarm["AlarmActions"]
    ]
    assert len(alarms) == 3
    watched = [metric for alarm in alarms for metric in metrics_of(alarm)]
    assert {metric["MetricName"] for metric in watched} == {
        "ApproximateNumberOfMessagesVisible",
        "ApproximateAgeOfOldestMessage",
    }
    assert all(
        metric["Dimensions"] == [{"Name": "QueueName", "Value": made["queue_name"]}]
        for metric in watched
    )
    events = project.client("events")
    sizes = []
    for rule in events.list_rules()["Rules"]:
        pattern = json.loads(rule.get("EventPattern", "{}"))
        if pattern.get("source") != ["aws.cloudwatch"]:
            continue
        assert pattern["resources"][0] in {alarm["AlarmArn"] for alarm in alarms}
        (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        assert target["Arn"] == made["job_queue"]
        assert target["BatchParameters"]["JobDefinition"] == made["job_definition"]
        assert "RetryStrategy" not in target["BatchParameters"]
        assert target["RoleArn"]
        assert target["DeadLetterConfig"]["Arn"]
        sizes.append(target["BatchParameters"].get("ArrayProperties", {}).get("Size"))
    assert sorted(sizes, key=str) == [10, None, None]


def test_the_job_definition_tells_the_worker_all_that_it_must_know(project):
    several = {"small": {"resources": {"processes": 2}}}
    engine = project.select(several, uri_schemes=["s3", "file"])
    engine.up()
    outputs = engine.outputs()
    made = outputs["deployments"]["small"]
    (definition,) = project.client("batch").describe_job_definitions(
        jobDefinitionName=made["job_definition"], status="ACTIVE"
    )["jobDefinitions"]
    container = definition["containerProperties"]
    environment = {pair["name"]: pair["value"] for pair in container["environment"]}
    assert container["command"] == ["python", "-m", "worker"]
    assert environment["TASKPACKS_QUEUE_URL"] == made["queue_url"]
    assert environment["TASKPACKS_RESULT_BACKEND"] == outputs["producer"]["result_backend"]
    assert environment["TASKPACKS_URI_SCHEMES"] == "s3,file"
    assert environment["TASKPACKS_PROCESSES"] == "2"
    # The SDKs differ in which they read: https://github.com/aws/containers-roadmap/issues/1611
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "us-east-1"
    assert container["image"].endswith(":small-v1")
    assert definition["timeout"] == {"attemptDurationSeconds": 86_400}


def test_the_task_queue_has_a_dead_letter_queue(project):
    engine = project.select({"small": {"queue": {"max_receives": 7}}})
    engine.up()
    attributes = project.client("sqs").get_queue_attributes(
        QueueUrl=engine.outputs()["deployments"]["small"]["queue_url"], AttributeNames=["All"]
    )["Attributes"]
    assert int(json.loads(attributes["RedrivePolicy"])["maxReceiveCount"]) == 7
    assert attributes["VisibilityTimeout"] == "90"


def test_a_second_up_changes_nothing(project):
    engine = project.select(SMALL_AND_OTHER)
    engine.up()
    summary = engine.up()
    assert set(summary.counts) == {Action.UNCHANGED}


def test_removing_a_pack_destroys_what_is_its_own_and_touches_no_other(project):
    project.select(SMALL_AND_OTHER).up()
    engine = project.select({"small": {}})
    summary = engine.up()
    touched = changed(summary)
    about_all = {"dashboard-graphs", "images-lifecycle", "producer-document", "producer-policy"}
    for urn, action in touched.items():
        name = urn.rpartition("::")[2]
        assert action == (Action.UPDATED if name in about_all else Action.DELETED)
        assert name in about_all or name.startswith("other")
    assert not [name for name in resource_names(project) if name.startswith("other")]
    assert [name for name in resource_names(project) if name.startswith("small")]


def resource_names(project):
    sqs = project.client("sqs").list_queues().get("QueueUrls", [])
    alarms = project.client("cloudwatch").describe_alarms()["MetricAlarms"]
    rules = project.client("events").list_rules()["Rules"]
    batch = project.client("batch")
    roles = project.client("iam").list_roles()["Roles"]
    logs = project.client("logs").describe_log_groups()["logGroups"]
    return [
        *(url.rpartition("/")[2] for url in sqs),
        *(alarm["AlarmName"] for alarm in alarms),
        *(rule["Name"] for rule in rules),
        *(each["jobQueueName"] for each in batch.describe_job_queues()["jobQueues"]),
        *(
            each["computeEnvironmentName"]
            for each in batch.describe_compute_environments()["computeEnvironments"]
        ),
        *(
            each["jobDefinitionName"]
            for each in batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]
        ),
        *(role["RoleName"] for role in roles),
        *(group["logGroupName"] for group in logs),
    ]


def test_changing_a_threshold_updates_just_that_alarm(project):
    project.select({"small": ALARMS, "other": {}}).up()
    lower = {"scaling": {"mode": "alarms", "low_depth": 7}}
    summary = project.select({"small": lower, "other": {}}).up()
    touched = changed(summary)
    assert [(urn.rpartition("::")[2], action) for urn, action in touched.items()] == [
        ("small-depth-low", Action.UPDATED)
    ]


def test_destroy_leaves_nothing(project):
    engine = project.select(SMALL_AND_OTHER)
    engine.up()
    engine.destroy(run_program=True)
    assert not [name for name in resource_names(project) if name.startswith(("small", "other"))]


@pytest.mark.parametrize("assign_public_ip", [False, True])
def test_the_operators_own_network_is_used_and_none_is_made(assign_public_ip, project):
    ec2 = project.client("ec2")
    before = len(ec2.describe_vpcs()["Vpcs"])
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    engine = project.select(
        {"small": {}},
        subnet_ids=[subnet],
        security_group_ids=[group],
        assign_public_ip=assign_public_ip,
    )
    engine.up()
    assert len(ec2.describe_vpcs()["Vpcs"]) == before
    (environment,) = project.client("batch").describe_compute_environments()["computeEnvironments"]
    assert environment["computeResources"]["subnets"] == [subnet]
    made = engine.outputs()["deployments"]["small"]
    (definition,) = project.client("batch").describe_job_definitions(
        jobDefinitionName=made["job_definition"], status="ACTIVE"
    )["jobDefinitions"]
    network = definition["containerProperties"]["networkConfiguration"]
    assert network == {"assignPublicIp": "ENABLED" if assign_public_ip else "DISABLED"}


REFUSED = {
    "unknown pack": ({"smal": {}}, ["no pack 'smal'", "Did you mean 'small'?"]),
    "no pack": ({}, ["taskpacks:packs is {}", "at least one pack"]),
    "3 vCPUs on Fargate": (
        {"small": {"resources": {"vcpus": 3}}},
        ["taskpacks:packs.small.resources: vcpus is 3", "Fargate offers", "take one of these"],
    ),
    "a GPU on Fargate": (
        {"small": {"resources": {"gpus": 1}}},
        ["gpus is 1", "Fargate has no GPUs", "set platform: ec2"],
    ),
    "visibility over 12 h": (
        {"small": {"queue": {"visibility_timeout_seconds": 43201}}},
        ["visibility_timeout_seconds is 43201", "12 h", "shorten it"],
    ),
    "low not below high": (
        {"small": {"scaling": {"low_depth": 50}}},
        ["low_depth is 50", "must lie below", "raise high_depth"],
    ),
    "an array of 1": (
        {"small": {"scaling": {"high_workers": 1}}},
        ["high_workers is 1", "2 to 10_000", "choose a number"],
    ),
    "an array of 10 001": (
        {"small": {"scaling": {"high_workers": 10_001}}},
        ["high_workers is 10001", "2 to 10_000"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_refused_before_any_resource_exists(case, project):
    packs, texts = REFUSED[case]
    engine = project.select(packs)
    with pytest.raises(TaskpacksError) as caught:
        engine.up()
    for text in texts:
        assert text in str(caught.value)
    assert nothing_was_made(project)


def nothing_was_made(project):
    """The engine's own record: whatever type of resource it is, it would stand there."""
    state = project.folder / "state.json"
    if not state.exists():
        return True
    made = json.loads(state.read_text())["resources"]
    return {record["type"] for record in made} <= {"pulumi:pulumi:Stack"}


@pytest.mark.parametrize(
    ("file", "text", "error"),
    [
        ("small_test_pack.py", "taskpack_spce", "Did you mean 'taskpack_spec'?"),
    ],
)
def test_a_misspelt_hook_is_refused_before_any_resource_exists(
    file, text, error, project, monkeypatch
):
    site = project.folder.parent / "site"
    (site / file).write_text((site / file).read_text().replace("taskpack_spec", text))
    monkeypatch.delitem(__import__("sys").modules, file.removesuffix(".py"), raising=False)
    with pytest.raises(TaskpacksError) as caught:
        project.select({"small": {}}).up()
    assert error in str(caught.value)
    assert nothing_was_made(project)
    monkeypatch.delitem(__import__("sys").modules, file.removesuffix(".py"), raising=False)


def test_a_key_that_there_is_not_is_refused_by_the_program(project):
    engine = project.select({"small": {}}, image_tagg="v2")
    with pytest.raises(TaskpacksError, match=r"taskpacks:image_tagg: .* Did you mean 'image_tag'"):
        engine.up()
    assert nothing_was_made(project)


def test_a_pack_on_ec2_gets_instances_that_can_reach_aws(project):
    project.select(
        {"small": {"resources": {"platform": "ec2", "gpus": 1, "vcpus": 4}}}, egress="public"
    ).up()
    (environment,) = project.client("batch").describe_compute_environments()["computeEnvironments"]
    resources = environment["computeResources"]
    assert resources["type"] == "EC2"
    assert resources["instanceRole"]
    subnets = project.client("ec2").describe_subnets(SubnetIds=resources["subnets"])["Subnets"]
    assert all(subnet["MapPublicIpOnLaunch"] for subnet in subnets)


def test_two_packs_of_one_name_are_refused_before_any_resource_exists(project):
    site = project.folder.parent / "site"
    info = site / "secondpacks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: secondpacks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taskpacks]\nsmall = another_module\n")
    with pytest.raises(TaskpacksError, match="Two packs are named 'small'"):
        project.select({"small": {}}).up()
    assert nothing_was_made(project)
