"""Compute environments and launch templates, made by the program in the local cloud."""

import re
import sys
from fnmatch import fnmatchcase

import pytest

from local.engine import Action
from taskpacks import TaskpacksError
from tests.stack.test_program import nothing_was_made

ON_EC2 = {"platform": "ec2", "architecture": "arm64", "scratch_gib": 100}


def environments(project):
    found = project.client("batch").describe_compute_environments()["computeEnvironments"]
    return {each["computeEnvironmentArn"]: each for each in found}


def test_instances_start_from_a_template_with_imdsv2_only_and_an_encrypted_volume(project):
    project.select({"small": {"resources": {**ON_EC2, "vcpus": 2, "memory_mib": 7168}}}).up()
    (environment,) = environments(project).values()
    resources = environment["computeResources"]
    assert resources["instanceTypes"] == ["m8g.large", "r8g.large", "m7g.large", "r7g.large"]
    assert resources["ec2Configuration"][0]["imageType"] == "ECS_AL2023"
    template = project.client("ec2").describe_launch_template_versions(
        LaunchTemplateId=resources["launchTemplate"]["launchTemplateId"],
        Versions=[resources["launchTemplate"]["version"]],
    )["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    assert template["MetadataOptions"]["HttpTokens"] == "required"
    (device,) = template["BlockDeviceMappings"]
    assert device["DeviceName"] == "/dev/xvda"
    assert device["Ebs"]["Encrypted"] is True
    # Two workers of 7 GiB on the 16 GiB of an r8g.large would be one vCPU short: one worker.
    assert device["Ebs"]["VolumeSize"] == 130


def test_instances_may_join_the_clusters_of_their_own_compute_environments(project):
    resources = {**ON_EC2, "purchase": "spot_then_on_demand"}
    project.select({"small": {"resources": resources}}).up()
    iam = project.client("iam")
    (role,) = [
        each["RoleName"]
        for each in iam.list_roles()["Roles"]
        if each["RoleName"].startswith("small-instance")
    ]
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    clusters = [
        arn.partition("cluster/")[2]
        for statement in document["Statement"]
        for arn in statement["Resource"]
        if ":cluster/" in arn
    ]
    made = [each["computeEnvironmentName"] for each in environments(project).values()]
    assert len(made) == 2
    for name in made:
        assert [each for each in clusters if fnmatchcase(f"AWSBatch-{name}-0a1b2c3d", each)]


def test_a_larger_scratch_is_another_template_for_other_machines(project):
    project.select({"small": {"resources": ON_EC2}}).up()
    summary = project.select({"small": {"resources": {**ON_EC2, "scratch_gib": 200}}}).up()
    touched = sorted(
        (re.sub("-[0-9a-f]{6}(?=-|$)", "", change.urn.rpartition("::")[2]), change.action)
        for change in summary.changed
    )
    assert touched == [
        ("dashboard-graphs", Action.UPDATED),  # it shows what a worker costs, its volume included
        ("small-instance", Action.CREATED),
        ("small-instance", Action.DELETED),
        ("small-jobs-arm64", Action.UPDATED),
        ("small-on-demand-arm64", Action.CREATED),
        ("small-on-demand-arm64", Action.DELETED),
    ]


def test_spot_then_on_demand_is_tried_in_this_order(project):
    project.select({"small": {"resources": {"purchase": "spot_then_on_demand"}}}).up()
    (queue,) = project.client("batch").describe_job_queues()["jobQueues"]
    order = sorted(queue["computeEnvironmentOrder"], key=lambda each: each["order"])
    made = environments(project)
    assert [made[each["computeEnvironment"]]["computeResources"]["type"] for each in order] == [
        "FARGATE_SPOT",
        "FARGATE",
    ]


def test_deployments_of_equal_shape_share_their_machines_where_a_stack_says_so(project):
    project.select({"small": {}, "other": {}}, share_compute_environments=True).up()
    (arn,) = environments(project)
    queues = project.client("batch").describe_job_queues()["jobQueues"]
    assert len(queues) == 2
    assert {
        each["computeEnvironment"] for queue in queues for each in queue["computeEnvironmentOrder"]
    } == {arn}


INFRASTRUCTURE = """

@hookimpl
def taskpack_infrastructure(context):
    import pulumi
    import pulumi_aws as aws

    aws.sqs.Queue(
        "own",
        visibility_timeout_seconds=99_999,
        name=pulumi.Output.from_input("own"),
        opts=pulumi.ResourceOptions(parent=context.parent),
    )
    aws.cloudwatch.LogGroup("own", opts=pulumi.ResourceOptions(parent=context.parent))
    return {}
"""


def test_what_a_packs_own_hook_makes_is_held_against_the_rules_before_anything_is_made(
    project, monkeypatch
):
    module = project.folder.parent / "site" / "other_test_pack.py"
    module.write_text(module.read_text() + INFRASTRUCTURE)
    monkeypatch.delitem(sys.modules, "other_test_pack", raising=False)
    with pytest.raises(TaskpacksError) as caught:
        project.select({"small": {}, "other": {}}).up()
    monkeypatch.delitem(sys.modules, "other_test_pack", raising=False)
    assert str(caught.value) == (
        "Queue 'own' visibilityTimeoutSeconds is 99999: a visibility time-out is 0 to 43_200; "
        "choose a value in that range.\n"
        "LogGroup 'own' retentionInDays is not given: logs that are kept for ever cost for ever; "
        "give it."
    )
    assert nothing_was_made(project)
    assert project.client("sqs").list_queues().get("QueueUrls", []) == []
