import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from stack.preflight import rules, synthesis
from stack.preflight.rules import UNKNOWN, Registration
from stack.preflight.rules.findings import AUTOMATIC_END, compact
from taskpacks import TaskpacksError, limits

ROOT = Path(__file__).resolve().parents[2]

EXIT_ALL = {"action": "exit", "onReason": "*"}
CONTAINER = {
    "image": "repo:pi",
    "executionRoleArn": "arn:execution",
    "ephemeralStorage": {"sizeInGiB": 21},
    "resourceRequirements": [
        {"type": "VCPU", "value": "4"},
        {"type": "MEMORY", "value": "8192"},
    ],
}
GOOD = {
    "aws:sqs/queue:Queue": {
        "visibilityTimeoutSeconds": 90,
        "messageRetentionSeconds": 345_600,
        "sqsManagedSseEnabled": True,
        "redrivePolicy": json.dumps({"deadLetterTargetArn": "arn:dead", "maxReceiveCount": 10}),
    },
    "aws:sqs/queuePolicy:QueuePolicy": {
        "policy": json.dumps({"Statement": [{"Action": ["sqs:SendMessage"]}]}),
    },
    "aws:cloudwatch/metricAlarm:MetricAlarm": {
        "comparisonOperator": "GreaterThanOrEqualToThreshold",
        "metricName": "ApproximateNumberOfMessagesVisible",
        "statistic": "Maximum",
        "period": 60,
        "evaluationPeriods": 1,
        "treatMissingData": "notBreaching",
    },
    "aws:cloudwatch/eventRule:EventRule": {"eventPattern": json.dumps({"source": ["aws.batch"]})},
    "aws:cloudwatch/eventTarget:EventTarget": {
        "rule": "deep",
        "arn": "arn:aws:batch:us-east-1:1:job-queue/pi",
        "roleArn": UNKNOWN,
        "deadLetterConfig": {"arn": UNKNOWN},
        "batchTarget": {"jobDefinition": UNKNOWN, "jobName": "pi-deep", "arraySize": 10},
    },
    "aws:cloudwatch/logGroup:LogGroup": {"retentionInDays": 30},
    "aws:batch/jobDefinition:JobDefinition": {
        "platformCapabilities": ["FARGATE"],
        "retryStrategy": {"attempts": 3, "evaluateOnExits": [EXIT_ALL]},
        "timeout": {"attemptDurationSeconds": 86_400},
        "containerProperties": json.dumps(CONTAINER),
    },
    "aws:batch/jobQueue:JobQueue": {
        "priority": 1,
        "state": "ENABLED",
        "computeEnvironmentOrders": [
            {"order": 0, "computeEnvironment": UNKNOWN},
            {"order": 1, "computeEnvironment": UNKNOWN},
        ],
        "jobStateTimeLimitActions": [
            {"action": "CANCEL", "state": "RUNNABLE", "maxTimeSeconds": 600, "reason": "why"}
        ],
    },
    "aws:batch/computeEnvironment:ComputeEnvironment": {
        "type": "MANAGED",
        "computeResources": {
            "type": "SPOT",
            "maxVcpus": 16,
            "minVcpus": 0,
            "subnets": UNKNOWN,
            "securityGroupIds": ["sg-1"],
            "instanceTypes": ["c7i.large"],
            "instanceRole": UNKNOWN,
            "allocationStrategy": "SPOT_PRICE_CAPACITY_OPTIMIZED",
            "ec2Configurations": [{"imageType": "ECS_AL2023"}],
            "launchTemplate": {"launchTemplateId": UNKNOWN, "version": UNKNOWN},
        },
    },
    "aws:ec2/launchTemplate:LaunchTemplate": {
        "metadataOptions": {"httpTokens": "required"},
        "blockDeviceMappings": [{"ebs": {"encrypted": "true", "volumeSize": 130}}],
    },
    "aws:ecr/repository:Repository": {
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [{"filter": "*-arm64-*", "filterType": "WILDCARD"}],
    },
    "aws:iam/role:Role": {"assumeRolePolicy": json.dumps({"Statement": []})},
    "aws:iam/rolePolicy:RolePolicy": {"role": "r", "policy": json.dumps({"Statement": []})},
    "aws:iam/policy:Policy": {"policy": json.dumps({"Statement": []})},
    "aws:lambda/function:Function": {"timeout": 60, "memorySize": 256, "runtime": "python3.13"},
    "aws:s3/bucket:Bucket": {"bucket": "my-results"},
    "aws:sfn/stateMachine:StateMachine": {
        "type": "STANDARD",
        "definition": json.dumps({"StartAt": "a", "States": {"a": {"Type": "Succeed"}}}),
    },
}


