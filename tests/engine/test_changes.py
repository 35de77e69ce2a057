"""Changes of a program lead to updates, replacements, deletions, and the options on them."""

from __future__ import annotations

import json

import pytest

from local.engine import Action, CloudError, ProtectedError
from local.engine.steps import Steps
from tests.engine.cases import ROLE
from tests.engine.conftest import urn

QUEUE = "aws:sqs/queue:Queue"
SUBNET = "aws:ec2/subnet:Subnet"


def alarm(name, threshold):
    return f"""
aws.cloudwatch.MetricAlarm("{name}", comparison_operator="GreaterThanThreshold",
    evaluation_periods=1, metric_name="Depth", namespace="Shop", period=60, statistic="Sum",
    threshold={threshold}, dimensions={{"Queue": "a"}}, alarm_description="{name}")
"""


@pytest.fixture
def done(monkeypatch):
    """Returns what was done in the cloud, in order."""
    steps: list[tuple[str, str]] = []
    for verb in ("create", "update", "delete"):
        original = getattr(Steps, verb)

        def note(self, subject, *args, original=original, verb=verb, **kwargs):
            record = getattr(subject, "record", subject)
            if record.custom:
                steps.append((verb, record.urn.rpartition("::")[2]))
            return original(self, subject, *args, **kwargs)

        monkeypatch.setattr(Steps, verb, note)
    return steps


def test_a_changed_threshold_touches_only_its_alarm(project, done):
    project.write(alarm("a", 1) + alarm("b", 1)).up()
    done.clear()
    program = alarm("a", 1) + alarm("b", 2.5)
    preview = project.write(program).preview()
    assert done == []
    summary = project.engine().up()
    assert summary.changed == preview.changed
    (change,) = summary.changed
    assert (change.action, change.properties) == (Action.UPDATED, ("threshold",))
    assert done == [("update", "b")]
    alarms = project.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert sorted(found["Threshold"] for found in alarms) == [1.0, 2.5]


def test_a_property_taken_out_goes_back_to_its_default(project):
    program = 'q = aws.sqs.Queue("work", {})\npulumi.export("url", q.url)'
    project.write(program.format("delay_seconds=7")).up()
    summary = project.write(program.format("")).up()
    assert summary.changes[urn(QUEUE, "work")].properties == ("delaySeconds",)
    url = summary.outputs["url"]
    answer = project.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    assert answer["Attributes"]["DelaySeconds"] == "0"


def test_what_cannot_be_unset_in_place_is_refused_with_the_way_on(project):
    program = (
        ROLE + 'aws.lambda_.Function("it", role=role.arn, runtime="python3.13", handler="m.f", '
        'code=pulumi.AssetArchive({"m.py": pulumi.StringAsset("1")}), %s)'
    )
    project.write(program % 'logging_config={"log_format": "JSON"}').up()
    with pytest.raises(CloudError, match="'loggingConfig' cannot be unset in place"):
        project.write(program % "").up()


def test_a_queue_goes_from_a_key_of_sqs_to_one_of_kms_and_back(project):
    program = 'q = aws.sqs.Queue("work", {})\npulumi.export("url", q.url)'
    url = project.write(program.format("sqs_managed_sse_enabled=True")).up().outputs["url"]

    def key():
        answer = project.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return answer["Attributes"].get("KmsMasterKeyId", "")

    kms = project.write(program.format('kms_master_key_id="alias/ours"'))
    assert kms.up().changed
    assert key() == "alias/ours"
    assert not kms.up().changed
    project.write(program.format("sqs_managed_sse_enabled=True")).up()
    assert key() == ""


def test_the_same_policy_written_otherwise_is_no_change(project):
    program = """
    aws.sqs.Queue("work", redrive_allow_policy=json.dumps({"redrivePermission": "denyAll"}%s))
    """
    project.write(program % "").up()
    assert not project.write(program % ", indent=4").up().changed


