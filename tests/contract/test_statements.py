"""IAM statements that a pack may have, and those that are refused, with the remedy."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from taskpacks import PackSpec, statements
from taskpacks.errors import RefusedDeclarationError

QUEUE = "arn:aws:sqs:us-east-1:123456789012:q"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret"
PARAMETER = "arn:aws:ssm:us-east-1:123456789012:parameter"


def statement(actions, resources_named, **more):
    return {"Effect": "Allow", "Action": actions, "Resource": resources_named, **more}


def overlaid(*of_the_stack, **permissions):
    overrides = {"permissions": {"statements": list(of_the_stack), **permissions}}
    return PackSpec().overlaid(overrides, "taskpacks:packs.pi")


def refusal(*of_the_stack, **permissions):
    with pytest.raises(RefusedDeclarationError) as caught:
        overlaid(*of_the_stack, **permissions)
    return str(caught.value)


TAKEN = {
    "an action on a resource": statement("sqs:SendMessage", QUEUE),
    "lists of both": statement(["sqs:SendMessage", "sqs:GetQueueAttributes"], [QUEUE, f"{QUEUE}2"]),
    "some of a service's actions": statement("s3:Get*", "arn:aws:s3:::models/*"),
    "what takes no resource": statement(["cloudwatch:PutMetricData", "STS:getcalleridentity"], "*"),
    "a condition": statement("s3:ListBucket", "arn:aws:s3:::b", Condition={"Bool": {"a": "true"}}),
    "a policy variable": statement("s3:GetObject", "arn:aws:s3:::b/${aws:PrincipalTag/team}/*"),
    "a secret by its whole ARN": statement("secretsmanager:GetSecretValue", f"{SECRET}:key-AbCdEf"),
    "a secret but for its random end": statement(
        "secretsmanager:GetSecretValue", f"{SECRET}:key-??????"
    ),
    "what is forbidden everywhere": {"Effect": "Deny", "Action": "*", "Resource": "*"},
    "all but some forbidden": {"Effect": "Deny", "NotAction": "s3:*", "NotResource": [QUEUE]},
    "secrets by a pattern forbidden": {
        "Effect": "Deny",
        "Action": "secretsmanager:*",
        "Resource": f"{SECRET}:*",
    },
    "documents, which are no parameters": statement(
        "ssm:SendCommand", "arn:aws:ssm:us-east-1:123456789012:document/app-*"
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_a_statement_that_names_what_it_allows_is_taken(case):
    (taken,) = overlaid(TAKEN[case]).permissions.statements
    assert json.loads(json.dumps(taken)) == TAKEN[case]


WILD = {
    "every resource": statement("sqs:SendMessage", "*"),
    "in a list": statement(["sqs:SendMessage"], [QUEUE, "*"]),
    "by another sign": statement("sqs:SendMessage", "**?"),
    "beside what takes no resource": statement(["cloudwatch:PutMetricData", "s3:GetObject"], "*"),
    "part of a service's actions": statement("cloudwatch:Put*", "*"),
    "every bucket": statement("s3:GetObject", "arn:aws:s3:::*"),
    "every object": statement("s3:GetObject", "arn:aws:s3:::*/*"),
    "everything of a service": statement("dynamodb:GetItem", "arn:aws:dynamodb:*:*:*"),
    "an ARN that ends early": statement("sqs:SendMessage", "arn:aws:sqs:*"),
    "any service": statement("sqs:SendMessage", "arn:aws:*:us-east-1:123456789012:q"),
    "all but one": {"Effect": "Allow", "Action": "s3:GetObject", "NotResource": "arn:aws:s3:::b"},
    "parameters below a path": statement("ssm:GetParameter", f"{PARAMETER}/app/*"),
    "all of ssm": statement("ssm:GetParameter", "arn:aws:ssm:us-east-1:123456789012:*"),
    "with a condition": statement("s3:GetObject", "*", Condition={"Bool": {"a": "true"}}),
}


@pytest.mark.parametrize("case", WILD)
def test_an_action_that_takes_a_resource_needs_one_or_a_word_for_all(case):
    text = refusal(TAKEN["an action on a resource"], WILD[case])
    assert text.startswith("taskpacks:packs.pi.permissions: statements[1]: ")
    assert "set allow_wildcard: true" in text
    assert overlaid(WILD[case], allow_wildcard=True).permissions.statements


def test_parameters_by_a_pattern_are_refused_because_each_may_be_a_secret():
    text = refusal(WILD["parameters below a path"])
    assert f"'{PARAMETER}/app/*' with ssm:GetParameter names parameters by a pattern" in text
    assert "every resource" not in text


ALWAYS = {
    "every action": (statement("*", QUEUE), "'*' allows everything"),
    "every action by another sign": (statement("*:*", QUEUE), "'*:*' allows everything"),
    "a service": (statement(["sqs:SendMessage", "s3:*"], QUEUE), "'s3:*' allows everything"),
    "a service in capitals": (statement("S3:?*", QUEUE), "'S3:?*' allows everything"),
    "some services": (statement("s*:Get*", QUEUE), "'s*:Get*' allows everything"),
    "all but some": (
        {"Effect": "Allow", "NotAction": "iam:*", "Resource": QUEUE},
        "NotAction is 'iam:*'",
    ),
    "all secrets": (statement("secretsmanager:GetSecretValue", f"{SECRET}:*"), f"'{SECRET}:*'"),
    "some secrets": (statement("secretsmanager:GetSecretValue", f"{SECRET}:a*"), f"'{SECRET}:a*'"),
    "secrets of any name": (
        statement("secretsmanager:GetSecretValue", f"{SECRET}:????-??????"),
        "names its secrets by",
    ),
    "a secret in any region": (
        statement("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:*:1:secret:a-AbCdEf"),
        "names its secrets by",
    ),
    "secrets by their action": (
        statement("secretsmanager:GetSecretValue", "*"),
        "names its secrets by",
    ),
    "secrets but for some": (
        {"Effect": "Allow", "Action": "SecretsManager:Get*", "NotResource": f"{SECRET}:a-AbCdEf"},
        "names its secrets by",
    ),
}


@pytest.mark.parametrize("allow_wildcard", [False, True])
@pytest.mark.parametrize("case", ALWAYS)
def test_whole_services_and_secrets_by_pattern_are_refused_always(case, allow_wildcard):
    refused, said = ALWAYS[case]
    assert said in refusal(refused, allow_wildcard=allow_wildcard)


MALFORMED = {
    "no effect": ({"Action": "sqs:SendMessage", "Resource": QUEUE}, "Effect is not given"),
    "another effect": (statement("a:B", QUEUE, Effect="allow"), "Effect is 'allow'"),
    "no action": ({"Effect": "Allow", "Resource": QUEUE}, "Action is not given"),
    "no resource": ({"Effect": "Allow", "Action": "sqs:SendMessage"}, "Resource is not given"),
    "an action without its service": (statement("SendMessage", QUEUE), "'SendMessage'"),
    "a resource that is no ARN": (statement("sqs:SendMessage", "q"), "Resource has 'q'"),
    "a number": (statement(7, QUEUE), "Action is 7"),
    "nothing in a list": (statement("sqs:SendMessage", []), "Resource is ()"),
    "a principal": (statement("sqs:SendMessage", QUEUE, Principal="*"), "Principal: there is no"),
    "a slip": (statement("a:B", QUEUE, Conditions={}), "Did you mean 'Condition'?"),
    "a list of effects": (statement("a:B", QUEUE, Effect=["Allow"]), "Effect is ('Allow',)"),
    "an effect of parts": (statement("a:B", QUEUE, Effect={"a": "b"}), "Effect is "),
    "two lists of actions": (
        {"Effect": "Deny", "Action": "a:B", "NotAction": "a:C", "Resource": QUEUE},
        "Action and NotAction are both given",
    ),
    "two lists of resources": (
        {"Effect": "Deny", "Action": "a:B", "Resource": QUEUE, "NotResource": QUEUE},
        "Resource and NotResource are both given",
    ),
    "nothing forbidden": ({"Effect": "Deny", "Resource": QUEUE}, "Action is not given"),
    "forbidden nowhere": ({"Effect": "Deny", "Action": "a:B"}, "Resource is not given"),
    "a number forbidden": ({"Effect": "Deny", "Action": 7, "Resource": QUEUE}, "Action is 7"),
    "all forbidden but a number": (
        {"Effect": "Deny", "NotAction": [7], "Resource": QUEUE},
        "NotAction is (7,)",
    ),
    "a forbidden action without its service": (
        {"Effect": "Deny", "Action": "SendMessage", "Resource": QUEUE},
        "Action has 'SendMessage'",
    ),
    "forbidden but for no ARN": (
        {"Effect": "Deny", "Action": "a:B", "NotResource": "q*"},
        "NotResource has 'q*'",
    ),
}


@pytest.mark.parametrize("allow_wildcard", [False, True])
@pytest.mark.parametrize("case", MALFORMED)
def test_what_iam_would_not_take_is_refused_with_its_place(case, allow_wildcard):
    refused, said = MALFORMED[case]
    text = refusal(refused, allow_wildcard=allow_wildcard)
    assert text.startswith("taskpacks:packs.pi.permissions: statements[0]: ")
    assert said in text


def test_resource_beside_not_resource_is_refused_whatever_may_be_reached():
    both = {**WILD["all but one"], "Resource": QUEUE}
    assert "Resource and NotResource are both given" in refusal(both, allow_wildcard=True)


def test_every_statement_that_is_refused_is_told():
    text = refusal(statement("*", QUEUE), statement("a:B", QUEUE), statement("s3:GetObject", "*"))
    assert ["statements[0]" in text, "statements[1]" in text, "statements[2]" in text] == [
        True,
        False,
        True,
    ]


def test_the_actions_without_a_resource_are_such_by_awss_own_reference():
    """parliament's data is made from it; importing it would warn of its own old imports."""
    package = Path(find_spec("parliament").origin).parent
    data = json.loads((package / "iam_definition.json").read_text())
    by_reference = {
        f"{service['prefix']}:{privilege['privilege']}".lower()
        for service in data
        for privilege in service["privileges"]
        if not any(kind["resource_type"] for kind in privilege["resource_types"])
    }
    assert not statements.WITHOUT_RESOURCE - by_reference
    assert "s3:getobject" not in by_reference