def broken(token, **changes):
    """Returns what the rules say of a good resource with changes, by dotted path; None removes."""
    inputs = copy.deepcopy(GOOD[token])
    for path, value in changes.items():
        *above, last = path.split("__")
        place = inputs
        for part in above:
            place = place[part]
        if value is None:
            place.pop(last)
        else:
            place[last] = value
    return [str(finding) for finding in rules.check(Registration(token, "x", inputs))]


@pytest.mark.parametrize("token", GOOD)
def test_what_is_right_is_not_found_fault_with(token):
    assert broken(token) == []


def test_every_rule_has_a_good_example_here():
    assert set(GOOD) == set(rules.RULES)


@pytest.mark.parametrize("token", GOOD)
def test_what_is_not_known_yet_is_not_found_fault_with(token):
    changes = {name: UNKNOWN for name in GOOD[token] if name != "metadataOptions"}
    assert broken(token, **changes) == []


QUEUE, POLICY = "aws:sqs/queue:Queue", "aws:sqs/queuePolicy:QueuePolicy"
ALARM, RULE = "aws:cloudwatch/metricAlarm:MetricAlarm", "aws:cloudwatch/eventRule:EventRule"
TARGET = "aws:cloudwatch/eventTarget:EventTarget"
JOB, JOBS = "aws:batch/jobDefinition:JobDefinition", "aws:batch/jobQueue:JobQueue"
ENVIRONMENT = "aws:batch/computeEnvironment:ComputeEnvironment"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
LAMBDA = "aws:lambda/function:Function"
MACHINE = "aws:sfn/stateMachine:StateMachine"


def container(**changes):
    return json.dumps({**CONTAINER, **changes})


def needs(vcpus, memory_mib, **more):
    asked = {"VCPU": vcpus, "MEMORY": memory_mib, **more}
    return container(
        resourceRequirements=[{"type": name, "value": str(value)} for name, value in asked.items()]
    )


def math(*periods):
    return [
        {"id": "e", "expression": "a", "returnData": True},
        *({"id": "a", "metric": {"period": each}, "returnData": False} for each in periods),
    ]


