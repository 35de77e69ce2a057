"""The provider plug-in: the script as a process, spoken to as the real engine speaks to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2

from local.engine import wire
from local.engine.assets import _ARCHIVE as ARCHIVE
from local.engine.assets import SIGNATURE
from tests.engine.conftest import SESSION

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "local" / "provider" / "pulumi-resource-aws"
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
QUEUE = "aws:sqs/queue:Queue"
SECRET = wire._SECRET
SOME = provider_pb2.DiffResponse.DIFF_SOME
NONE = provider_pb2.DiffResponse.DIFF_NONE


@pytest.fixture(scope="module")
def port():
    plugin = subprocess.Popen(
        [SCRIPT, "127.0.0.1:1"],  # where an engine would listen for logs
        env={**os.environ, "TASKPACKS_PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        text=True,
    )
    yield int(plugin.stdout.readline())
    plugin.send_signal(signal.SIGTERM)
    assert plugin.wait(timeout=20) == 0
    assert plugin.stdout.read() == ""  # the engine reads one line: nothing else may be printed
    plugin.stdout.close()


def struct(values):
    made = struct_pb2.Struct()
    made.update(values)
    return made


def secret(value):
    return {SIGNATURE: SECRET, "value": value}


class Life:
    """One resource, with what an engine keeps of it from call to call."""

    def __init__(self, stub, kind, name):
        self.stub = stub
        self.urn = f"urn:pulumi:dev::shop::{kind}::{name}"
        self.id = ""
        self.inputs = struct_pb2.Struct()
        self.outputs = struct_pb2.Struct()

    @property
    def shown(self):
        return wire.decode(self.outputs, subject="test").values

    def check(self, created=False, seed=b"seed", **program):
        return self.stub.Check(
            provider_pb2.CheckRequest(
                urn=self.urn,
                olds=None if created else self.inputs,
                news=struct(program),
                randomSeed=seed,
            )
        )

    def checked(self, **program):
        answer = self.check(**program)
        assert not answer.failures
        return answer.inputs

    def diff(self, news, ignore=()):
        return self.stub.Diff(
            provider_pb2.DiffRequest(
                id=self.id,
                urn=self.urn,
                olds=self.outputs,
                news=news,
                old_inputs=self.inputs,
                ignoreChanges=ignore,
            )
        )

    def create(self, preview=False, **program):
        inputs = self.checked(**program)
        answer = self.stub.Create(
            provider_pb2.CreateRequest(urn=self.urn, properties=inputs, preview=preview)
        )
        if not preview:
            self.id, self.inputs, self.outputs = answer.id, inputs, answer.properties
        return answer

    def update(self, preview=False, **program):
        inputs = self.checked(**program)
        answer = self.stub.Update(
            provider_pb2.UpdateRequest(
                id=self.id,
                urn=self.urn,
                olds=self.outputs,
                news=inputs,
                old_inputs=self.inputs,
                preview=preview,
            )
        )
        if not preview:
            self.inputs, self.outputs = inputs, answer.properties
        return answer

    def read(self):
        return self.stub.Read(
            provider_pb2.ReadRequest(
                id=self.id, urn=self.urn, properties=self.outputs, inputs=self.inputs
            )
        )

    def delete(self):
        self.stub.Delete(
            provider_pb2.DeleteRequest(
                id=self.id, urn=self.urn, properties=self.outputs, old_inputs=self.inputs
            )
        )


@pytest.fixture
def plugin(port, endpoint):
    with grpc.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]
    ) as channel:
        stub = provider_pb2_grpc.ResourceProviderStub(channel)
        settings = struct(
            {"region": "us-east-1", "endpoints": json.dumps([{"sqs": endpoint}]), "version": "7"}
        )
        answer = stub.CheckConfig(provider_pb2.CheckRequest(news=settings))
        assert (answer.inputs, list(answer.failures)) == (settings, [])
        ready = stub.Configure(provider_pb2.ConfigureRequest(args=settings, acceptSecrets=True))
        assert ready.acceptSecrets
        assert ready.supportsPreview

        def client(service):
            return SESSION.client(
                service,
                region_name="us-east-1",
                endpoint_url=endpoint,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )

        yield SimpleNamespace(
            stub=stub, client=client, life=lambda kind, name: Life(stub, kind, name)
        )


def test_a_queue_lives_through_everything_that_an_engine_does_with_it(plugin):
    queue = plugin.life(QUEUE, "work")
    preview = queue.create(preview=True, delaySeconds=5)
    assert preview.id == ""
    assert "arn" not in preview.properties  # so that programs see it as unknown
    queue.create(delaySeconds=5)
    name = queue.shown["name"]
    assert re.fullmatch(r"work-[0-9a-f]{7}", name)
    assert preview.properties["name"] == name  # the same seed
    assert queue.shown["arn"].endswith(f":{name}")
    assert queue.shown["url"] == queue.id == queue.shown["id"]

    read = queue.read()
    assert (read.id, read.properties, read.inputs) == (queue.id, queue.outputs, queue.inputs)

    same = queue.checked(delaySeconds=5, seed=b"another")
    assert same["name"] == name
    assert queue.diff(same).changes == NONE

    other = queue.checked(delaySeconds=6)
    difference = queue.diff(other)
    assert (difference.changes, list(difference.diffs)) == (SOME, ["delaySeconds"])
    assert not difference.replaces
    assert queue.diff(other, ignore=["delaySeconds"]).changes == NONE

    assert queue.update(preview=True, delaySeconds=6).properties["delaySeconds"] == 6
    assert queue.read().properties["delaySeconds"] == 5
    queue.update(delaySeconds=6)
    assert queue.shown["delaySeconds"] == 6
    assert queue.read().properties["delaySeconds"] == 6

    replaced = queue.diff(queue.checked(delaySeconds=6, region="eu-west-1"))
    assert list(replaced.replaces) == ["region"]
    assert not replaced.deleteBeforeReplace
    fresh = queue.check(created=True, seed=b"third", region="eu-west-1").inputs["name"]
    assert re.fullmatch(r"work-[0-9a-f]{7}", fresh)
    assert fresh != name

    queue.delete()
    assert queue.read().id == ""
    queue.delete()  # as after a run that was broken off
    assert "QueueUrls" not in plugin.client("sqs").list_queues()


def test_what_was_changed_behind_the_stack_is_in_the_inputs_that_a_refresh_sees(plugin):
    queue = plugin.life(QUEUE, "work")
    queue.create(delaySeconds=5)
    plugin.client("sqs").set_queue_attributes(
        QueueUrl=queue.id, Attributes={"DelaySeconds": "9", "VisibilityTimeout": "77"}
    )
    read = queue.read()
    queue.inputs, queue.outputs = read.inputs, read.properties
    assert queue.shown["delaySeconds"] == 9
    difference = queue.diff(queue.checked(delaySeconds=5))
    assert sorted(difference.diffs) == ["delaySeconds", "visibilityTimeoutSeconds"]
    queue.update(delaySeconds=5)
    found = plugin.client("sqs").get_queue_attributes(QueueUrl=queue.id, AttributeNames=["All"])
    assert found["Attributes"]["DelaySeconds"] == "5"
    assert found["Attributes"]["VisibilityTimeout"] == "30"


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (
            "aws:dynamodb/table:Table",
            {
                "attributes": [{"name": "id", "type": "S"}],
                "billingMode": "PAY_PER_REQUEST",
                "hashKey": "id",
                "serverSideEncryption": {"enabled": True, "kmsKeyArn": KEY},
            },
        ),
        (QUEUE, {"kmsMasterKeyId": KEY}),
        ("aws:cloudwatch/logGroup:LogGroup", {"kmsKeyId": KEY}),
        ("aws:sns/topic:Topic", {"kmsMasterKeyId": KEY}),
    ],
)
def test_a_key_of_the_operators_is_still_there_after_a_refresh(plugin, kind, inputs):
    made = plugin.life(kind, "stored")
    made.create(**inputs)
    before = made.shown
    made.outputs = made.read().properties
    assert {name: made.shown[name] for name in inputs} == {name: before[name] for name in inputs}
    assert KEY in json.dumps(made.shown)


def definition(image):
    container = {"image": image, "command": ["run"], "vcpus": 1, "memory": 64}
    return {"type": "container", "containerProperties": json.dumps(container)}


def test_a_job_definitions_new_revision_is_its_new_id(plugin):
    job = plugin.life("aws:batch/jobDefinition:JobDefinition", "job")
    job.create(**definition("one"))
    assert (job.shown["revision"], job.shown["arn"]) == (1, job.id)
    preview = job.update(preview=True, **definition("two")).properties
    assert not {"arn", "revision", "id"} & set(preview)
    job.update(**definition("two"))
    assert job.shown["arn"] == job.shown["arnPrefix"] + ":2" == job.shown["id"]
    assert job.id.endswith(":1")  # the protocol has no way to tell an engine otherwise
    assert job.read().properties["revision"] == 2
    job.update(**definition("three"))
    job.delete()
    batch = plugin.client("batch")
    assert not batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]


def test_an_archive_is_compared_by_the_hash_that_the_engine_gives(plugin, tmp_path):
    """Old ones come with it alone: the engine leaves contents out where nothing is written."""
    trust = {"Effect": "Allow", "Principal": {"Service": "x.com"}, "Action": "sts:AssumeRole"}
    role = plugin.life("aws:iam/role:Role", "role")
    role.create(assumeRolePolicy=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))
    (tmp_path / "m.py").write_text("one = 1")

    def settings(digest, **content):
        code = {SIGNATURE: ARCHIVE, "hash": digest, **content}
        return {"role": role.shown["arn"], "runtime": "python3.13", "handler": "m.f", "code": code}

    function = plugin.life("aws:lambda/function:Function", "it")
    function.create(**settings("1" * 64, path=str(tmp_path)))
    kept = settings("1" * 64)
    function.inputs.update({"code": kept["code"]})
    assert function.diff(function.checked(**kept)).changes == NONE
    assert list(function.diff(function.checked(**settings("2" * 64))).diffs) == ["code"]
    assert function.read().id == function.id
    function.delete()
    role.delete()


def test_an_archive_without_content_and_hash_is_refused_by_name(plugin):
    function = plugin.life("aws:lambda/function:Function", "it")
    error = refused(function.check, code={SIGNATURE: ARCHIVE})
    assert "property 'code'" in error.details()
    assert "neither content nor a hash" in error.details()


def test_unknown_inputs_of_a_preview_are_passed_on_and_count_as_changes(plugin):
    queue = plugin.life(QUEUE, "work")
    preview = queue.create(preview=True, tags={"of": wire.UNKNOWN}, delaySeconds=wire.UNKNOWN)
    assert preview.properties["delaySeconds"] == wire.UNKNOWN
    queue.create(delaySeconds=5)
    difference = queue.diff(queue.checked(delaySeconds=wire.UNKNOWN))
    assert list(difference.diffs) == ["delaySeconds"]


def test_secrets_stay_marked_wherever_they_turn_up(plugin):
    parameter = plugin.life("aws:ssm/parameter:Parameter", "key")
    inputs = parameter.checked(type="SecureString", value=secret("hush"))
    assert inputs["value"][SIGNATURE] == SECRET
    parameter.create(type="SecureString", value=secret("hush"), description="about hush")
    assert parameter.outputs["value"]["value"] == "hush"
    for name, value in parameter.outputs.items():
        marked = isinstance(value, struct_pb2.Struct) and SIGNATURE in value
        assert marked or "hush" not in str(value), name
    assert parameter.read().properties["value"][SIGNATURE] == SECRET
    changed = parameter.checked(type="SecureString", value=secret("new"), description="about hush")
    assert list(parameter.diff(changed).diffs) == ["value"]
    preview = parameter.update(preview=True, type="SecureString", value=secret("new"))
    assert preview.properties["value"][SIGNATURE] == SECRET
    assert (
        plugin.client("ssm").get_parameter(Name=parameter.id, WithDecryption=True)["Parameter"][
            "Value"
        ]
        == "hush"
    )


def test_the_same_explicit_name_is_given_up_before_it_is_used_again(plugin):
    group = plugin.life("aws:cloudwatch/logGroup:LogGroup", "log")
    group.create(name="the-log", logGroupClass="STANDARD")
    difference = group.diff(group.checked(name="the-log", logGroupClass="INFREQUENT_ACCESS"))
    assert list(difference.replaces) == ["logGroupClass"]
    assert difference.deleteBeforeReplace
    renamed = group.diff(group.checked(name="new-log", logGroupClass="STANDARD"))
    assert list(renamed.replaces) == ["name"]
    assert not renamed.deleteBeforeReplace


def test_a_role_and_what_stands_in_it(plugin):
    may = {
        "Effect": "Allow",
        "Principal": {"Service": "batch.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    trust = json.dumps({"Version": "2012-10-17", "Statement": [may]})
    role = plugin.life("aws:iam/role:Role", "role")
    role.create(assumeRolePolicy=trust)
    inside = plugin.life("aws:iam/rolePolicy:RolePolicy", "inside")
    allowed = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    inside.create(role=role.shown["name"], policy=policy)
    reworded = inside.checked(role=role.shown["name"], policy=policy.replace(" ", ""))
    assert inside.diff(reworded).changes == NONE
    inside.delete()
    role.delete()
    assert not plugin.client("iam").list_roles()["Roles"]


def test_an_unknown_property_is_refused_by_the_check_with_the_nearest_known_one(plugin):
    (failure,) = plugin.life(QUEUE, "work").check(delaySecond=5).failures
    assert "does not know the property 'delaySecond'" in failure.reason
    assert "Did you mean 'delaySeconds'?" in failure.reason


def refused(call, *arguments, **named):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **named)
    return caught.value


def test_an_unknown_type_is_refused_by_name(plugin):
    (failure,) = plugin.life("aws:sqs/queue:Quueue", "work").check().failures
    assert "Did you mean 'aws:sqs/queue:Queue'?" in failure.reason


def test_what_the_cloud_refuses_comes_back_in_its_own_words(plugin):
    parameter = {"name": "/one", "type": "String", "insecureValue": "1"}
    plugin.life("aws:ssm/parameter:Parameter", "one").create(**parameter)
    error = refused(plugin.life("aws:ssm/parameter:Parameter", "two").create, **parameter)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details().startswith("Creating aws:ssm/parameter:Parameter 'two': ")
    assert "ParameterAlreadyExists" in error.details()


def test_a_resource_that_is_made_and_not_finished_is_told_of_with_its_id(plugin):
    bucket = plugin.life("aws:s3/bucket:Bucket", "data")
    error = refused(bucket.create, tags={"aws:reserved": "not ours"})
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    made = provider_pb2.ErrorResourceInitFailed()
    assert status.details[0].Unpack(made)
    assert made.id
    assert "aws:" in made.reasons[0]
    assert [each["Name"] for each in plugin.client("s3").list_buckets()["Buckets"]] == [made.id]
    # As an engine goes on: it updates what it knows of.
    bucket.id, bucket.inputs, bucket.outputs = made.id, made.inputs, made.properties
    bucket.update(tags={"ours": "yes"})
    assert bucket.shown["arn"] == f"arn:aws:s3:::{made.id}"


def test_importing_is_refused_with_the_way_on(plugin):
    queue = plugin.life(QUEUE, "work")
    queue.id = "http://somewhere"
    assert "cannot be imported or read with get() here" in refused(queue.read).details()


def test_functions_are_answered_and_unknown_ones_refused(plugin):
    def ask(token, **arguments):
        request = provider_pb2.InvokeRequest(tok=token, args=struct(arguments))
        return getattr(plugin.stub.Invoke(request), "return")

    assert ask("aws:index/getRegion:getRegion")["region"] == "us-east-1"
    identity = "aws:index/getCallerIdentity:getCallerIdentity"
    assert ask(identity)["accountId"] == "123456789012"
    assert "is not known to the local cloud" in refused(ask, "aws:s3/getBucket:getBucket").details()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"endpoints": '[{"sqs": "http://127.0.0.1:1"}]'}, "aws:region is not set"),
        ({"region": "us-east-1"}, "for each of batch, iam, s3 and sqs: "),
    ],
)
def test_settings_that_lead_nowhere_or_to_aws_are_refused(plugin, settings, said):
    request = provider_pb2.CheckRequest(news=struct(settings))
    (failure,) = plugin.stub.CheckConfig(request).failures
    assert said in failure.reason


def test_another_region_is_another_provider_and_another_address_is_not(plugin):
    def diff(**changes):
        old = {"region": "us-east-1", "endpoints": "[]"}
        return plugin.stub.DiffConfig(
            provider_pb2.DiffRequest(olds=struct(old), news=struct({**old, **changes}))
        )

    assert diff().changes == NONE
    assert list(diff(region="eu-west-1").replaces) == ["region"]
    moved = diff(endpoints='[{"sqs": "http://x"}]')
    assert (moved.changes, list(moved.replaces)) == (SOME, [])


def test_it_says_who_it_is_and_leaves_the_handshake_to_newer_plug_ins(plugin):
    assert plugin.stub.GetPluginInfo(empty_pb2.Empty()).version.startswith("7.")
    assert (
        json.loads(plugin.stub.GetSchema(provider_pb2.GetSchemaRequest()).schema)["name"] == "aws"
    )
    plugin.stub.Cancel(empty_pb2.Empty())
    error = refused(plugin.stub.Handshake, provider_pb2.ProviderHandshakeRequest())
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_it_listens_on_this_machine_only(port):
    inodes = Path("/proc/net/tcp6").read_text() + Path("/proc/net/tcp").read_text()
    listening = [
        line.split()[1] for line in inodes.splitlines() if f":{port:04X} " in line.split(" 0A ")[0]
    ]
    assert listening
    # The kernel's way to write 127.0.0.1, alone or inside an address of IPv6.
    assert {address.partition(":")[0][-8:] for address in listening} == {"0100007F"}


def test_it_ends_with_the_engine_that_started_it(tmp_path):
    told = tmp_path / "told"
    starter = f"""
import subprocess, time
plugin = subprocess.Popen(["{SCRIPT}"], stdout=open("{told}", "w"))
while not open("{told}").read(): time.sleep(0.05)
print(plugin.pid)
"""
    ran = subprocess.run(
        [sys.executable, "-c", starter],
        env={**os.environ, "TASKPACKS_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=True,
        timeout=40,
    )
    pid = int(ran.stdout)
    deadline = time.monotonic() + 30
    while (
        Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
