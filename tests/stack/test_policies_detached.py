"""A policy that an application has attached is not deleted, nor anything of its deployment."""

import json

import pytest
from botocore.stub import Stubber

from local.engine import HookError
from stack.before_delete import policies
from stack.before_delete.access import Access, client
from stack.before_delete.policies import PolicyAttachedError
from tests.stack.inventory import inventory

ARN = "arn:aws:iam::123456789012:policy/small-producer-1a2b3c4"


@pytest.fixture
def up(project, network):
    def up(*packs):
        chosen = {name: {"scaling": {"mode": "alarms"}} for name in packs}
        return project.select(chosen, **network).up()

    return up


@pytest.fixture
def attach(project):
    """Attaches a policy to an application's role, and returns what detaches it."""
    iam = project.client("iam")
    iam.create_role(RoleName="shop", AssumeRolePolicyDocument="{}")
    given = {}

    def detach():
        iam.detach_role_policy(**given)
        given.clear()

    def attach(arn):
        given.update(RoleName="shop", PolicyArn=arn)
        iam.attach_role_policy(**given)
        return detach

    yield attach
    if given:
        detach()
    iam.delete_role(RoleName="shop")


def test_a_deployment_whose_policy_is_attached_stays_whole(project, up, attach):
    up("small", "other")
    arn = project.engine().outputs()["producer_policies"]["small"]
    detach = attach(arn)
    before = inventory(project.client)
    command = f"aws iam detach-role-policy --role-name shop --policy-arn {arn}"
    with pytest.raises(HookError, match=command):
        up("other")
    assert inventory(project.client) == before
    detach()
    up("other")
    assert not [name for _, name in inventory(project.client) if name.startswith("small")]


def test_no_deployment_goes_with_a_stack_whose_policy_is_attached(project, up, attach):
    up("small", "other")
    arn = project.engine().outputs()["producer_policy"]
    detach = attach(arn)
    before = {each for each in inventory(project.client) if each[1].startswith(("small", "other"))}
    with pytest.raises(HookError, match=f"{arn} is not deleted: it is attached to role shop"):
        project.engine().destroy(run_program=True)
    assert before <= inventory(project.client)
    detach()
    project.engine().destroy(run_program=True)
    assert not before & inventory(project.client)


# Decisions


def iam_client():
    return client(Access(region="us-east-1", access_key="a", secret_key="b"), "iam")


def test_a_record_speaks_for_the_policy_of_its_deployment():
    told = json.dumps({"producer_policy": ARN, "pack": "small"})
    assert policies.policy_arn("/taskpacks/x", {"insecureValue": told}) == ARN
    assert policies.policy_arn(ARN, {"arn": ARN}) == ARN
    assert policies.policy_arn("/taskpacks/x", {"insecureValue": "{}"}) is None  # an older one


def test_all_that_have_it_attached_are_named_with_the_command_for_each():
    iam = iam_client()
    pages = [
        {"PolicyRoles": [{"RoleName": "shop"}], "IsTruncated": True, "Marker": "next"},
        {"PolicyUsers": [{"UserName": "ann"}], "PolicyGroups": [{"GroupName": "senders"}]},
    ]
    with Stubber(iam) as stub:
        for page in pages:
            stub.add_response("list_entities_for_policy", page)
        attached = policies.attachments(iam, ARN)
    with pytest.raises(PolicyAttachedError) as refused:
        policies.refuse_to_take_away(ARN, attached)
    said = str(refused.value)
    assert "it is attached to role shop, user ann, group senders." in said
    for kind, name in (("role", "shop"), ("user", "ann"), ("group", "senders")):
        assert f"aws iam detach-{kind}-policy --{kind}-name {name} --policy-arn {ARN}" in said


def test_a_policy_that_nobody_has_attached_or_that_is_gone_may_go():
    iam = iam_client()
    with Stubber(iam) as stub:
        stub.add_client_error("list_entities_for_policy", "NoSuchEntity")
        policies.refuse_to_take_away(ARN, policies.attachments(iam, ARN))


def test_a_policy_that_cannot_be_asked_about_is_kept_and_the_error_says_what_is_missing():
    iam = iam_client()
    with Stubber(iam) as stub:
        stub.add_client_error("list_entities_for_policy", "AccessDenied")
        with pytest.raises(PolicyAttachedError, match=r"AccessDenied.*iam:ListEntitiesForPolicy"):
            policies.attachments(iam, ARN)
