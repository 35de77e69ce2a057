"""Running programs: preview, up, outputs, errors, and what a program sees around it."""

from __future__ import annotations

import json

import pytest

from local.engine import Action, CloudError, ProgramError, ProjectError, StateError
from local.engine.cloud import Cloud
from tests.engine.conftest import urn

QUEUE = "aws:sqs/queue:Queue"
TWO = """
dead = aws.sqs.Queue("dead")
queue = aws.sqs.Queue("work", visibility_timeout_seconds=60, redrive_policy=dead.arn.apply(
    lambda arn: json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})))
pulumi.export("url", queue.url)
pulumi.export("name", queue.name)
"""


def queues(project):
    return project.client("sqs").list_queues().get("QueueUrls", [])


def test_a_preview_makes_nothing_and_does_not_know_computed_outputs(project):
    engine = project.write(TWO)
    summary = engine.preview()
    assert summary.counts == {Action.CREATED: 3}
    assert summary.outputs == {"url": "[unknown]", "name": "[unknown]"}
    assert queues(project) == []
    assert not project.state_file.exists()


def test_up_creates_what_the_program_says_and_shows_its_outputs(project):
    engine = project.write(TWO)
    summary = engine.up()
    url = engine.outputs()["url"]
    assert summary.outputs == engine.outputs()
    assert url.rpartition("/")[2] == engine.outputs()["name"]
    attributes = project.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    assert attributes["Attributes"]["VisibilityTimeout"] == "60"
    assert json.loads(attributes["Attributes"]["RedrivePolicy"])["maxReceiveCount"] == 3


def test_an_automatic_name_is_the_logical_one_and_seven_hex_digits_and_stays(project):
    engine = project.write(TWO)
    engine.up()
    name = engine.outputs()["name"]
    stem, _, random = name.rpartition("-")
    assert stem == "work"
    assert len(random) == 7
    assert int(random, 16) >= 0
    project.write(TWO.replace("60", "90")).up()
    assert engine.outputs()["name"] == name


def test_a_second_up_of_forty_resources_calls_no_cloud(project, monkeypatch):
    program = """
    for number in range(40):
        aws.sqs.Queue(f"queue-{number}", tags={"number": str(number)}, delay_seconds=number)
    """
    project.write(program).up()
    before = project.state_file.read_bytes()

    def refuse(_cloud, service):
        pytest.fail(f"a client for {service} was asked for")

    monkeypatch.setattr(Cloud, "client", refuse)
    engine = project.engine()
    summary = engine.up()
    assert summary.counts == {Action.UNCHANGED: 41}
    assert project.state_file.read_bytes() == before


def test_destroy_leaves_nothing(project):
    engine = project.write(TWO)
    engine.up()
    summary = engine.destroy()
    assert summary.counts == {Action.DELETED: 3}
    assert queues(project) == []
    assert engine.outputs() == {}
    assert engine.destroy().counts == {}


def test_an_error_in_the_program_keeps_its_cause_and_what_was_made_before(project):
    engine = project.write(
        """
        queue = aws.sqs.Queue("work")
        def fail(url):
            raise LookupError("no such thing")
        queue.url.apply(fail)
        """
    )
    with pytest.raises(ProgramError, match="LookupError: no such thing") as caught:
        engine.up()
    assert isinstance(caught.value.__cause__, LookupError)
    assert len(queues(project)) == 1
    summary = project.write('aws.sqs.Queue("work")').up()
    assert summary.changes[urn(QUEUE, "work")].action is Action.UNCHANGED


def test_an_error_at_the_top_of_the_program_deletes_nothing(project):
    project.write(TWO).up()
    with pytest.raises(ProgramError, match="ZeroDivisionError"):
        project.write('aws.sqs.Queue("dead")\n1 / 0').up()
    assert len(queues(project)) == 2
    assert set(project.engine().outputs()) == {"url", "name"}


def test_after_a_create_that_fails_the_next_up_goes_on(project):
    program = """
    first = aws.sqs.Queue("first")
    table = aws.dynamodb.Table("second", hash_key=first.name.apply(lambda name: "KEY"),
        billing_mode="PAY_PER_REQUEST", attributes=[{"name": "id", "type": "S"}])
    aws.sqs.Queue("third", tags={"table": table.name})
    """
    with pytest.raises(CloudError, match=r"Creating aws:dynamodb/table:Table 'second' .*Valid"):
        project.write(program.replace("KEY", "other")).up()
    assert len(queues(project)) == 1
    summary = project.write(program.replace("KEY", "id")).up()
    assert summary.changes[urn(QUEUE, "first")].action is Action.UNCHANGED
    assert summary.changes[urn(QUEUE, "third")].action is Action.CREATED
    assert len(queues(project)) == 2


def test_what_was_made_but_not_settled_is_settled_by_the_next_up(project):
    program = """
    vpc = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16")
    aws.ec2.InternetGateway("net", vpc_id=VPC)
    """
    with pytest.raises(CloudError, match="Settling the properties"):
        project.write(program.replace("VPC", '"vpc-unknown"')).up()
    summary = project.write(program.replace("VPC", "vpc.id")).up()
    gateways = project.client("ec2").describe_internet_gateways()["InternetGateways"]
    assert len(gateways) == 1
    assert len(gateways[0]["Attachments"]) == 1
    change = summary.changes[urn("aws:ec2/internetGateway:InternetGateway", "net")]
    assert change.action is Action.UPDATED


