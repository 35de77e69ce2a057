"""The whole stack, as the real program makes it, held against rules as strict as AWS's.

Every check can fail: a planted defect beside each shows it.
"""

from __future__ import annotations

import itertools
import json
import warnings
from dataclasses import replace

import cfnlint.api
import pytest

from stack import settings
from taskpacks import PackSpec
from tests.stack.synthesized import as_cloudformation, configs, strict_models
from tests.stack.synthesized.recording import changed, listed, policies

with warnings.catch_warnings():
    # parliament 1.6 reads its data through setuptools' pkg_resources, which warns of its own end,
    # and has patterns whose backslashes Python warns of when it first compiles them.
    warnings.simplefilter("ignore")
    import parliament

# The first test that asks for a stack waits until it is recorded.
pytestmark = pytest.mark.timeout(300)

STRICTER_THAN_AWS = {
    ".retryStrategy.evaluateOnExit": "the action's case does not matter to AWS, and the provider "
    "keeps it in lower case: "
    "https://docs.aws.amazon.com/batch/latest/APIReference/API_EvaluateOnExit.html",
}
"""Beginning of a problem -> why botocore's model goes further than AWS there."""

STARS = {
    "ecr:GetAuthorizationToken": "a token is for the registry as a whole: "
    "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html",
    "ecs:DiscoverPollEndpoint": "AWS knows no resource for it: "
    "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html",
    "batch:ListJobs": "AWS knows no resource for it: "
    "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html",
    "batch:DescribeJobs": "as above",
    "cloudwatch:GetMetricData": "AWS knows no resource for it: "
    "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html",
    **dict.fromkeys(
        (
            "logs:CreateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:DescribeLogGroups",
            "logs:DescribeResourcePolicies",
            "logs:GetLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:UpdateLogDelivery",
        ),
        "Step Functions sets up its own log under these, which have no resource: "
        "https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html",
    ),
    "key policy: kms:*": "in a key's policy, the key itself: "
    "https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html",
    "key policy: kms:Decrypt": "as above",
    "key policy: kms:GenerateDataKey*": "as above",
    "endpoint policy: s3:*": "a bucket's ARN does not say whose it is: s3:ResourceAccount does",
    "endpoint policy: ecs:*": "of this account's agents only (aws:PrincipalAccount), some of whose "
    "actions have no resource: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html",
    "endpoint policy: ecr:GetAuthorizationToken": "as ecr:GetAuthorizationToken",
    "endpoint policy: *": "gateways of a network with another way out let everything through",
}
"""Action -> why its resource is "*"."""

ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
WHERE_SERVICES_PASS = {"aws:ec2/vpcEndpoint:VpcEndpoint"}

WHERE = {
    "aws:kms/key:Key": "key policy: ",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "endpoint policy: ",
}
"""How docs/security.md names such policies, whose "*" has reasons of its own."""

PARLIAMENT_IS_WRONG = {
    ("RESOURCE_MISMATCH", "batch:SubmitJob"): "the doorman's statements name queue and definition "
    "by a tag, which a job that is not there yet has not: "
    "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html",
    ("RESOURCE_MISMATCH", "states:ListExecutions"): "it asks for a map run or a state machine: "
    "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html",
}
"""Issue and action -> why its finding is none."""

SEVERE = {"MEDIUM", "HIGH", "CRITICAL"}
ALSO_WRONG = {"UNKNOWN_ACTION", "UNKNOWN_PREFIX", "UNKNOWN_CONDITION_FOR_ACTION"}
"""parliament calls these minor; an action that there is not is a permission that is missing."""


# The configurations.


def test_the_configurations_set_every_option_of_a_stack():
    given = set(itertools.chain.from_iterable(configs.CONFIGS.values()))
    assert {f"taskpacks:{key}" for key in settings.KEYS} <= given


def test_the_configurations_set_every_option_of_a_deployment_to_every_word():
    given = configs.given()
    options = configs.options(PackSpec)
    missing = {path for path in options if path not in given} - {
        ("image", "apt"),
        ("image", "base"),
    }
    assert not missing, "add them to tests/stack/synthesized/configs.py"
    words = {(*path, word) for path, kind in options.items() for word in configs.words(kind)}
    assert not words - given, "add them to tests/stack/synthesized/configs.py"


