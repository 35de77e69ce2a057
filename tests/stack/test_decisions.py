import uuid
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest

from stack.components import (
    controller_alarms,
    network,
    producer,
    queue_alarms,
    result_store,
    scaling_alarms,
)
from stack.documents import policies, scaling_policies
from stack.hardware.pools import Pool
from stack.hardware.shapes import Shape
from stack.model import Deployment
from taskpacks import PackSpec, Permissions, Scaling
from taskpacks.manager import Pack
from tests.stack.contexts import CONTEXT

QUEUE = "arn:aws:sqs:us-east-1:111122223333:pi-tasks"
TABLE = "arn:aws:dynamodb:us-east-1:111122223333:table/results"


CHINA = replace(CONTEXT, region="cn-north-1", partition="aws-cn")


def execution(repository_arn, secret_arns):
    return policies.execution(repository_arn, "arn:log", secret_arns, keys=[], context=CONTEXT)


def actions(document):
    return {action for statement in document["Statement"] for action in statement["Action"]}


DATA = "arn:aws:s3:::data"


def worker_policy(permissions, context=CONTEXT, sends_to=()):
    return policies.worker(
        QUEUE, TABLE, DATA, permissions, deployment="pi", context=context, sends_to=sends_to
    )


def test_a_worker_may_use_its_own_queue_table_and_folders_and_nothing_else():
    document = worker_policy(Permissions())
    assert {
        resource for statement in document["Statement"] for resource in statement["Resource"]
    } == {QUEUE, TABLE, DATA, f"{DATA}/data/pi/*", f"{DATA}/scratch/pi/*"}
    (listing,) = [each for each in document["Statement"] if each["Resource"] == [DATA]]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["data/pi/*", "scratch/pi/*"]}}
    assert "sqs:SendMessage" in actions(document)  # a task may retry itself


def test_a_worker_sends_to_exactly_the_deployments_that_it_declares_and_reads_their_addresses():
    queues = ["arn:aws:sqs:us-east-1:111122223333:emails-tasks-1"]
    without, document = worker_policy(Permissions()), worker_policy(Permissions(), CONTEXT, queues)
    assert [each for each in document["Statement"] if each not in without["Statement"]] == [
        {"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": queues},
        {
            "Effect": "Allow",
            "Action": ["ssm:GetParameter"],
            "Resource": ["arn:aws:ssm:us-east-1:111122223333:parameter/taskpacks/test/producer"],
        },
    ]


