"""Endpoints let through all that workers need, and nothing of anybody else's."""

import json
from dataclasses import replace

import pytest

from stack.components import network
from stack.documents import endpoint_policies
from taskpacks import PackSpec, Permissions, TaskpacksError, limits
from tests.stack import contexts
from tests.stack.iam import allows
from tests.stack.synthesized import configs
from tests.stack.synthesized.recording import listed, policies

OURS, THEIRS = "123456789012", "999999999999"
CONTEXT = replace(contexts.CONTEXT, region="eu-west-1", account_id=OURS)
SERVICES = (
    *network.GATEWAY_SERVICES, "ecr.api", "ecr.dkr", "logs", "sqs", "ecs", "ecs-agent",
    "ecs-telemetry", "secretsmanager", "ssm",
)  # fmt: skip


def made(*specs, services=SERVICES, only_way_out=True):
    return endpoint_policies.policies(services, specs, CONTEXT, only_way_out=only_way_out)


# What a foreign account has, which somebody who took over a task would like to write to or read.
FOREIGN = {
    "s3": ("s3:PutObject", "arn:aws:s3:::theirs/loot"),
    "dynamodb": ("dynamodb:PutItem", f"arn:aws:dynamodb:eu-west-1:{THEIRS}:table/loot"),
    "ecr.api": ("ecr:PutImage", f"arn:aws:ecr:eu-west-1:{THEIRS}:repository/loot"),
    "ecr.dkr": ("ecr:BatchGetImage", f"arn:aws:ecr:eu-west-1:{THEIRS}:repository/tools"),
    "logs": ("logs:PutLogEvents", f"arn:aws:logs:eu-west-1:{THEIRS}:log-group:loot:*"),
    "sqs": ("sqs:SendMessage", f"arn:aws:sqs:eu-west-1:{THEIRS}:loot"),
    "ecs": ("ecs:TagResource", f"arn:aws:ecs:eu-west-1:{THEIRS}:cluster/loot"),
    "secretsmanager": (
        "secretsmanager:PutSecretValue",
        f"arn:aws:secretsmanager:eu-west-1:{THEIRS}:secret:loot-AbCdEf",
    ),
    "ssm": ("ssm:PutParameter", f"arn:aws:ssm:eu-west-1:{THEIRS}:parameter/loot"),
}


@pytest.mark.parametrize("service", FOREIGN)
def test_nothing_passes_to_another_account_even_with_that_accounts_credentials(service):
    action, resource = FOREIGN[service]
    policy = made(PackSpec())[service]
    assert not allows(policy, action, resource, ResourceAccount=THEIRS, PrincipalAccount=THEIRS)
    ours = resource.replace(THEIRS, OURS)
    assert allows(policy, action, ours, ResourceAccount=OURS, PrincipalAccount=OURS)


def test_every_endpoint_has_a_policy_or_a_reason():
    assert set(made(PackSpec())) == set(FOREIGN)
    assert set(SERVICES) - set(FOREIGN) == set(endpoint_policies.WITHOUT_POLICY)


LAYERS = "arn:aws:s3:::prod-eu-west-1-starport-layer-bucket/layer"


def test_image_layers_are_read_from_ecrs_bucket_of_the_region_and_never_written():
    policy = made(PackSpec())["s3"]
    assert allows(policy, "s3:GetObject", LAYERS, ResourceAccount=THEIRS)
    assert not allows(policy, "s3:PutObject", LAYERS, ResourceAccount=THEIRS)
    elsewhere = LAYERS.replace("eu-west-1", "us-east-1")
    assert not allows(policy, "s3:GetObject", elsewhere, ResourceAccount=THEIRS)


