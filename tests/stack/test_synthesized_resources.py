"""Rules that hold for all resources of a kind, in every stack of the configurations."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stack.synthesized import configs, recording
from tests.stack.synthesized.recording import changed, listed, policies

ROOT = Path(__file__).resolve().parents[2]
TAGGED = {"taskpacks:stack", "taskpacks:owner", "taskpacks:deployment", "taskpacks:pack"}
# The first test that asks for a stack waits until it is recorded.
pytestmark = pytest.mark.timeout(300)


def unencrypted(recorded):
    return [
        each.name
        for each in recorded.of_type("aws:sqs/queue:Queue")
        if not (each.inputs.get("sqsManagedSseEnabled") or each.inputs.get("kmsMasterKeyId"))
    ]


def open_to_plain_http(recorded):
    """Queues, topics and buckets of the stack itself without a policy that refuses it."""
    refused = {
        resource
        for _, _, document in policies(recorded)
        for statement in document["Statement"]
        if statement["Effect"] == "Deny"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for resource in listed(statement["Resource"])
    }
    kinds = ("aws:sqs/queue:Queue", "aws:sns/topic:Topic", "aws:s3/bucket:Bucket")
    # A pack's own bucket is its own affair.
    made = [each for each in recorded.of_type(*kinds) if not each.name.endswith("-results")]
    return [each.name for each in made if each.outputs["arn"] not in refused]


def test_every_queue_is_encrypted_and_nothing_is_reached_without_tls(recorded):
    assert unencrypted(recorded) == []
    assert open_to_plain_http(recorded) == []


def test_a_queue_without_encryption_or_policy_is_found(smallest):
    bare = changed(smallest, "aws:sqs/queue:Queue", sqsManagedSseEnabled=None)
    assert len(unencrypted(bare)) == 1
    kind = "aws:sqs/queuePolicy:QueuePolicy"
    dropped = [each for each in smallest.registrations if each.type != kind]
    assert open_to_plain_http(replace(smallest, registrations=dropped))


ENCRYPTED_WITH = {
    "aws:sqs/queue:Queue": ("kmsMasterKeyId",),
    "aws:sns/topic:Topic": ("kmsMasterKeyId",),
    "aws:cloudwatch/logGroup:LogGroup": ("kmsKeyId",),
    "aws:dynamodb/table:Table": ("serverSideEncryption", "kmsKeyArn"),
    "aws:lambda/function:Function": ("kmsKeyArn",),
    "aws:ec2/launchTemplate:LaunchTemplate": ("blockDeviceMappings", 0, "ebs", "kmsKeyId"),
}
"""Types that store something -> where it says with which key."""
BUCKET = "aws:s3/bucket:Bucket"
BUCKET_ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
)
WITHOUT_KEY = {
    "aws:ecr/repository:Repository": "code, and ECR cannot change the key of a repository",
    "aws:ssm/parameter:Parameter": "addresses only: of type String, which has no key",
    "aws:sfn/stateMachine:StateMachine": "names and figures of decisions only",
}
"""Types that store something under a key of AWS's -> why, as in the table in docs/security.md."""


def at(inputs, path):
    for part in path:
        inputs = inputs.get(part) if isinstance(inputs, dict) else inputs[part]
        if inputs is None:
            return None
    return inputs


def not_under_the_operators_key(recorded):
    found = [
        each.name
        for kind, path in ENCRYPTED_WITH.items()
        for each in recorded.of_type(kind)
        if at(each.inputs, path) != configs.KEY
    ]
    rule = ("rules", 0, "applyServerSideEncryptionByDefault", "kmsMasterKeyId")
    encrypted = {
        each.inputs["bucket"]
        for each in recorded.of_type(BUCKET_ENCRYPTION)
        if at(each.inputs, rule) == configs.KEY
    }
    made = recorded.of_type(BUCKET)
    return found + [each.name for each in made if each.inputs["bucket"] not in encrypted]


WITH_KEY = ["a key of your own, NAT, everything overridden", "endpoints for everything"]


@pytest.mark.parametrize("name", WITH_KEY)
def test_the_operators_key_is_used_for_all_that_is_stored(recorded_of, name):
    recorded = recorded_of(name)
    assert not_under_the_operators_key(recorded) == []
    assert not recorded.of_type("aws:kms/key:Key")


@pytest.mark.parametrize(("kind", "path"), ENCRYPTED_WITH.items())
def test_what_is_stored_without_the_operators_key_is_found(recorded_of, kind, path):
    bare = changed(recorded_of("endpoints for everything"), kind, **{path[0]: None})
    assert len(not_under_the_operators_key(bare)) == 1


