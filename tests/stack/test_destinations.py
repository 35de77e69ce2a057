"""Deployments whose workers send messages to other deployments."""

import json

import pytest

from local.engine import Action
from stack import settings
from taskpacks import TaskpacksError
from tests.stack.iam import allows

SMALL = {"pack": "small"}
LARGE = {
    "pack": "small",
    "resources": {"memory_mib": 4096},
    "queue": {"task_time_limit_seconds": 3600},
}


def escalating(to, *deaths):
    return {"escalate_to": to, **({"escalate_on": list(deaths)} if deaths else {})}


REFUSED = {
    "an unknown deployment": (
        {"small": {"sends_to": ["othr"]}, "other": {}},
        (
            "taskpacks:packs.small.sends_to names 'othr': there is no such deployment in this "
            "stack. Did you mean 'other'? Select it in packs, or leave it out."
        ),
    ),
    "itself": (
        {"small": {"sends_to": ["small"]}},
        "taskpacks:packs.small.sends_to names 'small', which is the deployment itself",
    ),
    "no list": ({"small": {"sends_to": "other"}, "other": {}}, "it is a list"),
    "an unknown larger one": (
        {"small": {"queue": escalating("larg")}, "large": LARGE},
        (
            "taskpacks:packs.small.queue.escalate_to names 'larg': there is no such deployment in "
            "this stack. Did you mean 'large'?"
        ),
    ),
    "another pack": (
        {"small": {"queue": escalating("other")}, "other": {"resources": {"memory_mib": 4096}}},
        "is 'other', which deploys the pack 'other': it could not run tasks of 'small'",
    ),
    "no more memory": (
        {"small": {"queue": escalating("twin")}, "twin": SMALL},
        (
            "is 'twin', whose resources.memory_mib is 2048 MiB, and here it is 2048 MiB: a task "
            "that died of it would die again; give 'twin' more, or leave 'memory' out of "
            "escalate_on."
        ),
    ),
    "no more memory for a task": (
        {
            "small": {"queue": escalating("large")},
            "large": {**LARGE, "resources": {"memory_mib": 4096, "processes": 2}},
        },
        "whose resources.memory_mib / processes is 2048 MiB, and here it is 2048 MiB",
    ),
    "no more time": (
        {
            "small": {"queue": escalating("large", "time_limit")},
            "large": {**LARGE, "queue": {}},
        },
        "whose queue.task_time_limit_seconds is 900 s, and here it is 900 s",
    ),
    "a circle": (
        {
            "small": {"queue": escalating("large", "memory")},
            "large": {**LARGE, "queue": escalating("small", "time_limit")},
        },
        "and that leads back: small → large → small",
    ),
    "another cause": (
        {"small": {"queue": escalating("large", "memry")}, "large": LARGE},
        "Did you mean 'memory'?",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_destination_that_no_message_could_be_sent_to_is_refused(case, project):
    packs, sentence = REFUSED[case]
    del project  # it has installed the packs
    with pytest.raises(TaskpacksError) as caught:
        settings.parse({"packs": packs})
    assert sentence in str(caught.value)


def test_each_larger_deployment_may_have_a_larger_one(project):
    del project
    largest = {**LARGE, "resources": {"memory_mib": 6144}}
    packs = {
        "small": {"queue": escalating("large", "memory", "time_limit")},
        "large": {**LARGE, "queue": {**LARGE["queue"], **escalating("largest")}},
        "largest": largest,
    }
    parsed = settings.parse({"packs": packs})
    assert [each.destinations for each in parsed.deployments] == [("large",), ("largest",), ()]


def environment(project, made):
    (definition,) = project.client("batch").describe_job_definitions(
        jobDefinitionName=made["job_definition"], status="ACTIVE"
    )["jobDefinitions"]
    container = definition["containerProperties"]
    return {pair["name"]: pair["value"] for pair in container["environment"]}, container


def policy_of(project, role_arn):
    iam = project.client("iam")
    role = role_arn.rpartition("/")[2]
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]


def test_workers_know_and_may_send_to_what_is_declared_and_a_new_deployment_changes_no_other(
    project,
):
    packs = {
        "small": {"sends_to": ["other"], "queue": escalating("large")},
        "other": {"sends_to": ["small"]},
        "large": LARGE,
    }
    engine = project.select(packs)
    engine.up()
    made = engine.outputs()["deployments"]
    queues = {
        name: f"arn:aws:sqs:us-east-1:123456789012:{each['queue_name']}"
        for name, each in made.items()
    }
    reachable = {"small": {"small", "other", "large"}, "other": {"other", "small"}}
    for name in packs:
        variables, container = environment(project, made[name])
        document = policy_of(project, container["jobRoleArn"])
        for target, arn in queues.items():
            may = target in reachable.get(name, {name})
            assert allows(document, "sqs:SendMessage", arn) is may, (name, target)
            assert allows(document, "sqs:ReceiveMessage", arn) is (target == name)
        if name == "large":
            assert "TASKPACKS_ADDRESSES" not in variables
        else:
            assert variables["TASKPACKS_ADDRESSES"] == "/taskpacks/test/producer"
    variables, _ = environment(project, made["small"])
    assert json.loads(variables["TASKPACKS_ROUTES"]) == {"small": ["small.*"], "other": ["other.*"]}
    assert variables["TASKPACKS_ESCALATE_TO"] == "large"
    assert variables["TASKPACKS_ESCALATE_ON"] == "memory"
    known = json.loads(
        project.client("ssm").get_parameter(Name="/taskpacks/test/producer")["Parameter"]["Value"]
    )["broker_transport_options"]["predefined_queues"]
    assert {name: each["url"] for name, each in known.items()} == {
        name: each["queue_url"] for name, each in made.items()
    }
    summary = project.select({**packs, "third": {**SMALL, "sends_to": ["small"]}}).up()
    about_all = {"dashboard-graphs", "images-lifecycle", "producer-document", "producer-policy"}
    for change in summary.changed:
        name = change.urn.rpartition("::")[2]
        if name in about_all:
            assert change.action is Action.UPDATED
        else:
            assert name.startswith("third"), f"{name}: {change.action}"
            assert change.action is Action.CREATED