def test_every_written_excuse_is_needed(recorded_of):
    everything = [recorded_of(name) for name in configs.CONFIGS]
    found = [problem for each in everything for _, problem in every_problem(each)]
    for beginning in STRICTER_THAN_AWS:
        assert any(problem.startswith(beginning) for problem in found)
    excuses = {each for recorded in everything for each in excused_findings(recorded)}
    assert excuses == set(PARLIAMENT_IS_WRONG)


# Every call, against AWS's own models.


def every_problem(recorded):
    for call in recorded.calls:
        if call.model.input_shape:
            for problem in strict_models.problems(call.model.input_shape, dict(call.params)):
                yield call.name, problem


def call_problems(recorded):
    return [
        f"{name}: {problem}"
        for name, problem in every_problem(recorded)
        if not problem.startswith(tuple(STRICTER_THAN_AWS))
    ]


def test_every_call_is_one_that_the_model_of_its_service_takes(recorded):
    assert len(recorded.calls) > len(recorded.registrations)
    assert call_problems(recorded) == []


PLANTED_CALLS = {
    "unknown": ("sqs:CreateQueue", {"QueueNames": "q"}, ".QueueNames: there is no such member"),
    "missing": ("sqs:CreateQueue", {"QueueName": None}, ".QueueName is missing"),
    "enum": (
        "cloudwatch:PutMetricAlarm",
        {"ComparisonOperator": "GreaterThan"},
        ".ComparisonOperator is 'GreaterThan': it is one of",
    ),
    "pattern": ("iam:CreateRole", {"RoleName": "a b"}, ".RoleName is 'a b': it does not match"),
    "min": ("cloudwatch:PutMetricAlarm", {"EvaluationPeriods": 0}, "at least 1 is wanted"),
    "max": ("iam:CreateRole", {"RoleName": "a" * 65}, "at most 64 is allowed"),
    "type": ("batch:CreateJobQueue", {"priority": "1"}, ".priority is '1': a integer is wanted"),
}


@pytest.mark.parametrize("defect", PLANTED_CALLS)
def test_a_defect_planted_in_a_call_is_found(defect, smallest):
    operation, changes, text = PLANTED_CALLS[defect]
    call = next(each for each in smallest.calls if each.name == operation)
    params = {**call.params, **changes}
    params = {name: value for name, value in params.items() if value is not None}
    planted = replace(smallest, calls=[replace(call, params=params)])
    assert any(text in problem for problem in call_problems(planted))


# The equivalent CloudFormation, under cfn-lint.


def lint(recorded):
    text = json.dumps(as_cloudformation.template(recorded))
    found = cfnlint.api.lint(text, regions=[recorded.region])
    return [
        f"{each.rule.id} {'/'.join(map(str, each.path))}: {each.message}"
        for each in found
        if each.rule.severity == "error"
    ]


def test_cloudformation_would_accept_the_stack(recorded):
    assert lint(recorded) == []