BROKEN = [
    # SQS
    (QUEUE, {"visibilityTimeoutSeconds": 43_201}, "a visibility time-out is 0 to 43_200"),
    (QUEUE, {"messageRetentionSeconds": 59}, "is 60 to 1_209_600"),
    (QUEUE, {"delaySeconds": 901}, "a delay is 0 to 900"),
    (QUEUE, {"receiveWaitTimeSeconds": 21}, "a long poll is 0 to 20"),
    (QUEUE, {"maxMessageSize": 2_000_000}, "1_024 to 1_048_576"),
    (QUEUE, {"name": "x" * 81}, "at most 80"),
    (QUEUE, {"name": "no space"}, "rename it"),
    (QUEUE, {"redrivePolicy": "nonsense"}, "a redrive policy is a JSON object"),
    (QUEUE, {"redrivePolicy": '{"maxReceiveCount": 3}'}, "names a dead-letter queue"),
    (
        QUEUE,
        {"redrivePolicy": '{"deadLetterTargetArn": "a", "maxReceiveCount": 1001}'},
        "1 to 1000 receives",
    ),
    (QUEUE, {"sqsManagedSseEnabled": False}, "messages are encrypted at rest"),
    (POLICY, {"policy": json.dumps({"Statement": [{"Sid": "x" * 9000}]})}, "at most 8_192"),
    (POLICY, {"policy": json.dumps({"Statement": [{}] * 21})}, "at most 20"),
    (POLICY, {"policy": json.dumps({"Statement": [{"Action": ["a"] * 8}]})}, "at most 7"),
    # Alarms
    (ALARM, {"comparisonOperator": "MoreThan"}, "a comparison operator is one of"),
    (ALARM, {"comparisonOperator": None}, "an alarm compares"),
    (ALARM, {"treatMissingData": "nothing"}, "is one of breaching, notBreaching"),
    (ALARM, {"statistic": "Median"}, "a statistic is one of"),
    (ALARM, {"period": 45}, "10, 20, 30 or a multiple of 60"),
    (ALARM, {"period": 0}, "10, 20, 30 or a multiple of 60"),
    (ALARM, {"datapointsToAlarm": 2}, "lower it, or raise evaluationPeriods"),
    (ALARM, {"evaluationPeriods": 1441}, "at most 86_400 s"),
    (ALARM, {"period": 3600, "evaluationPeriods": 169}, "at most 604_800 s"),
    (ALARM, {"evaluationPeriods": 0}, "a number of periods"),
    (ALARM, {"metricName": None}, "one metric, or at metric math"),
    (ALARM, {"metricQueries": math(60)}, "and not both"),
    (ALARM, {"metricName": None, "metricQueries": math(61)}, "a multiple of 60"),
    (ALARM, {"metricName": None, "metricQueries": math(60)[1:]}, "exactly one query returns data"),
    (ALARM, {"alarmActions": ["a"] * 6}, "at most 5"),
    # Rules and targets
    (RULE, {"eventPattern": None}, "waits for an event or for a time"),
    (RULE, {"eventPattern": json.dumps({"a": ["x" * 2048]})}, "at most 2_048"),
    (RULE, {"eventPattern": "[1]"}, "is a JSON object"),
    (RULE, {"scheduleExpression": "rate(1 minutes)"}, "write it so"),
    (RULE, {"scheduleExpression": "rate(5 minute)"}, "write it so"),
    (RULE, {"scheduleExpression": "cron(0 12 * * *)"}, "write it so"),
    (RULE, {"scheduleExpression": "cron(0 12 * * MON *)"}, "one of the days a '?'"),
    (RULE, {"name": "x" * 65}, "at most 64"),
    (TARGET, {"batchTarget": None}, "a job queue needs to know which job to run"),
    (TARGET, {"roleArn": None}, "under a role of ours"),
    (TARGET, {"deadLetterConfig": None}, "must be seen by somebody"),
    (TARGET, {"batchTarget__jobAttempts": 3}, "would override the job definition's own retry"),
    (TARGET, {"batchTarget__arraySize": 1}, "is 2 to 10_000"),
    (TARGET, {"batchTarget__arraySize": 10_001}, "is 2 to 10_000"),
    (TARGET, {"batchTarget__jobName": "a b"}, "a job's name"),
    (TARGET, {"batchTarget__jobName": "x" * 129}, "at most 128"),
    (TARGET, {"batchTarget__jobDefinition": None}, "Batch asks for it"),
    ("aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 31}, "a retention in days"),
    ("aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": None}, "cost for ever"),
    # Batch
    (JOB, {"retryStrategy__attempts": 0}, "the number of attempts is 1 to 10"),
    (JOB, {"retryStrategy__attempts": 11}, "the number of attempts is 1 to 10"),
    (JOB, {"retryStrategy__evaluateOnExits": [EXIT_ALL] * 6}, "AWS takes at most 5"),
    (JOB, {"retryStrategy__evaluateOnExits": []}, "AWS retries where no rule matches"),
    (JOB, {"retryStrategy": None}, "AWS retries where no rule matches"),
    (
        JOB,
        {"retryStrategy__evaluateOnExits": [{"action": "retry", "onReason": "*"}]},
        "AWS retries where no rule matches",
    ),
    (
        JOB,
        {"retryStrategy__evaluateOnExits": [{"action": "exit"}, EXIT_ALL]},
        "has an action (RETRY, EXIT) and a condition",
    ),
    (JOB, {"timeout__attemptDurationSeconds": 59}, "time-out in seconds is 60"),
    (JOB, {"timeout": None}, "must be ended by somebody"),
    (JOB, {"containerProperties": container(image="x" * 25_000)}, "at most 24_576"),
    (JOB, {"containerProperties": needs(3, 8192)}, "certain pairs"),
    (JOB, {"containerProperties": needs(8, 17_000)}, "certain pairs"),
    (JOB, {"containerProperties": needs(4, 8192, GPU=1)}, "Fargate has no GPUs"),
    (JOB, {"containerProperties": container(executionRoleArn="")}, "pulls the image under it"),
    (JOB, {"containerProperties": container(privileged=True)}, "nothing privileged"),
    (JOB, {"containerProperties": container(ephemeralStorage={"sizeInGiB": 20})}, "21 to 200"),
    (JOB, {"name": "-x"}, "a job definition's name"),
    (JOBS, {"priority": 5000}, "is 0 to 1_000"),
    (JOBS, {"computeEnvironmentOrders": [{"order": each} for each in range(4)]}, "has 1 to 3"),
    (JOBS, {"computeEnvironmentOrders": []}, "has 1 to 3"),
    (JOBS, {"computeEnvironmentOrders": [{"order": 0}, {"order": 0}]}, "have the same order"),
    (
        JOBS,
        {
            "jobStateTimeLimitActions": [
                {"action": "CANCEL", "state": "RUNNABLE", "maxTimeSeconds": 60, "reason": "why"}
            ]
        },
        "after 600 to 86_400 s",
    ),
    (ENVIRONMENT, {"computeResources__instanceRole": None}, "need a profile"),
    (ENVIRONMENT, {"computeResources__subnets": None}, "machines need it"),
    (ENVIRONMENT, {"computeResources__launchTemplate": None}, "answer IMDSv1"),
    (ENVIRONMENT, {"computeResources__allocationStrategy": None}, "cannot be updated in place"),
    (ENVIRONMENT, {"computeResources__allocationStrategy": "BEST_FIT"}, "strategy of SPOT is"),
    (ENVIRONMENT, {"computeResources__minVcpus": 4}, "cost money at rest"),
    (ENVIRONMENT, {"computeResources__ec2Configurations": None}, "is named explicitly"),
    (
        ENVIRONMENT,
        {"computeResources__ec2Configurations": [{"imageType": "ECS_AL1"}]},
        "is named explicitly",
    ),
    (
        ENVIRONMENT,
        {"computeResources__launchTemplate__launchTemplateName": "both"},
        "by its id or its name",
    ),
    (ENVIRONMENT, {"computeResources__type": "FARGATE"}, "Fargate does not take it"),
    # Machines
    (TEMPLATE, {"metadataOptions__httpTokens": "optional"}, "answer IMDSv2 only"),
    (TEMPLATE, {"metadataOptions": None}, "answer IMDSv2 only"),
    (TEMPLATE, {"blockDeviceMappings": [{"ebs": {"volumeSize": 9}}]}, "encrypted at rest"),
    (
        TEMPLATE,
        {"blockDeviceMappings": [{"ebs": {"encrypted": "true", "volumeSize": 16_385}}]},
        "1 to 16_384 GiB",
    ),
    # IAM
    ("aws:iam/role:Role", {"assumeRolePolicy": "trust me"}, "a trust policy is a JSON object"),
    ("aws:iam/role:Role", {"assumeRolePolicy": json.dumps({"a": "x" * 2048})}, "at most 2_048"),
    ("aws:iam/role:Role", {"name": "x" * 65}, "at most 64"),
    ("aws:iam/role:Role", {"maxSessionDuration": 60}, "3_600 to 43_200"),
    ("aws:iam/role:Role", {"description": "x" * 1001}, "at most 1000"),
    ("aws:iam/rolePolicy:RolePolicy", {"policy": json.dumps({"a": "x" * 10_240})}, "10_240"),
    ("aws:iam/policy:Policy", {"policy": json.dumps({"a": "x" * 6144})}, "at most 6_144"),
    # S3
    ("aws:s3/bucket:Bucket", {"bucket": "my_results"}, "a bucket's name is at most 63"),
    ("aws:s3/bucket:Bucket", {"bucket": "x" * 64}, "a bucket's name is at most 63"),
    # Lambda and Step Functions
    (LAMBDA, {"timeout": 9999}, "is 1 to 900"),
    (LAMBDA, {"memorySize": 64}, "128 to 10_240"),
    (LAMBDA, {"runtime": "python2.7"}, "a Python runtime that AWS offers"),
    (LAMBDA, {"environment": {"variables": {"A": "x" * 4096}}}, "Lambda takes 4_096"),
    (MACHINE, {"type": "QUICK"}, "STANDARD, EXPRESS"),
    (MACHINE, {"definition": "run!"}, "is a JSON object"),
    (MACHINE, {"definition": '{"StartAt": "b", "States": {}}'}, "starts in one of its states"),
]