def test_a_bucket_without_the_operators_key_is_found(recorded_of):
    recorded = recorded_of("endpoints for everything")
    kept = [each for each in recorded.registrations if each.type != BUCKET_ENCRYPTION]
    bare = not_under_the_operators_key(replace(recorded, registrations=kept))
    assert set(bare) == {"data-bucket", "pi-results"}


def arguments_of(kind):
    """The provider's own arguments of a type, by their Python names."""
    package, _, name = kind.removeprefix("aws:").partition("/")
    module = importlib.import_module(f"pulumi_aws.{'lambda_' if package == 'lambda' else package}")
    arguments = getattr(module, f"{name.partition(':')[2]}Args", None)
    return set(inspect.signature(arguments).parameters) if arguments else set()


def test_whatever_takes_a_key_is_given_one_or_has_a_reason(recorded_of):
    """A new kind of resource that stores something fails here until somebody decides."""
    keys = {"kms_key_arn", "kms_key_id", "kms_master_key_id", "server_side_encryption",
            "encryption_configuration", "encryption_configurations", "key_id"}  # fmt: skip
    kinds = {each.type for name in WITH_KEY for each in recorded_of(name).registrations}
    storing = {kind for kind in kinds if keys & arguments_of(kind)}
    assert storing <= {*ENCRYPTED_WITH, BUCKET, BUCKET_ENCRYPTION, *WITHOUT_KEY}
    assert set(WITHOUT_KEY) <= storing


def test_nothing_comes_in_to_workers(recorded):
    for rule in recorded.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        assert rule.name == "network-endpoints"
        assert rule.inputs["referencedSecurityGroupId"]
    for group in recorded.of_type("aws:ec2/securityGroup:SecurityGroup"):
        assert "ingress" not in group.inputs


def test_only_egress_public_gives_workers_addresses_of_their_own(recorded_of):
    for name, config in configs.CONFIGS.items():
        public = config.get("taskpacks:egress") == "public"
        for subnet in recorded_of(name).of_type("aws:ec2/subnet:Subnet"):
            assert subnet.inputs["mapPublicIpOnLaunch"] == public


def test_a_network_of_ones_own_is_left_as_it_is(recorded_of):
    recorded = recorded_of("EC2 in subnets of your own, images built")
    assert not [each for each in recorded.registrations if each.type.startswith("aws:vpc/")]
    assert not recorded.of_type("aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet")