def test_the_program_finds_its_folder_its_modules_and_its_settings(project):
    (project.folder / "beside.py").write_text("NAME = 'beside'\n")
    (project.folder / "data.txt").write_text("found")
    config = {"text": "words", "number": "3", "flag": "true", "list": "[1, {a: b}]"}
    engine = project.write(
        """
        import beside
        from pathlib import Path
        config = pulumi.Config()
        pulumi.export("all", [beside.NAME, Path("data.txt").read_text(), __name__,
            pulumi.get_project(), pulumi.get_stack(), config.require("text"),
            config.require_int("number"), config.require_bool("flag"),
            config.require_object("list")])
        """,
        config,
    )
    expected = ["beside", "found", "__main__", "shop", "dev", "words", 3, True, [1, {"a": "b"}]]
    assert engine.preview().outputs == {"all": expected}
    assert engine.up().outputs == {"all": expected}


def test_settings_given_to_the_engine_stand_above_those_of_the_file(project):
    project.write('pulumi.export("colour", pulumi.Config().require("colour"))', {"colour": "red"})
    assert project.engine(config={"shop:colour": "blue"}).up().outputs == {"colour": "blue"}


def test_functions_about_the_account_answer(project):
    engine = project.write(
        """
        pulumi.export("region", aws.get_region().region)
        pulumi.export("partition", aws.get_partition_output().partition)
        pulumi.export("account", aws.get_caller_identity().account_id)
        pulumi.export("zones", aws.get_availability_zones(state="available").names)
        """
    )
    outputs = engine.up().outputs
    assert outputs["region"] == "us-east-1"
    assert outputs["partition"] == "aws"
    assert outputs["account"] == "123456789012"
    assert outputs["zones"][:2] == ["us-east-1a", "us-east-1b"]


def test_a_resource_may_live_in_a_region_of_its_own(project):
    project.write('aws.sqs.Queue("far", region="eu-west-1")').up()
    assert queues(project) == []
    assert len(project.client("sqs", "eu-west-1").list_queues()["QueueUrls"]) == 1
    project.engine().destroy()
    assert project.client("sqs", "eu-west-1").list_queues().get("QueueUrls", []) == []


def test_components_are_recorded_and_children_carry_their_types(project):
    engine = project.write(
        """
        class Pair(pulumi.ComponentResource):
            def __init__(self, name):
                super().__init__("shop:stack:Pair", name)
                self.queue = aws.sqs.Queue(f"{name}-a", opts=pulumi.ResourceOptions(parent=self))
                self.register_outputs({"url": self.queue.url})
        Pair("both")
        """
    )
    summary = engine.up()
    child = "urn:pulumi:dev::shop::shop:stack:Pair$aws:sqs/queue:Queue::both-a"
    assert list(summary.changes) == [
        urn("pulumi:pulumi:Stack", "shop-dev"),
        urn("shop:stack:Pair", "both"),
        child,
    ]
    state = json.loads(project.state_file.read_text())
    component = state["resources"][1]
    assert component["outputs"]["url"] == state["resources"][2]["outputs"]["url"]
    assert engine.up().counts == {Action.UNCHANGED: 3}


@pytest.mark.parametrize(
    ("stack_file", "message"),
    [
        ("config: {'aws:region': us-east-1, 'shop:key': {secure: AAAB}}", "only the real CLI"),
        ("config: {'shop:key': 1}", "aws:region is not set"),
        ("config: {'aws:region': us-east-1, 'aws:defaultTags': {tags: {}}}", "aws:defaultTags"),
        ("config: [1]", "must be a mapping"),
        ("config: {", "is not YAML"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(project, stack_file, message):
    project.write("")
    (project.folder / "Pulumi.dev.yaml").write_text(stack_file)
    with pytest.raises(ProjectError, match=message):
        project.engine()


def test_a_project_of_another_runtime_is_refused(project):
    project.write("")
    (project.folder / "Pulumi.yaml").write_text("name: shop\nruntime: nodejs\n")
    with pytest.raises(ProjectError, match="only runtime python"):
        project.engine()


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 99}', '{"version": 1}'])
def test_a_state_file_that_cannot_be_read_is_refused_and_left_alone(project, content):
    engine = project.write("")
    project.state_file.parent.mkdir()
    project.state_file.write_text(content)
    with pytest.raises(StateError, match="Move it away"):
        engine.up()
    assert project.state_file.read_text() == content


def test_outputs_of_a_resource_made_in_an_earlier_run_are_known_in_a_preview(project):
    project.write(TWO).up()
    summary = project.write(TWO + 'aws.sqs.Queue("new", tags={"of": queue.name})').preview()
    assert summary.outputs == project.engine().outputs()
    assert summary.counts == {Action.UNCHANGED: 3, Action.CREATED: 1}