@pytest.mark.parametrize(("token", "changes", "text"), BROKEN)
def test_what_aws_would_refuse_is_found(token, changes, text):
    findings = broken(token, **changes)
    assert any(text in finding for finding in findings), findings


def test_a_finding_names_resource_value_rule_and_remedy():
    (finding,) = broken(QUEUE, delaySeconds=901)
    assert finding == (
        "Queue 'x' delaySeconds is 901: a delay is 0 to 900; choose a value in that range."
    )


@pytest.mark.parametrize(
    ("token", "length"),
    [("aws:iam/role:Role", 64), (RULE, 64), (LAMBDA, 64), (QUEUE, 80), (JOBS, 128), (ALARM, 255)],
)
def test_a_name_that_pulumi_makes_of_the_logical_one_has_to_fit_too(token, length):
    longest = "x" * (length - len("-0123abc"))
    assert rules.check(Registration(token, longest, GOOD[token])) == []
    (finding,) = rules.check(Registration(token, f"{longest}x", GOOD[token]))
    assert f"at most {length} of" in str(finding)
    named = {**GOOD[token], "name": "short"}
    assert rules.check(Registration(token, f"{longest}x", named)) == []


def test_a_bucket_that_is_called_after_its_deployment_may_not_take_over_its_underscores():
    (finding,) = rules.check(Registration("aws:s3/bucket:Bucket", "my_pack-results", {}))
    assert str(finding).startswith("Bucket 'my_pack-results' bucket is 'my_pack-results-0123abc'")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"imageTagMutabilityExclusionFilters": None}, "says which tags are excluded"),
        ({"imageTagMutability": "IMMUTABLE"}, "only a mutability that ends in _WITH_EXCLUSION"),
        ({"imageTagMutabilityExclusionFilters": [{"filter": "*a*b*"}]}, "at most 2 '*'"),
        ({"imageTagMutabilityExclusionFilters": [{"filter": "v1/*"}]}, "other characters"),
        ({"imageTagMutabilityExclusionFilters": [{"filter": "a"}] * 6}, "at most 5 filters"),
    ],
)
def test_which_tags_may_be_moved_is_said_as_ecr_takes_it(changes, why):
    (finding,) = broken("aws:ecr/repository:Repository", **changes)
    assert why in finding


