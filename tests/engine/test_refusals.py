"""The engine's refusals: always before anything is made, always with the remedy."""

from __future__ import annotations

import pytest

from local.engine import Action, CloudError, DuplicateUrnError, UnsupportedError

COMPUTE = """
aws.batch.ComputeEnvironment("work", type="MANAGED", compute_resources={"type": "FARGATE",
    "max_vcpus": 1, "subnets": [], "instanceRoles": "a"})
"""


def test_a_duplicate_urn_is_refused_by_name(project):
    engine = project.write('aws.sqs.Queue("work")\naws.sqs.Queue("work")')
    with pytest.raises(DuplicateUrnError, match="type aws:sqs/queue:Queue, name 'work'"):
        engine.up()
    with pytest.raises(DuplicateUrnError):
        engine.preview()


def test_a_type_without_a_handler_is_refused_with_the_nearest_and_all_known_ones(project):
    engine = project.write('aws.cloudwatch.EventArchive("work", event_source_arn="arn")')
    with pytest.raises(
        UnsupportedError, match="aws:cloudwatch/eventArchive:EventArchive"
    ) as caught:
        engine.preview()
    assert "Did you mean 'aws:cloudwatch/event" in str(caught.value)
    assert "aws:sqs/queue:Queue" in str(caught.value)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            'aws.sqs.Queue("work", name_prefix="a")',
            r"aws:sqs/queue:Queue 'work': .* the property 'namePrefix'.* Known: delaySeconds",
        ),
        (
            COMPUTE,
            "the property 'computeResources.instanceRoles'.* Did you mean 'instanceRole'",
        ),
    ],
)
def test_an_unknown_property_is_refused_with_the_nearest_known_one(project, program, message):
    with pytest.raises(UnsupportedError, match=message):
        project.write(program).preview()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ('import_="https://queue"', "'import_' cannot be honoured"),
        ("deleted_with=first", "'deleted_with' cannot be honoured"),
        ("replace_with=[first]", "'replace_with' cannot be honoured"),
        ('replacement_trigger="a"', "'replacement_trigger' cannot be honoured"),
    ],
)
def test_an_option_that_is_not_honoured_is_refused(project, option, message):
    engine = project.write(
        f"""
        first = aws.sqs.Queue("first")
        aws.sqs.Queue("work", opts=pulumi.ResourceOptions({option}))
        """
    )
    with pytest.raises(UnsupportedError, match=message):
        engine.up()


def test_replace_on_changes_inside_a_property_is_refused(project):
    options = 'opts=pulumi.ResourceOptions(replace_on_changes=["tags.a"])'
    project.write(f'aws.sqs.Queue("work", {options})').up()
    with pytest.raises(UnsupportedError, match="replace_on_changes can name whole properties"):
        project.engine().up()


def test_a_property_path_with_a_wildcard_inside_is_refused(project):
    program = 'aws.sqs.Queue("w", opts=pulumi.ResourceOptions(ignore_changes=["tags[*].a"]))'
    project.write(program).up()
    with pytest.raises(UnsupportedError, match=r"path 'tags\[\*\].a' cannot be honoured"):
        project.engine().up()


def test_a_provider_of_ones_own_is_refused(project):
    with pytest.raises(UnsupportedError, match=r"provider 'mine' .* config key aws:region"):
        project.write('aws.Provider("mine", region="eu-west-1")').up()


@pytest.mark.parametrize(
    "program",
    ['aws.sqs.Queue.get("work", "https://queue")', 'pulumi.StackReference("other")'],
)
def test_reading_what_the_stack_did_not_make_is_refused(project, program):
    with pytest.raises(UnsupportedError, match="holds only what this stack makes"):
        project.write(program).up()


def test_an_unknown_function_is_refused_with_the_known_ones(project):
    with pytest.raises(UnsupportedError, match=r"getCallerIdentity"):
        project.write('aws.sqs.get_queue(name="work")').up()


def test_assets_are_refused_where_plain_data_belongs(project):
    program = 'aws.sqs.Queue("work", tags={"a": pulumi.StringAsset("text")})'
    with pytest.raises(UnsupportedError, match="cannot hold assets or archives"):
        project.write(program).up()


def test_an_alias_cannot_change_what_a_resource_is(project):
    project.write('aws.sqs.Queue("work")').up()
    old = "urn:pulumi:dev::shop::aws:sqs/queue:Queue::work"
    options = f'opts=pulumi.ResourceOptions(aliases=["{old}"])'
    with pytest.raises(UnsupportedError, match="would turn a aws:sqs/queue:Queue into"):
        project.write(f'aws.cloudwatch.LogGroup("work", {options})').up()


def test_after_the_first_error_nothing_more_is_made(project):
    engine = project.write(
        """
        first = aws.sqs.Queue("first", name="no spaces allowed!")
        for number in range(30):
            aws.sqs.Queue(f"more-{number}", opts=pulumi.ResourceOptions(depends_on=[first]))
        """
    )
    with pytest.raises(CloudError, match="Creating aws:sqs/queue:Queue 'first'"):
        engine.up()
    assert project.client("sqs").list_queues().get("QueueUrls", []) == []


def test_options_that_mean_nothing_here_are_let_through(project):
    program = """
    aws.sqs.Queue("work", opts=pulumi.ResourceOptions(version="7.0.0", hide_diffs=["tags"],
        custom_timeouts=pulumi.CustomTimeouts(create="5m")))
    pulumi.log.warn("words")
    """
    assert project.write(program).up().counts == {Action.CREATED: 2}