DEFINITION = """
definition = aws.batch.JobDefinition("job", type="container", container_properties=json.dumps(
    {"image": "IMAGE", "command": ["run"], "vcpus": 1, "memory": 64}), tags={"a": "TAG"})
aws.sqs.Queue("reader", tags={"definition": definition.arn})
pulumi.export("arn", definition.arn)
pulumi.export("revision", definition.revision)
pulumi.export("prefix", definition.arn_prefix)
"""


def test_a_changed_job_definition_is_a_new_revision_and_dependants_see_its_arn(project):
    first = project.write(DEFINITION.replace("IMAGE", "one")).up()
    assert first.outputs["revision"] == 1
    program = DEFINITION.replace("IMAGE", "two")
    preview = project.write(program).preview()
    assert (preview.outputs["arn"], preview.outputs["revision"]) == ("[unknown]", "[unknown]")
    second = project.engine().up()
    assert second.outputs["revision"] == 2
    assert second.outputs["arn"] == second.outputs["prefix"] + ":2"
    assert {change.action for change in second.changed} == {Action.UPDATED}
    batch = project.client("batch")
    status = {
        found["revision"]: found["status"]
        for found in batch.describe_job_definitions()["jobDefinitions"]
    }
    assert status == {1: "INACTIVE", 2: "ACTIVE"}
    sqs = project.client("sqs")
    (url,) = sqs.list_queues()["QueueUrls"]
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"]["definition"] == second.outputs["arn"]


def test_tags_of_a_job_definition_change_without_a_new_revision(project):
    program = DEFINITION.replace("IMAGE", "one")
    project.write(program).up()
    assert project.write(program.replace("TAG", "new")).up().outputs["revision"] == 1


NETWORK = """
vpc = aws.ec2.Vpc("net", cidr_block="CIDR")
subnet = aws.ec2.Subnet("net", vpc_id=vpc.id, cidr_block="10.1.1.0/24")
aws.sqs.Queue("reader", tags={"subnet": subnet.id})
pulumi.export("subnet", subnet.id)
"""


def test_a_replacement_makes_the_new_before_it_deletes_the_old_and_moves_dependants(project, done):
    old = project.write(NETWORK.replace("CIDR", "10.1.0.0/16")).up()
    done.clear()
    program = NETWORK.replace("CIDR", "10.1.0.0/17")
    preview = project.write(program).preview()
    new = project.engine().up()
    actions = {name: change.action for name, change in new.changes.items()}
    assert actions == {name: change.action for name, change in preview.changes.items()}
    assert actions[urn("aws:ec2/vpc:Vpc", "net")] is Action.REPLACED
    assert actions[urn(SUBNET, "net")] is Action.REPLACED
    assert actions[urn(QUEUE, "reader")] is Action.UPDATED
    assert done == [
        ("create", "net"),
        ("create", "net"),
        ("update", "reader"),
        ("delete", "net"),
        ("delete", "net"),
    ]
    subnets = project.client("ec2").describe_subnets(
        Filters=[{"Name": "cidr-block", "Values": ["10.1.1.0/24"]}]
    )["Subnets"]
    assert [found["SubnetId"] for found in subnets] == [new.outputs["subnet"]]
    assert old.outputs["subnet"] != new.outputs["subnet"]
    assert not project.engine().up().changed


def test_a_replacement_under_an_automatic_name_gets_a_new_name(project):
    program = (
        'g = aws.cloudwatch.LogGroup("logs", log_group_class="{}")\npulumi.export("name", g.id)'
    )
    old = project.write(program.format("STANDARD")).up()
    new = project.write(program.format("INFREQUENT_ACCESS")).up()
    assert new.outputs["name"] != old.outputs["name"]
    groups = project.client("logs").describe_log_groups()["logGroups"]
    assert [group["logGroupName"] for group in groups] == [new.outputs["name"]]


def test_under_the_same_explicit_name_the_old_goes_before_the_new_comes(project, done):
    program = 'aws.cloudwatch.LogGroup("logs", name="the-logs", log_group_class="{}")'
    project.write(program.format("STANDARD")).up()
    done.clear()
    summary = project.write(program.format("INFREQUENT_ACCESS")).up()
    assert summary.counts[Action.REPLACED] == 1
    assert done == [("delete", "logs"), ("create", "logs")]