def test_on_fargate_nothing_of_ec2_is_taken():
    inputs = {
        "type": "MANAGED",
        "computeResources": {
            "type": "FARGATE_SPOT",
            "maxVcpus": 16,
            "subnets": [f"subnet-{index}" for index in range(16)],
            "securityGroupIds": ["sg-1"],
        },
    }
    assert rules.check(Registration(ENVIRONMENT, "x", inputs)) == []
    inputs["computeResources"]["subnets"].append("subnet-16")
    (finding,) = rules.check(Registration(ENVIRONMENT, "x", inputs))
    assert "at most 16 subnets" in str(finding)


@pytest.mark.parametrize(
    "schedule", ["rate(1 minute)", "rate(5 minutes)", "rate(2 days)", "cron(0 12 ? * MON *)"]
)
def test_a_schedule_that_aws_takes_is_taken(schedule):
    assert broken(RULE, scheduleExpression=schedule) == []


def several(token, count, **changes):
    return [Registration(token, f"x{index}", {**GOOD[token], **changes}) for index in range(count)]


def test_quotas_are_counted_over_the_whole_stack():
    (environments,) = [
        each for each in rules.usage(several(ENVIRONMENT, 40)) if each.quota.type == ENVIRONMENT
    ]
    assert (environments.used, environments.quota.most, environments.near) == (40, 50, True)
    assert rules.check_all(several(ENVIRONMENT, 50)) == []
    (finding,) = rules.check_all(several(ENVIRONMENT, 51))
    assert "compute environments is 51: AWS allows 50 in a region" in str(finding)


def test_old_and_new_environments_are_counted_at_once():
    old = several(ENVIRONMENT, 30)
    new = [replace(each, name=f"{each.name}-new") for each in old]
    assert list(rules.while_changing(old, old)) == []
    assert list(rules.while_changing(old, [*old[10:], *new[:20]])) == []
    (finding,) = rules.while_changing(old, new)
    assert str(finding) == (
        "this change's number of compute environments, old and new at once, is 60: AWS allows 50 "
        "in a region, and old ones are deleted when all new ones are there; change some "
        "deployments at a time, with an `up` for each step; or first set "
        "share_compute_environments: true where this takes fewer."
    )


@pytest.mark.parametrize(
    ("quota", "place", "sharing"),
    [
        ("job queues", "a region", False),
        ("IAM roles", "an account", True),
        ("NAT gateways", "a zone", False),
    ],
)
def test_a_quotas_finding_names_its_place_and_what_helps(quota, place, sharing):
    (counted,) = [each for each in rules.usage([]) if each.quota.what == quota]
    old = [Registration(counted.quota.type, f"x{n}", {}) for n in range(counted.quota.most)]
    new = [replace(each, name=f"{each.name}-new") for each in old]
    (finding,) = rules.while_changing(old, new)
    assert f"AWS allows {counted.quota.most} in {place}, and" in str(finding)
    assert ("share_compute_environments" in str(finding)) == sharing