# Variables.


@pytest.mark.parametrize(
    "arn",
    [f"{SECRET}:*", f"{SECRET}:key-??????", f"{PARAMETER}/app/*", "arn:aws:ssm:*:1:parameter/a"],
)
def test_a_variable_is_one_secret_by_its_whole_arn(arn):
    with pytest.raises(RefusedDeclarationError) as caught:
        PackSpec().overlaid({"secrets": {"KEY": arn}}, "here")
    assert f"secrets.KEY is '{arn}'" in str(caught.value)


def test_a_variable_has_one_source():
    both = {"environment": {"KEY": "a", "OTHER": "b"}, "secrets": {"KEY": f"{PARAMETER}/a"}}
    with pytest.raises(RefusedDeclarationError) as caught:
        PackSpec().overlaid(both, "here")
    assert "KEY is in environment and in secrets" in str(caught.value)
    assert "KEY: null" in str(caught.value)


def test_null_removes_what_the_pack_declares():
    spec = PackSpec(environment={"KEY": "a", "OTHER": "b"}, secrets={"TOKEN": f"{PARAMETER}/a"})
    without = spec.overlaid({"environment": {"KEY": None}, "secrets": {"TOKEN": None}}, "here")
    assert without.environment == {"OTHER": "b"}
    assert without.secrets == {}
    moved = spec.overlaid(
        {"environment": {"KEY": None}, "secrets": {"KEY": f"{PARAMETER}/b"}}, "here"
    )
    assert moved.secrets == {"TOKEN": f"{PARAMETER}/a", "KEY": f"{PARAMETER}/b"}


def test_null_for_what_the_pack_does_not_declare_names_what_it_does():
    with pytest.raises(RefusedDeclarationError) as caught:
        PackSpec(environment={"DIGITS": "a"}).overlaid({"environment": {"DIGIT": None}}, "here")
    assert str(caught.value).startswith("here.environment.DIGIT is null")
    assert "Did you mean 'DIGITS'?" in str(caught.value)


def test_null_is_no_value_of_anything_else():
    with pytest.raises(RefusedDeclarationError, match=r"vcpus is None: it is a number"):
        PackSpec().overlaid({"resources": {"vcpus": None}}, "here")
