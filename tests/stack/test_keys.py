import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from stack import settings
from stack.documents import key_policies, policies, scaling_policies, trust
from taskpacks import Permissions, TaskpacksError
from tests.stack.contexts import CONTEXT

ACCOUNT = "111122223333"
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1"
OTHER = "arn:aws:kms:eu-west-1:444455556666:key/2"
WITHOUT = replace(CONTEXT, region="eu-west-1", account_id=ACCOUNT)
WITH = replace(WITHOUT, kms_key=KEY)
SECRET = f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:token-AbCdEf"
PARAMETER = f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/salt"


def uses_of_keys(document):
    """Actions, keys and services of every statement about KMS; each must name its services."""
    return [
        (each["Action"], each["Resource"], each["Condition"]["StringEquals"]["kms:ViaService"])
        for each in document["Statement"]
        if any(action.startswith("kms:") for action in each["Action"])
    ]


def worker(context):
    return policies.worker(
        "arn:q", "arn:t", "arn:d", Permissions(), deployment="pi", context=context
    )


def producer(context):
    return policies.producer(["arn:q"], "arn:t", deployments="*", context=context)


def launcher(context):
    return scaling_policies.launcher("pi", "arn:q", "arn:log", context=context)


READ_AND_WRITE = ["kms:Decrypt", "kms:GenerateDataKey"]


@pytest.mark.parametrize(
    ("role", "actions", "services"),
    [
        (worker, READ_AND_WRITE, ["sqs", "dynamodb", "s3"]),
        (producer, READ_AND_WRITE, ["sqs", "dynamodb"]),
        (launcher, ["kms:Decrypt"], ["lambda"]),
    ],
)
def test_a_role_uses_the_operators_key_only_through_the_services_that_it_calls(
    role, actions, services
):
    hosts = [f"{service}.eu-west-1.amazonaws.com" for service in services]
    assert uses_of_keys(role(WITH)) == [(actions, [KEY], hosts)]
    assert uses_of_keys(role(WITHOUT)) == []


def execution(secret_arns, keys):
    return policies.execution("arn:repo", "arn:log", secret_arns, keys=keys, context=WITHOUT)


@pytest.mark.parametrize(
    ("secret_arns", "hosts"),
    [
        ([SECRET], ["secretsmanager.eu-west-1.amazonaws.com"]),
        ([PARAMETER], ["ssm.us-east-1.amazonaws.com"]),
        (
            [SECRET, f"{SECRET}:user::", PARAMETER],
            ["secretsmanager.eu-west-1.amazonaws.com", "ssm.us-east-1.amazonaws.com"],
        ),
    ],
)
def test_secrets_under_a_customers_key_are_decrypted_through_the_service_that_holds_them(
    secret_arns, hosts
):
    assert uses_of_keys(execution(secret_arns, [KEY, OTHER])) == [
        (["kms:Decrypt"], [KEY, OTHER], hosts)
    ]


def test_without_a_key_or_without_secrets_nothing_is_decrypted():
    assert uses_of_keys(execution([SECRET], [])) == []
    assert uses_of_keys(execution([], [KEY])) == []


def parse(**given):
    return settings.parse({"packs": {"pi": {}}, **given})


def test_the_keys_of_secrets_are_the_stacks_own_and_the_further_ones_each_once():
    assert parse().keys_of_secrets == ()
    assert parse(kms_key=KEY).keys_of_secrets == (KEY,)
    assert parse(kms_key=KEY, secret_key_arns=[KEY, OTHER]).keys_of_secrets == (KEY, OTHER)


@pytest.mark.parametrize("arn", ["alias/mine", f"arn:aws:kms:eu-west-1:{ACCOUNT}:alias/mine"])
def test_an_alias_is_refused_as_a_key_of_secrets_with_its_place(arn):
    with pytest.raises(TaskpacksError) as caught:
        parse(secret_key_arns=[KEY, arn])
    assert f"taskpacks:secret_key_arns[1] is {arn!r}" in str(caught.value)
    assert "key/ID" in str(caught.value)


def test_the_documented_policy_of_an_operators_key_is_the_one_that_the_program_counts_on():
    text = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()
    (shown,) = [
        json.loads(block)
        for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)
        if "kms:" in block
    ]
    assert shown == key_policies.operators_key("ACCOUNT", "REGION", "aws")


def test_a_service_that_says_for_whom_it_acts_uses_a_key_for_this_account_only():
    for document in (
        key_policies.notices_key(WITHOUT),
        key_policies.operators_key(ACCOUNT, "eu-west-1", "aws"),
    ):
        senders = document["Statement"][1]
        assert senders["Principal"] == {"Service": [trust.CLOUDWATCH, trust.EVENTS]}
        # Not StringEquals: EventBridge does not say it, and its notices would be lost.
        assert senders["Condition"] == {"StringEqualsIfExists": {"aws:SourceAccount": ACCOUNT}}


def test_in_china_services_have_their_own_names():
    china = replace(WITH, region="cn-north-1", partition="aws-cn")
    ((_, _, hosts),) = uses_of_keys(producer(china))
    assert hosts == ["sqs.cn-north-1.amazonaws.com.cn", "dynamodb.cn-north-1.amazonaws.com.cn"]


@pytest.mark.parametrize(
    ("service", "source"),
    [
        (trust.ECS_TASKS, f"arn:aws:ecs:eu-west-1:{ACCOUNT}:*"),
        (trust.EVENTS, f"arn:aws:events:eu-west-1:{ACCOUNT}:rule/*"),
        (trust.STATES, f"arn:aws:states:eu-west-1:{ACCOUNT}:stateMachine:*"),
    ],
)
def test_a_service_takes_on_a_role_for_what_this_account_has_in_this_region(service, source):
    (statement,) = trust.trust(service, WITH)["Statement"]
    assert statement["Principal"] == {"Service": service}
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnLike": {"aws:SourceArn": source},
    }


@pytest.mark.parametrize("service", trust.WITHOUT_SOURCE)
def test_a_service_that_names_no_source_has_no_condition_that_would_refuse_it(service):
    (statement,) = trust.trust(service, WITH)["Statement"]
    assert "Condition" not in statement


def test_security_md_says_why_a_trust_policy_has_no_condition():
    text = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()
    for service, reason in trust.WITHOUT_SOURCE.items():
        assert f"`{service}`" in text
        assert reason.rpartition(": ")[2] in text