PLANTED_RESOURCES = {
    "sqs range": ("aws:sqs/queue:Queue", {"visibilityTimeoutSeconds": 43201}, "43201"),
    "alarm word": (
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        {"treatMissingData": "none"},
        "'none' is not one of",
    ),
    "log days": ("aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 31}, "31"),
    "unknown": ("aws:ec2/vpc:Vpc", {"cidr": "10.0.0.0/16"}, "'Cidr' was unexpected"),
    "policy": (
        "aws:iam/rolePolicy:RolePolicy",
        {"policy": '{"Version": "2012-10-17", "Statement": [{"Effect": "Permit"}]}'},
        "'Permit' is not one of",
    ),
}


@pytest.mark.parametrize("defect", PLANTED_RESOURCES)
def test_a_defect_planted_in_a_resource_is_found(defect, smallest):
    kind, changes, text = PLANTED_RESOURCES[defect]
    assert any(text in each for each in lint(changed(smallest, kind, **changes)))


# Every policy, under parliament.


def is_trust(document):
    return all("Resource" not in statement for statement in document["Statement"])


def of_services_in_use(document, used):
    """An endpoint's policy with "SERVICE:*" as the actions of it that roles have on a resource.

    Among all actions of a service are some that know no resource, or no such condition.
    """
    statements = [
        {**each, "Action": sorted(actions_of(each, used))} for each in document["Statement"]
    ]
    return {**document, "Statement": [each for each in statements if each["Action"]]}


def actions_of(statement, used):
    for action in listed(statement["Action"]):
        service, _, name = action.partition(":")
        if name == "*":
            yield from (each for each in used if each.startswith(f"{service}:"))
        else:
            yield action


def all_findings(recorded):
    """Name of the policy, and what is of weight, with the actions that it is about."""
    used = {
        action
        for kind, _, document in policies(recorded)
        if kind == ROLE_POLICY
        for statement in document["Statement"]
        for action in listed(statement["Action"])
        if "*" not in statement["Resource"]
    }
    for kind, name, policy in policies(recorded):
        if is_trust(policy):
            continue
        document = of_services_in_use(policy, used) if kind in WHERE_SERVICES_PASS else policy
        for finding in parliament.analyze_policy_string(json.dumps(document)).findings:
            parliament.enhance_finding(finding)
            if finding.severity in SEVERE or finding.issue in ALSO_WRONG:
                details = finding.detail if isinstance(finding.detail, list) else [finding.detail]
                about = {
                    (finding.issue, each.get("action") if isinstance(each, dict) else None)
                    for each in details
                }
                yield name, finding, about


def findings(recorded):
    return [
        f"{name}: {finding.issue} {finding.detail}"
        for name, finding, about in all_findings(recorded)
        if not about <= set(PARLIAMENT_IS_WRONG)
    ]


def excused_findings(recorded):
    return {
        each
        for _, _, about in all_findings(recorded)
        if about <= set(PARLIAMENT_IS_WRONG)
        for each in about
    }


def test_parliament_finds_nothing_of_weight_in_any_policy(recorded):
    assert len(list(policies(recorded))) > 10
    assert findings(recorded) == []


def trusted(recorded):
    return {
        (statement["Action"], json.dumps(statement["Principal"]))
        for _, _, document in policies(recorded)
        if is_trust(document)
        for statement in document["Statement"]
    }


def test_roles_trust_aws_services_only(recorded):
    for action, principal in trusted(recorded):
        assert action == "sts:AssumeRole"
        assert list(json.loads(principal)) == ["Service"]


def policy(*actions, resource, **more):
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


QUEUE = "arn:aws:sqs:us-east-1:123456789012:q"
PLANTED_POLICIES = {
    "an action that there is not": policy("sqs:ReceiveMessages", resource=QUEUE),
    "a resource of another kind": policy("s3:GetObject", resource="arn:aws:s3:::bucket"),
    "no condition key of the action": policy(
        "sqs:SendMessage", resource=QUEUE, Condition={"StringEquals": {"s3:prefix": "a"}}
    ),
    "no ARN at all": policy("sqs:SendMessage", resource="pi-tasks"),
}


@pytest.mark.parametrize("defect", PLANTED_POLICIES)
def test_a_defect_planted_in_a_policy_is_found(defect, smallest):
    assert findings(changed(smallest, ROLE_POLICY, policy=PLANTED_POLICIES[defect]))


# Stars.


def stars(recorded):
    """Whatever a policy allows on every resource, or allows of every action."""
    found = []
    for kind, name, document in policies(recorded):
        where = WHERE.get(kind, "")
        for statement in document["Statement"]:
            if statement["Effect"] == "Deny":
                continue
            actions = listed(statement["Action"])
            unbounded = "*" in listed(statement.get("Resource", []))
            found += [
                f"{name}: {where}{action}"
                for action in actions
                if unbounded or action == "*" or "NotAction" in statement
            ]
    return [each for each in found if each.partition(": ")[2] not in STARS]


def test_no_policy_names_all_resources_but_for_the_reasons_written_above(recorded):
    assert stars(recorded) == []


def test_every_written_reason_is_needed(recorded_of):
    needed = set()
    for name in configs.CONFIGS:
        for kind, _, document in policies(recorded_of(name)):
            where = WHERE.get(kind, "")
            for statement in document["Statement"]:
                if "*" in listed(statement.get("Resource", [])):
                    needed |= {f"{where}{action}" for action in listed(statement["Action"])}
    assert needed == set(STARS)


def test_a_planted_star_is_found(smallest):
    planted = changed(smallest, ROLE_POLICY, policy=policy("sqs:SendMessage", resource=["*"]))
    assert any("sqs:SendMessage" in each for each in stars(planted))