def test_a_resource_with_a_new_explicit_name_is_made_before_the_old_goes(project, done):
    program = 'aws.sqs.Queue("work", name="{}")'
    project.write(program.format("one")).up()
    done.clear()
    project.write(program.format("two")).up()
    assert done == [("create", "work"), ("delete", "work")]


def test_delete_before_replace_takes_away_dependants_that_cannot_live_without(project, done):
    program = NETWORK.replace(
        'cidr_block="CIDR"',
        'cidr_block="CIDR", opts=pulumi.ResourceOptions(delete_before_replace=True)',
    )
    project.write(program.replace("CIDR", "10.1.0.0/16")).up()
    done.clear()
    text = program.replace("CIDR", "10.1.0.0/17")
    preview = project.write(text).preview()
    summary = project.engine().up()
    assert {name: change.action for name, change in summary.changes.items()} == {
        name: change.action for name, change in preview.changes.items()
    }
    assert summary.counts == {Action.REPLACED: 2, Action.UPDATED: 1, Action.UNCHANGED: 1}
    assert [verb for verb, _ in done] == ["delete", "delete", "create", "create", "update"]
    assert len(project.client("ec2").describe_vpcs()["Vpcs"]) == 2  # with the account's own


def test_replace_on_changes_replaces_for_a_property_that_could_be_updated(project):
    program = """
    aws.sqs.Queue("work", delay_seconds=%d,
        opts=pulumi.ResourceOptions(replace_on_changes=["delaySeconds"]))
    """
    project.write(program % 1).up()
    summary = project.write(program % 2).up()
    assert summary.changes[urn(QUEUE, "work")].action is Action.REPLACED


CHAIN = """
first = aws.sqs.Queue("first")
second = aws.sqs.Queue("second", tags={"after": first.name})
third = aws.sqs.Queue("third", opts=pulumi.ResourceOptions(depends_on=[second]))
fourth = aws.sqs.Queue("fourth", opts=pulumi.ResourceOptions(parent=third))
"""


def test_what_is_gone_from_the_program_is_deleted_dependants_first(project, done):
    project.write(CHAIN + 'aws.sqs.Queue("stays")').up()
    done.clear()
    program = 'aws.sqs.Queue("stays")'
    preview = project.write(program).preview()
    assert done == []
    summary = project.engine().up()
    assert summary.counts == preview.counts == {Action.UNCHANGED: 2, Action.DELETED: 4}
    assert [name for _, name in done] == ["fourth", "third", "second", "first"]


def test_destroy_deletes_dependants_first(project, done):
    project.write(CHAIN).up()
    done.clear()
    project.engine().destroy()
    assert [name for _, name in done] == ["fourth", "third", "second", "first"]


PROTECTED = """aws.cloudwatch.LogGroup("logs", log_group_class="{}",
    opts=pulumi.ResourceOptions(protect={}))"""


def test_a_protected_resource_is_not_deleted_nor_replaced_nor_destroyed(project):
    project.write(PROTECTED.format("STANDARD", True)).up()
    for attempt in (
        project.write("").up,
        project.write("").preview,
        project.engine().destroy,
        project.write(PROTECTED.format("INFREQUENT_ACCESS", True)).up,
    ):
        with pytest.raises(ProtectedError, match=r"protect=False, run up\(\) once"):
            attempt()
        assert len(project.client("logs").describe_log_groups()["logGroups"]) == 1
    project.write(PROTECTED.format("STANDARD", False)).up()
    assert project.write("").up().counts[Action.DELETED] == 1


def test_what_is_retained_on_delete_stays_in_the_cloud(project):
    text = 'aws.sqs.Queue("work", opts=pulumi.ResourceOptions(retain_on_delete=True))'
    project.write(text).up()
    assert project.write("").up().counts[Action.DELETED] == 1
    assert len(project.client("sqs").list_queues()["QueueUrls"]) == 1