def test_declared_prefixes_become_exactly_what_reading_and_writing_needs():
    document = worker_policy(Permissions(read=("s3://inbox/raw/",), write=("s3://outbox/done/",)))
    assert document["Statement"][2:5] == [
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": ["arn:aws:s3:::inbox"],
            "Condition": {"StringLike": {"s3:prefix": "raw/*"}},
        },
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::inbox/raw/*"]},
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": ["arn:aws:s3:::outbox/done/*"],
        },
    ]


def test_declared_statements_are_added_as_they_are():
    lexicon = "arn:aws:polly:us-east-1:111122223333:lexicon/x"
    own = {"Effect": "Allow", "Action": ["polly:SynthesizeSpeech"], "Resource": [lexicon]}
    document = worker_policy(Permissions(statements=(own,)))
    assert document["Statement"][-1] == own


def test_the_only_star_is_the_registry_token():
    document = execution("arn:repo", [])
    stars = [s["Action"] for s in document["Statement"] if "*" in s["Resource"]]
    assert stars == [["ecr:GetAuthorizationToken"]]


def test_secrets_are_readable_each_by_its_own_arn():
    secret = "arn:aws:secretsmanager:us-east-1:1:secret:a"
    parameter = "arn:aws:ssm:us-east-1:1:parameter/b"
    given = [f"{secret}:a-json-key::", parameter]
    statements = execution("arn:repo", given)["Statement"][3:]
    assert [(s["Action"], s["Resource"]) for s in statements] == [
        (["secretsmanager:GetSecretValue"], [secret]),
        (["ssm:GetParameters"], [parameter]),
    ]


def test_an_image_from_elsewhere_needs_nothing_of_ecr():
    assert actions(execution(None, [])) == {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }


def test_a_producer_sends_cancels_and_reads_results_and_does_nothing_else():
    document = policies.producer([QUEUE], TABLE, deployments="*", context=CONTEXT)
    sending = document["Statement"][0]
    assert (sending["Action"], sending["Resource"]) == (
        ["sqs:SendMessage", "sqs:GetQueueAttributes"],
        [QUEUE],
    )
    assert actions(document) == {
        "sqs:SendMessage",
        "sqs:GetQueueAttributes",
        "dynamodb:GetItem",
        "dynamodb:UpdateItem",
        "dynamodb:DescribeTable",
        "dynamodb:DescribeTimeToLive",
        "ssm:GetParameter",
    }


def test_eventbridge_may_submit_this_job_in_any_revision_to_this_queue():
    document = scaling_policies.submit(
        "arn:q", "arn:aws:batch:us-east-1:1:job-definition/pi-worker"
    )
    assert document["Statement"][0]["Resource"] == [
        "arn:q",
        "arn:aws:batch:us-east-1:1:job-definition/pi-worker",
        "arn:aws:batch:us-east-1:1:job-definition/pi-worker:*",
        "arn:aws:batch:us-east-1:1:job/*",
    ]


MACHINE = "arn:aws:states:us-east-1:1:stateMachine:pi-controller"


def test_the_launcher_looks_and_starts_nothing():
    document = scaling_policies.launcher("pi", QUEUE, "arn:log", context=CONTEXT)
    assert not {name for name in actions(document) if name.endswith(("SubmitJob", "Execution"))}
    stars = [s["Action"] for s in document["Statement"] if "*" in s["Resource"]]
    # AWS knows no resource for these; the log group's ":*" is its streams.
    assert stars == [["batch:ListJobs", "batch:DescribeJobs", "cloudwatch:GetMetricData"]]


def test_the_controller_asks_one_function_and_submits_to_one_queue():
    definition = "arn:aws:batch:us-east-1:1:job-definition/pi-worker"
    document = scaling_policies.controller("arn:function", "arn:q", f"{definition}:7", cap="halt")
    invoke, submit, cancel, deliver = document["Statement"]
    assert (invoke["Action"], invoke["Resource"]) == (["lambda:InvokeFunction"], ["arn:function"])
    assert submit == scaling_policies.submit("arn:q", f"{definition}:7")["Statement"][0]
    assert (cancel["Action"], cancel["Resource"]) == (
        ["batch:CancelJob"],
        ["arn:aws:batch:us-east-1:1:job/*"],
    )
    assert deliver["Resource"] == ["*"]
    assert all(name.startswith("logs:") for name in deliver["Action"])
    stops = scaling_policies.controller("arn:function", "arn:q", f"{definition}:7", cap="stop")
    assert actions(stops) - actions(document) == {"batch:TerminateJob"}


def test_executions_are_started_and_listed_of_one_machine_only():
    assert scaling_policies.start_execution(MACHINE)["Statement"] == [
        {"Effect": "Allow", "Action": ["states:StartExecution"], "Resource": [MACHINE]}
    ]
    assert scaling_policies.list_executions(MACHINE)["Statement"] == [
        {"Effect": "Allow", "Action": ["states:ListExecutions"], "Resource": [MACHINE]}
    ]


def test_a_halt_is_looked_for_a_minute_longer_than_the_doorman_takes():
    made = {
        alarm.name: alarm
        for alarm in controller_alarms.controller_alarms("dev", "pi", "pi", Scaling())
    }
    assert made["halted-by-cap"].period_seconds == 60 + 60
    assert made["halted-by-cap"].dimensions == {
        "Stack": "dev",
        "Deployment": "pi",
        "HaltedBy": "cap",
    }
    assert (made["timed-out"].metric, made["failed"].metric) == (
        "ExecutionsTimedOut",
        "ExecutionsFailed",
    )


def test_the_alarms_are_low_high_and_age_with_time_left_to_start():
    scaling = Scaling(
        low_depth=5, high_depth=50, high_workers=10, start_within_seconds=600, startup_seconds=120
    )
    assert [
        (t.alarm.name, t.alarm.threshold, t.workers) for t in scaling_alarms.triggers(scaling)
    ] == [
        ("depth-low", 5, 1),
        ("depth-high", 50, 10),
        ("age", 480, 1),
    ]


def test_the_age_alarm_looks_only_while_a_message_is_visible():
    age = queue_alarms.age_alarm(Scaling())
    math, visible, oldest = queue_alarms.measured(age, "pi-tasks")["metric_queries"]
    assert math["expression"] == "IF(visible > 0, age, 0)"
    assert [query["metric"]["metric_name"] for query in (visible, oldest)] == [
        "ApproximateNumberOfMessagesVisible",
        "ApproximateAgeOfOldestMessage",
    ]
    assert [query["return_data"] for query in (math, visible, oldest)] == [True, False, False]


def test_people_hear_of_a_message_that_waits_for_longer_than_it_should():
    late = queue_alarms.late_alarm(Scaling(start_within_seconds=600))
    assert (late.metric, late.threshold, late.only_while_visible) == (
        queue_alarms.OLDEST,
        600,
        True,
    )


def test_other_partitions_of_aws_have_their_own_arns():
    document = worker_policy(Permissions(write=("s3://outbox/",)), CHINA)
    assert document["Statement"][2]["Resource"] == ["arn:aws-cn:s3:::outbox/*"]


GOVERNMENT = replace(CONTEXT, stack="prod", region="us-gov-west-1", partition="aws-us-gov")
REPOSITORY = "arn:aws-us-gov:ecr:us-gov-west-1:111122223333:repository/images"
LOG = GOVERNMENT.worker_log_group_arn("pi")


def test_an_instance_may_join_its_own_clusters_pull_the_stacks_images_and_write_its_logs_only():
    made = policies.instance(
        GOVERNMENT, environments="pi", repository_arns=[REPOSITORY, None], log_group_arns=[LOG]
    )
    may = {}
    for statement in made["Statement"]:
        for resource in statement["Resource"]:
            may.setdefault(resource, set()).update(statement["Action"])
    ecs = "arn:aws-us-gov:ecs:us-gov-west-1:111122223333"
    assert may == {
        # AWS knows no resources for these two.
        "*": {"ecs:DiscoverPollEndpoint", "ecr:GetAuthorizationToken"},
        f"{ecs}:cluster/AWSBatch-pi-*": {
            "ecs:DeregisterContainerInstance",
            "ecs:RegisterContainerInstance",
            "ecs:SubmitAttachmentStateChanges",
            "ecs:SubmitContainerStateChange",
            "ecs:SubmitTaskStateChange",
        },
        f"{ecs}:container-instance/AWSBatch-pi-*": {
            "ecs:Poll",
            "ecs:StartTelemetrySession",
            "ecs:TagResource",
        },
        REPOSITORY: {
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
        },
        f"{LOG}:*": {"logs:CreateLogStream", "logs:PutLogEvents"},
    }


@pytest.mark.parametrize(
    ("others", "reached"),
    [
        ({}, True),
        ({"deployment": "sort-urgent"}, False),
        ({"stack": "dev"}, False),
        ({"project": "another"}, False),
    ],
)
def test_an_instance_reaches_no_clusters_of_another_deployment_stack_or_project(others, reached):
    def environments(project="taskpacks", stack="prod", deployment="sort"):
        context = replace(CONTEXT, project=project, stack=stack)
        return Pool(deployment, Shape(platform="ec2", purchases=("spot",)), ()).environments(
            context
        )

    made = policies.instance(
        CONTEXT, environments=environments(), repository_arns=[], log_group_arns=[LOG]
    )
    cluster = f"AWSBatch-{environments(**others)}-spot-arm64-0a1b2c-3d4e5f6-{uuid.UUID(int=0)}"
    patterns = {
        resource.split("/")[1]
        for statement in made["Statement"]
        for resource in statement["Resource"]
        if "AWSBatch" in resource
    }
    assert {fnmatchcase(cluster, pattern) for pattern in patterns} == {reached}


def test_an_instance_tags_nothing_but_itself_as_it_registers():
    made = policies.instance(
        GOVERNMENT, environments="pi", repository_arns=[], log_group_arns=[LOG]
    )
    (tagging,) = [each for each in made["Statement"] if each["Action"] == ["ecs:TagResource"]]
    assert tagging["Condition"] == {
        "StringEquals": {"ecs:CreateAction": "RegisterContainerInstance"}
    }
    assert "ecr:GetAuthorizationToken" not in actions(made)


def test_a_rule_matches_its_own_alarm_entering_alarm_only():
    pattern = queue_alarms.event_pattern("arn:alarm")
    assert pattern["resources"] == ["arn:alarm"]
    assert pattern["detail"] == {"state": {"value": ["ALARM"]}}


def test_the_subnets_do_not_overlap():
    assert [network.subnet_cidr(index) for index in range(3)] == [
        "10.42.0.0/20",
        "10.42.16.0/20",
        "10.42.32.0/20",
    ]


def test_the_result_backend_carries_no_credentials():
    assert (
        result_store.backend_url("eu-west-1", "t") == "dynamodb://@eu-west-1/t?ttl_seconds=604800"
    )


def test_a_pack_that_is_deployed_twice_is_routed_to_its_first_deployment():
    pack = Pack(name="sort", spec=PackSpec(), hooks=None)
    deployments = [Deployment(name, pack, PackSpec()) for name in ("urgent", "bulk")]
    assert producer.routes(deployments) == {"sort.*": {"queue": "urgent"}}
