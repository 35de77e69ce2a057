"""Secrets are never written in the clear."""

from __future__ import annotations

import json

import pytest

from local.engine import Action, UnsupportedError
from local.engine.steps import tainted
from tests.engine.conftest import urn

WORD = "correct-horse-battery"
PROGRAM = """
word = pulumi.Output.secret("WORD")
definition = aws.batch.JobDefinition("job", type="container",
    container_properties=word.apply(lambda text: json.dumps({"image": "busybox", "vcpus": 1,
        "memory": 64, "environment": [{"name": "PASSWORD", "value": text}]})))
alarm = aws.cloudwatch.MetricAlarm("quiet", comparison_operator="GreaterThanThreshold",
    evaluation_periods=1, metric_name="Depth", namespace="Shop", period=60, statistic="Sum",
    threshold=1, alarm_description=word,
    opts=pulumi.ResourceOptions(additional_secret_outputs=["arn"]))

class Holder(pulumi.ComponentResource):
    def __init__(self):
        super().__init__("shop:stack:Holder", "holder", {"word": word})
        self.register_outputs({"word": word})
Holder()
pulumi.export("word", word)
pulumi.export("arn", alarm.arn)
pulumi.export("container", definition.container_properties)
pulumi.export("same", pulumi.Output.unsecret(definition.container_properties).apply(
    lambda text: json.loads(text)["environment"][0]["value"] == "WORD"))
pulumi.export("known", pulumi.Output.unsecret(alarm.arn).apply(lambda arn: arn.split(":")[2]))
"""


def test_no_secret_is_in_the_state_file(project):
    engine = project.write(PROGRAM.replace("WORD", WORD))
    summary = engine.up()
    text = project.state_file.read_text()
    assert WORD not in text
    assert "PASSWORD" not in text
    assert summary.outputs["word"] == engine.outputs()["word"] == "[secret]"
    assert summary.outputs["container"] == "[secret]"
    assert summary.outputs["arn"] == "[secret]"
    resources = {record["urn"]: record for record in json.loads(text)["resources"]}
    alarm = resources[urn("aws:cloudwatch/metricAlarm:MetricAlarm", "quiet")]
    assert "arn" not in alarm["outputs"]
    engine.refresh()
    engine.up()
    assert WORD not in project.state_file.read_text()


def test_an_unchanged_secret_is_no_change_and_its_outputs_are_still_known(project):
    engine = project.write(PROGRAM.replace("WORD", WORD))
    engine.up()
    before = project.state_file.read_bytes()
    summary = engine.up()
    assert not summary.changed
    assert summary.outputs["same"] is True
    assert summary.outputs["known"] == "cloudwatch"
    assert project.state_file.read_bytes() == before


def test_a_changed_secret_is_an_update(project):
    project.write(PROGRAM.replace("WORD", WORD)).up()
    other = "quite-another-word"
    summary = project.write(PROGRAM.replace("WORD", other)).up()
    assert summary.counts[Action.UPDATED] == 2
    assert other not in project.state_file.read_text()
    (alarm,) = project.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert alarm["AlarmDescription"] == other


def test_an_output_under_another_name_that_repeats_a_secret_is_secret_too():
    inputs = {"policy": {"Id": WORD}, "delaySeconds": 1}
    outputs = {**inputs, "arn": f"arn:{WORD}", "map": {"k": [WORD]}, "url": "plain"}
    assert tainted(inputs, {"policy"}, outputs) == {"policy", "arn", "map"}


@pytest.mark.parametrize(
    "argument", ['name=pulumi.Output.secret("a")', 'tags={"a": pulumi.Output.secret("b")}']
)
def test_what_finds_a_resource_or_is_shown_to_all_cannot_be_secret(project, argument):
    with pytest.raises(UnsupportedError, match="cannot be secret"):
        project.write(f'aws.sqs.Queue("work", {argument})').up()
    assert not project.client("sqs").list_queues().get("QueueUrls")


def test_ignoring_changes_of_a_secret_is_refused(project):
    program = PROGRAM.replace("WORD", WORD)
    project.write(program).up()
    ignoring = program.replace(
        "ResourceOptions(", 'ResourceOptions(ignore_changes=["alarmDescription"], '
    )
    with pytest.raises(UnsupportedError, match="only its hash is kept"):
        project.write(ignoring).up()