NAMED = {
    "s3 read": ("s3", "s3:GetObject", "arn:aws:s3:::inbox/raw/a"),
    "s3 list": ("s3", "s3:ListBucket", "arn:aws:s3:::inbox"),
    "s3 write": ("s3", "s3:PutObject", "arn:aws:s3:::outbox/done/a"),
    "a statement's bucket": ("s3", "s3:GetObject", "arn:aws:s3:::stated/a"),
    "a statement's queue": ("sqs", "sqs:SendMessage", configs.THEIR_QUEUE),
    "a secret": ("secretsmanager", "secretsmanager:GetSecretValue", configs.THEIR_SECRET),
    "an image": (
        "ecr.dkr",
        "ecr:BatchGetImage",
        "arn:aws:ecr:eu-west-1:210987654321:repository/theirs",
    ),
}
NAMING = PackSpec().overlaid(
    {
        "image": {"uri": configs.THEIR_IMAGE},
        "permissions": {
            "read": ["s3://inbox/raw/"],
            "write": ["s3://outbox/done/"],
            "statements": [
                {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": configs.THEIR_QUEUE},
                {
                    "Effect": "Allow",
                    "Action": ["s3:GetObject"],
                    "Resource": ["arn:aws:s3:::stated/*"],
                },
                {"Effect": "Deny", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::denied/*"]},
            ],
        },
        "secrets": {"TOKEN": f"{configs.THEIR_SECRET}:user::"},
    },
    "naming",
)


@pytest.mark.parametrize("name", NAMED)
def test_what_a_pack_names_passes_whosever_it_is(name):
    service, action, resource = NAMED[name]
    assert allows(made(PackSpec(), NAMING)[service], action, resource, ResourceAccount=THEIRS)
    assert not allows(made(PackSpec())[service], action, resource, ResourceAccount=THEIRS)


def test_what_a_pack_is_denied_is_not_named_by_that():
    denied = "arn:aws:s3:::denied/a"
    assert not allows(made(NAMING)["s3"], "s3:GetObject", denied, ResourceAccount=THEIRS)


@pytest.mark.parametrize("resource", ["*", "arn:aws:s3:::*", "arn:aws:s3:::*/*"])
def test_a_star_in_a_statement_opens_no_endpoint(resource):
    wide = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": resource}
    spec = PackSpec(permissions=Permissions(statements=(wide,), allow_wildcard=True))
    assert made(spec) == made(PackSpec())


def test_parameters_below_a_path_pass_where_their_account_is_named():
    def policy(account):
        resource = f"arn:aws:ssm:eu-west-1:{account}:parameter/app/*"
        allowing = {"Effect": "Allow", "Action": ["ssm:GetParameter"], "Resource": resource}
        spec = PackSpec(permissions=Permissions(statements=(allowing,), allow_wildcard=True))
        return made(spec)["ssm"]

    theirs = f"arn:aws:ssm:eu-west-1:{THEIRS}:parameter/app/a"
    assert allows(policy(THEIRS), "ssm:GetParameter", theirs, ResourceAccount=THEIRS)
    assert not allows(policy("*"), "ssm:GetParameter", theirs, ResourceAccount=THEIRS)


@pytest.mark.parametrize("account", ["*", "????????????"])
def test_a_resource_of_any_account_opens_no_endpoint(account):
    resource = f"arn:aws:sqs:eu-west-1:{account}:q"
    anybodys = {"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": resource}
    spec = PackSpec(permissions=Permissions(statements=(anybodys,)))
    assert made(spec) == made(PackSpec())


def test_where_there_is_another_way_out_everything_passes_and_says_so():
    """Said: the provider would leave the policy that an endpoint had before."""
    for policy in made(PackSpec(), only_way_out=False).values():
        assert allows(policy, "s3:GetObject", "arn:aws:s3:::public/data")


def test_more_names_than_a_policy_holds_are_refused_before_anything_is_made():
    many = tuple(f"s3://{'b' * 50}{index}/" for index in range(200))
    with pytest.raises(TaskpacksError) as caught:
        made(PackSpec(permissions=Permissions(read=many)))
    assert "the endpoint of s3" in str(caught.value)
    assert f"{limits.ENDPOINT_POLICY_CHARACTERS_MAX:_}" in str(caught.value)


def test_in_other_partitions_arns_begin_otherwise():
    china = replace(CONTEXT, region="cn-north-1", partition="aws-cn")
    policy = endpoint_policies.policies(["sqs"], [], china, only_way_out=True)["sqs"]
    assert allows(policy, "sqs:SendMessage", f"arn:aws-cn:sqs:cn-north-1:{OURS}:q")


# The whole stack: whatever a role allows, the endpoint of that service lets through.

ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
BEHIND_ENDPOINTS = "endpoints for everything"
OF_WORKERS = ("-worker", "-execution", "-instance", "-results-write")
"""How the policies of what runs in the network end; the others are those of AWS's services."""


def endpoints(recorded):
    """Policy of each endpoint, by the end of its service's name; None where there is none."""
    return {
        each.inputs["serviceName"].split(".", 3)[3]: json.loads(each.inputs.get("policy") or "null")
        for each in recorded.of_type(ENDPOINT)
    }


def needed(recorded):
    """Action and resource of whatever the roles in the network may do."""
    for kind, name, document in policies(recorded):
        if kind == ROLE_POLICY and name.endswith(OF_WORKERS):
            for statement in document["Statement"]:
                for action in listed(statement["Action"]):
                    for resource in listed(statement["Resource"]):
                        yield action, resource


def passes(recorded, action, resource):
    """Whether the endpoints of an action's service let it through; None where it has none."""
    prefix = action.partition(":")[0]
    documents = [each for name, each in endpoints(recorded).items() if name.split(".")[0] == prefix]
    own = {each.outputs["arn"] for each in recorded.of_type("aws:s3/bucket:Bucket")}
    is_own = resource.partition("/")[0] in own
    if not documents:
        return None
    context = {"PrincipalAccount": OURS, "ResourceAccount": OURS if is_own else THEIRS}
    return all(each is None or allows(each, action, resource, **context) for each in documents)


@pytest.mark.timeout(300)
def test_whatever_the_roles_of_workers_allow_passes_the_endpoints(recorded_of):
    recorded = recorded_of(BEHIND_ENDPOINTS)
    asked = set(needed(recorded))
    refused = [each for each in asked if passes(recorded, *each) is False]
    assert refused == []
    # KMS is asked by the services that store something, and not from the network.
    no_endpoint = {
        action for action, resource in asked if passes(recorded, action, resource) is None
    }
    assert no_endpoint == {"kms:Decrypt", "kms:GenerateDataKey"}
    services = {action.partition(":")[0] for action, _ in asked}
    assert services == {
        "sqs",
        "dynamodb",
        "s3",
        "logs",
        "ecr",
        "ecs",
        "secretsmanager",
        "ssm",
        "kms",
    }


@pytest.mark.timeout(300)
def test_only_behind_endpoints_do_policies_keep_workers_in(recorded_of):
    wide = {"Effect": "Allow", "Action": ["*"], "Resource": ["*"], "Principal": "*"}
    for name in configs.CONFIGS:
        egress = configs.CONFIGS[name].get("taskpacks:egress", "endpoints")
        for service, policy in endpoints(recorded_of(name)).items():
            if egress != "endpoints":
                assert policy["Statement"] == [wide]
            elif service in endpoint_policies.WITHOUT_POLICY:
                assert policy is None
            else:
                assert wide not in policy["Statement"]


@pytest.mark.timeout(300)
def test_an_endpoint_that_is_too_narrow_is_found(recorded_of):
    recorded = recorded_of(BEHIND_ENDPOINTS)
    narrow = {"Version": "2012-10-17", "Statement": []}
    registrations = [
        replace(each, inputs={**each.inputs, "policy": json.dumps(narrow)})
        if each.name == "network-sqs"
        else each
        for each in recorded.registrations
    ]
    planted = replace(recorded, registrations=registrations)
    refused = {each[0] for each in needed(planted) if passes(planted, *each) is False}
    assert refused
    assert {action.partition(":")[0] for action in refused} == {"sqs"}