def test_six_targets_of_one_rule_are_found():
    assert rules.check_all(several(TARGET, 5)) == []
    (finding,) = rules.check_all(several(TARGET, 6))
    assert "rule 'deep' targets is 6: EventBridge allows 5" in str(finding)


def test_the_inline_policies_of_a_role_count_together():
    half = json.dumps({"a": "x" * 6000})
    assert rules.check_all(several("aws:iam/rolePolicy:RolePolicy", 1, policy=half)) == []
    (finding,) = rules.check_all(several("aws:iam/rolePolicy:RolePolicy", 2, policy=half))
    assert "role 'r' inline policies" in str(finding)


def test_a_notice_that_cannot_be_delivered_needs_no_queue():
    assert rules.check(Registration(TARGET, "x", {"rule": "r", "arn": "arn:aws:sns:t"})) == []


def test_a_policy_of_one_statement_may_be_that_statement():
    assert broken(POLICY, policy=json.dumps({"Statement": {"Action": "sqs:SendMessage"}})) == []


def test_white_space_does_not_count():
    assert compact(json.loads('{ "a" :  [ 1 ] }')) == len('{"a":[1]}')


# The whole program.


def synthesized(packs, **more):
    config = {"aws:region": "us-east-1", "taskpacks:packs": json.dumps(packs), **more}
    return synthesis.synthesize(ROOT / "__main__.py", config, project="taskpacks", stack="test")


EVERYTHING = {
    "pi": {"resources": {"purchase": "spot_then_on_demand"}},
    "arm": {"pack": "pi", "resources": {"architecture": "arm64", "purchase": "spot"}},
    "csv_sort": {},
    "bulk": {"pack": "csv_sort", "resources": {"purchase": "spot_then_on_demand"}},
    "video_encoding": {"resources": {"gpus": 1, "purchase": "spot"}},
}


def test_the_program_registers_nothing_that_the_rules_refuse():
    resources = synthesized(EVERYTHING)
    assert rules.check_all(resources) == []
    checked = {resource.type for resource in resources} & set(rules.RULES)
    assert checked >= {QUEUE, ALARM, RULE, TARGET, JOB, JOBS, ENVIRONMENT, TEMPLATE}


def test_every_name_that_a_deployment_makes_fits_however_long_the_deployments_is():
    resources = synthesized({"x" * 32: {"pack": "pi"}})
    assert rules.check_all(resources) == []


def test_spot_then_on_demand_gives_a_job_queue_two_environments_in_order():
    resources = synthesized(EVERYTHING)
    (jobs,) = [each for each in resources if each.type == JOBS and each.name.startswith("pi")]
    spot, demand = jobs.inputs["computeEnvironmentOrders"]
    assert "pi-spot" in spot["computeEnvironment"]
    assert "pi-on-demand" in demand["computeEnvironment"]


def test_shared_machines_take_fewer_compute_environments():
    packs = {f"pi{index}": {"pack": "pi"} for index in range(5)}
    alone = [each.name for each in synthesized(packs) if each.type == ENVIRONMENT]
    shared = synthesized(packs, **{"taskpacks:share_compute_environments": "true"})
    (environment,) = [each for each in shared if each.type == ENVIRONMENT]
    assert len(alone) == 5
    assert environment.name == "shared-fargate-on-demand-on-demand-fargate"
    assert environment.inputs["computeResources"]["maxVcpus"] == 5 * 40
    assert len([each for each in shared if each.type == JOBS]) == 5


def test_settings_that_are_refused_are_refused_by_the_synthesis_too():
    with pytest.raises(TaskpacksError, match="There is no pack 'pj'"):
        synthesized({"pj": {}})


def test_a_job_definition_stays_below_its_limit_with_room_for_a_packs_own_variables():
    (job,) = [each for each in synthesized({"pi": {}}) if each.type == JOB]
    assert compact(job.document("containerProperties")) < limits.JOB_DEFINITION_BYTES_MAX / 2


def test_a_stack_that_builds_its_images_names_them_by_their_digests():
    resources = synthesized({"pi": {}}, **{"taskpacks:build_images": "true"})
    (job,) = [each for each in resources if each.type == JOB]
    assert "@sha256:" in job.document("containerProperties")["image"]


def test_the_id_of_a_bucket_is_its_name():
    resources = synthesized({"pi": {}})
    (wall,) = [each for each in resources if each.name == "pi-results-private"]
    assert wall.inputs["bucket"] == f"pi-results{AUTOMATIC_END}"