@pytest.mark.parametrize(
    ("ignored", "changed"),
    [
        ("[]", ("delaySeconds", "tags")),
        ("['delaySeconds']", ("tags",)),
        ("['tags.owner', 'delaySeconds']", ()),
        ("['tags[\"owner\"]']", ("delaySeconds",)),
        ("['*']", ()),
    ],
)
def test_ignored_changes_are_not_made(project, ignored, changed):
    program = """
    aws.sqs.Queue("work", delay_seconds=%d, tags={"owner": "%s"},
        opts=pulumi.ResourceOptions(ignore_changes=IGNORED))
    """.replace("IGNORED", ignored)
    project.write(program % (1, "me")).up()
    summary = project.write(program % (2, "you")).up()
    assert summary.changes[urn(QUEUE, "work")].properties == changed


COMPONENT = """
class Pair(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("shop:stack:Pair", name, None, opts)
        self.queue = aws.sqs.Queue(f"{name}-a", opts=pulumi.ResourceOptions(parent=self))
"""


def test_a_renamed_resource_with_an_alias_is_the_same(project):
    project.write('aws.sqs.Queue("old")').up()
    options = 'opts=pulumi.ResourceOptions(aliases=[pulumi.Alias(name="old")])'
    summary = project.write(f'aws.sqs.Queue("new", {options})').up()
    assert summary.counts == {Action.UNCHANGED: 2}
    assert urn(QUEUE, "new") in summary.changes
    whole = f'opts=pulumi.ResourceOptions(aliases=["{urn(QUEUE, "new")}"])'
    assert not project.write(f'aws.sqs.Queue("newest", {whole})').up().changed


def test_children_of_a_renamed_component_inherit_its_alias(project):
    project.write(COMPONENT + 'Pair("old")').up()
    options = 'pulumi.ResourceOptions(aliases=[pulumi.Alias(name="old")])'
    summary = project.write(COMPONENT + f'Pair("new", {options})').up()
    assert summary.counts == {Action.UNCHANGED: 3}
    assert len(project.client("sqs").list_queues()["QueueUrls"]) == 1


def test_a_resource_that_moves_into_a_component_needs_an_alias_only(project):
    project.write('aws.sqs.Queue("both-a")').up()
    inside = COMPONENT.replace(
        "parent=self", "parent=self, aliases=[pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)]"
    )
    summary = project.write(inside + 'Pair("both")').up()
    assert summary.counts == {Action.UNCHANGED: 2, Action.CREATED: 1}


def test_dependants_of_an_aliased_resource_are_still_deleted_first(project, done):
    project.write(CHAIN).up()
    options = 'opts=pulumi.ResourceOptions(aliases=[pulumi.Alias(name="first")])'
    project.write(CHAIN.replace('aws.sqs.Queue("first"', f'aws.sqs.Queue("one", {options}')).up()
    done.clear()
    project.engine().destroy()
    assert [name for _, name in done] == ["fourth", "third", "second", "one"]


def test_a_deletion_that_the_cloud_refuses_is_tried_again_by_the_next_run(project):
    project.write('b = aws.s3.Bucket("data")\npulumi.export("name", b.id)').up()
    bucket = project.engine().outputs()["name"]
    project.client("s3").put_object(Bucket=bucket, Key="in-the-way", Body=b"")
    with pytest.raises(CloudError, match=f"Deleting aws:s3/bucket:Bucket 'data' .*{bucket}"):
        project.engine().destroy()
    project.client("s3").delete_object(Bucket=bucket, Key="in-the-way")
    assert project.engine().destroy().counts[Action.DELETED] == 2
    assert json.loads(project.state_file.read_text())["resources"] == []


def test_the_old_half_of_a_replacement_is_deleted_later_if_the_run_fails_before(project):
    project.write('aws.sqs.Queue("work", name="one")').up()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        project.write('aws.sqs.Queue("work", name="two").url.apply(lambda url: 1 / 0)').up()
    assert len(project.client("sqs").list_queues()["QueueUrls"]) == 2
    summary = project.write('aws.sqs.Queue("work", name="two")').up()
    assert not summary.changed
    assert len(project.client("sqs").list_queues()["QueueUrls"]) == 1