def test_an_image_is_built_for_each_pack_and_architecture(recorded_of):
    recorded = recorded_of("EC2 in subnets of your own, images built")
    images = recorded.of_type(recording.BuiltImage.resource_type)
    assert {each.name for each in images} == {
        "images-video_encoding-x86_64",
        "images-csv_sort-arm64",
    }
    for image in images:
        assert image.inputs["push"] is True
        (tag,) = image.inputs["tags"]
        pack = image.inputs["buildArgs"]["PACK"]
        assert f":{pack}-" in tag
        (cached_from,) = image.inputs["cacheFrom"]
        (cached_to,) = image.inputs["cacheTo"]
        assert cached_to["registry"]["ref"] == cached_from["registry"]["ref"]
        assert cached_to["registry"]["ref"] == f"{tag.rpartition('-')[0]}-cache"
        assert cached_to["registry"]["imageManifest"] is True
        context = ROOT / image.inputs["context"]["location"]
        assert {each.name for each in (context / "taskpacks").iterdir() if each.is_dir()} == {pack}
        assert image.inputs["dockerfile"]["location"].startswith(
            image.inputs["context"]["location"]
        )
        assert tag.endswith(context.name.removeprefix(pack))
    platforms = {image.inputs["platforms"][0] for image in images}
    assert platforms == {"linux/amd64", "linux/arm64"}
    definitions = recorded.of_type("aws:batch/jobDefinition:JobDefinition")
    for each in definitions:
        image = json.loads(each.inputs["containerProperties"])["image"]
        assert re.fullmatch(r"[^:]+@sha256:[0-9a-f]{64}", image)  # ECS documents no tag beside it
    (repository,) = recorded.of_type("aws:ecr/repository:Repository")
    assert repository.inputs["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"


def untagged(recorded, wanted):
    return [
        f"{each.name} ({each.type})"
        for each in recorded.registrations
        if "tags" in each.inputs
        if each.type.startswith("aws:") and not wanted(each) <= set(each.inputs["tags"])
    ]


def wanted_tags(each):
    deployments = configs.CONFIGS["a key of your own, NAT, everything overridden"]
    of_deployment = any(each.name.startswith(f"{name}-") for name in deployments["taskpacks:packs"])
    return TAGGED if of_deployment else {"taskpacks:stack", "taskpacks:owner"}


def test_everything_that_takes_tags_says_whose_it_is(recorded_of):
    recorded = recorded_of("a key of your own, NAT, everything overridden")
    tagged = {each.type for each in recorded.registrations if "tags" in each.inputs}
    assert len(tagged) > 20
    assert untagged(recorded, wanted_tags) == []
    bare = changed(recorded, "aws:sqs/queue:Queue", tags={"taskpacks:stack": "test"})
    assert len(untagged(bare, wanted_tags)) == 1


def test_instances_and_running_tasks_carry_the_tags_too(recorded_of):
    recorded = recorded_of("EC2 in subnets of your own, images built")
    wanted = {"taskpacks:stack", "taskpacks:deployment", "taskpacks:pack"}
    environments = recorded.of_type("aws:batch/computeEnvironment:ComputeEnvironment")
    for each in environments:
        assert set(each.inputs["computeResources"]["tags"]) == wanted
    for each in recorded.of_type("aws:batch/jobDefinition:JobDefinition"):
        assert each.inputs["propagateTags"] is True


def test_fargate_has_no_instances_to_tag(recorded_of):
    recorded = recorded_of("public, with machines of all kinds")
    for each in recorded.of_type("aws:batch/computeEnvironment:ComputeEnvironment"):
        if each.inputs["computeResources"]["type"].startswith("FARGATE"):
            assert "tags" not in each.inputs["computeResources"]


def test_the_packs_own_resources_are_tagged_too(recorded_of):
    recorded = recorded_of("as little as possible")
    (bucket,) = [each for each in recorded.of_type("aws:s3/bucket:Bucket") if "pi-" in each.name]
    assert bucket.inputs["tags"]["taskpacks:deployment"] == "pi"


def test_the_producer_document_lies_in_a_parameter_with_every_queue(recorded_of):
    recorded = recorded_of("a key of your own, NAT, everything overridden")
    (parameter,) = [
        each
        for each in recorded.of_type("aws:ssm/parameter:Parameter")
        if each.name == "producer-document"
    ]
    document = json.loads(parameter.inputs["value"])
    queues = document["broker_transport_options"]["predefined_queues"]
    assert set(queues) == {"pi-urgent", "pi"}
    assert document["task_routes"] == {
        "shop.pi.*": {"queue": "pi-urgent"},
        "pi.*": {"queue": "pi"},
    }


def test_applications_may_have_the_policy_of_one_deployment_or_of_all(recorded_of):
    recorded = recorded_of("a key of your own, NAT, everything overridden")
    receivers = {
        policy.name: {
            arn.rpartition(":")[2]
            for statement in json.loads(policy.inputs["policy"])["Statement"]
            if "sqs:SendMessage" in statement["Action"]
            for arn in statement["Resource"]
        }
        for policy in recorded.of_type("aws:iam/policy:Policy")
    }
    queues = {
        each.name.removesuffix("-tasks"): each.outputs["name"]
        for each in recorded.of_type("aws:sqs/queue:Queue")
        if each.name.endswith("-tasks")
    }
    assert set(queues) == {"pi", "pi-urgent"}
    assert receivers == {
        "producer-policy": set(queues.values()),
        "pi-producer": {queues["pi"]},
        "pi-urgent-producer": {queues["pi-urgent"]},
    }


def test_people_are_told_of_a_message_that_waits_for_too_long(recorded):
    alarms = {
        each.name: each.inputs
        for each in recorded.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
    }
    served = [each.removesuffix("-age") for each in alarms if each.endswith("-age")]
    assert served
    for name in served:
        late, wakes = alarms[f"{name}-late"], alarms[f"{name}-age"]
        assert late["metricQueries"] == wakes["metricQueries"]
        assert late["threshold"] > wakes["threshold"]
        assert late["evaluationPeriods"] == 5
        assert late["alarmActions"] == late["okActions"] != []


def test_people_are_told_of_dead_letters_failed_rules_and_blocked_jobs(smallest):
    (topic,) = smallest.of_type("aws:sns/topic:Topic")
    told = {
        each.name
        for each in smallest.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
        if each.inputs.get("alarmActions") == [topic.outputs["arn"]]
    }
    for name in ("pi", "csv_sort", "video_encoding"):
        assert {f"{name}-{what}" for what in ("dead-letters", "failed-invocations", "late")} <= told
    blocked = [
        each
        for each in smallest.of_type("aws:cloudwatch/eventTarget:EventTarget")
        if each.inputs["arn"] == topic.outputs["arn"]
    ]
    assert {each.name for each in blocked} == {
        f"{name}-blocked" for name in ("pi", "csv_sort", "video_encoding")
    }
