"""Data that tasks have stored stays after its stack, or goes with it: `taskpacks:data`."""

import importlib
import inspect
import sys

import pulumi
import pytest

from local.engine import HookError
from local.engine.cloud import Cloud
from stack.before_delete import data
from tests.stack.inventory import STORES, inventory


@pytest.fixture
def select(project, network):
    """Chooses `pi`, which makes a bucket, beside `small`."""

    def select(setting="keep", *, packs=("small", "pi")):
        chosen = {name: {"scaling": {"mode": "alarms"}} for name in packs}
        return project.select(chosen, **network, data=setting)

    return select


@pytest.fixture
def up(select):
    def up(*arguments, **options):
        return select(*arguments, **options).up()

    return up


@pytest.fixture
def stores(project):
    """Lists what a test's stack has made to store data in, by the beginning of its name."""
    before = inventory(project.client)

    def stores():
        made = inventory(project.client) - before
        return {name.rpartition("-")[0]: name for kind, name in made if kind in STORES}

    return stores


def fill(project, bucket):
    """Leaves an object with an older version, a deletion, and an upload that never ended."""
    s3 = project.client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"old", b"new"):
        s3.put_object(Bucket=bucket, Key="pi/digits", Body=body)
    s3.put_object(Bucket=bucket, Key="pi/gone", Body=b"gone")
    s3.delete_object(Bucket=bucket, Key="pi/gone")
    s3.create_multipart_upload(Bucket=bucket, Key="pi/half")


def test_the_end_of_a_stack_keeps_buckets_and_results_and_prints_how_to_delete_them(
    project, up, stores, caplog
):
    caplog.set_level("INFO", "local.engine.program")
    before = inventory(project.client)
    up()
    made = stores()
    assert set(made) == {"data-bucket", "pi-results", "results-table"}
    fill(project, made["pi-results"])
    project.engine().destroy(run_program=True)
    left = inventory(project.client) - before
    assert left == {(kind, name) for kind, name in left if kind in STORES}
    assert stores() == made
    s3 = project.client("s3")
    assert s3.get_object(Bucket=made["pi-results"], Key="pi/digits")["Body"].read() == b"new"
    for name in ("data-bucket", "pi-results"):
        wall = s3.get_public_access_block(Bucket=made[name])["PublicAccessBlockConfiguration"]
        assert all(wall.values())
        assert f"aws s3 rb s3://{made[name]} --force --region us-east-1" in caplog.text
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=made["data-bucket"])["Policy"]
    assert s3.get_bucket_lifecycle_configuration(Bucket=made["data-bucket"])["Rules"]
    assert f"delete-table --table-name {made['results-table']} --region us-east-1" in caplog.text


def test_a_deployment_that_goes_keeps_the_bucket_of_its_pack(project, up, stores, caplog):
    caplog.set_level("INFO", "local.engine.program")
    up()
    made = stores()
    fill(project, made["pi-results"])
    up(packs=("small",))
    assert stores() == made
    assert f"The bucket {made['pi-results']} is kept with its content" in caplog.text
    assert made["data-bucket"] not in caplog.text
    up()  # put back, it gets a bucket of its own beside the one that was kept
    assert set(project.engine().outputs()["deployments"]) == {"small", "pi"}


def test_data_that_is_to_be_deleted_goes_with_its_versions_and_unfinished_uploads(
    project, up, stores, monkeypatch
):
    up("delete")
    made = stores()
    fill(project, made["pi-results"])
    # moto knows no TLS, which the data bucket's policy asks for.
    project.client("s3").delete_bucket_policy(Bucket=made["data-bucket"])
    fill(project, made["data-bucket"])
    unfinished = {}
    original = Cloud.client

    def look(params, **_details):
        found = project.client("s3").list_multipart_uploads(Bucket=params["Bucket"])
        unfinished[params["Bucket"]] = found.get("Uploads", [])

    def client(self, service):
        found = original(self, service)
        if service == "s3":
            found.meta.events.register(
                "before-parameter-build.s3.DeleteBucket", look, unique_id="unfinished"
            )
        return found

    monkeypatch.setattr(Cloud, "client", client)
    project.engine().destroy(run_program=True)
    assert stores() == {}
    assert unfinished == {made["data-bucket"]: [], made["pi-results"]: []}


def test_data_is_deleted_once_the_setting_says_so_and_the_stack_knows(project, up, stores):
    up()
    fill(project, stores()["pi-results"])
    up("delete")
    up("delete", packs=("small",))
    assert set(stores()) == {"data-bucket", "results-table"}


def test_data_is_not_deleted_by_a_setting_that_has_just_been_taken_back(project, up, stores):
    up("delete")
    made = stores()
    fill(project, made["pi-results"])
    with pytest.raises(HookError, match=f"{made['pi-results']} is not deleted: taskpacks:data is"):
        up("keep", packs=("small",))
    assert stores() == made
    up("keep")
    up("keep", packs=("small",))
    assert stores() == made


TABLE = """

@hookimpl
def taskpack_infrastructure(context):
    import pulumi
    import pulumi_aws as aws

    aws.dynamodb.Table(
        f"{context.deployment}-items",
        billing_mode="PAY_PER_REQUEST",
        hash_key="id",
        attributes=[{"name": "id", "type": "S"}],
        opts=pulumi.ResourceOptions(parent=context.parent),
    )
"""


def test_the_table_of_a_pack_is_not_deleted_by_a_setting_that_has_just_been_taken_back(
    project, up, stores, request
):
    module = project.folder.parent / "site" / "other_test_pack.py"
    module.write_text(module.read_text() + TABLE)
    sys.modules.pop("other_test_pack", None)
    request.addfinalizer(lambda: sys.modules.pop("other_test_pack", None))  # nor in later tests
    up("delete", packs=("small", "other"))
    made = stores()
    with pytest.raises(HookError, match=f"table {made['other-items']} is not deleted: taskpacks"):
        up("keep", packs=("small",))
    assert stores() == made
    up("delete", packs=("small",))
    assert set(stores()) == {"data-bucket", "results-table"}


def test_the_end_of_a_stack_goes_by_what_the_setting_says_now(select, up, stores):
    up("delete")
    made = stores()
    select("keep").destroy(run_program=True)
    assert stores() == made


# Decisions


@pytest.mark.parametrize(
    ("kind", "said", "kept"),
    [
        ("aws:s3/bucket:Bucket", None, True),
        ("aws:s3/bucketPolicy:BucketPolicy", None, True),
        ("aws:s3/bucketV2:BucketV2", None, True),
        ("aws:s3/directoryBucket:DirectoryBucket", None, True),
        ("aws:dynamodb/table:Table", None, True),
        ("aws:s3/bucket:Bucket", False, False),
        ("aws:sqs/queue:Queue", None, False),
        ("taskpacks:stack:DataBucket", None, False),
    ],
)
def test_what_holds_data_is_kept_unless_it_says_otherwise_itself(kind, said, kept):
    assert data.concerns(kind, pulumi.ResourceOptions(retain_on_delete=said)) is kept


def treated(kind, setting):
    """Returns what the transformation makes of a resource: its properties, fate, and hooks."""
    args = pulumi.ResourceTransformationArgs(None, kind, "x", {}, pulumi.ResourceOptions())
    found = data.treated(args, setting, kept="kept", emptied="emptied")
    return found and (found.props, found.opts.retain_on_delete, found.opts.hooks.before_delete)


@pytest.mark.parametrize("kind", sorted(data.BUCKETS))
def test_every_kind_of_bucket_is_kept_and_told_of_or_emptied(kind):
    assert treated(kind, "keep") == ({}, True, ["kept"])
    assert treated(kind, "delete") == ({"force_destroy": True}, None, ["emptied"])
    module, _, name = kind.removeprefix("aws:").partition("/")
    arguments = getattr(importlib.import_module(f"pulumi_aws.{module}"), name.partition(":")[2])
    assert "force_destroy" in inspect.signature(arguments._internal_init).parameters
    assert "aws s3 rb s3://x --force" in data.farewell(kind, "x", "eu-west-1")


def test_a_table_is_kept_and_told_of_or_asked_about():
    assert treated("aws:dynamodb/table:Table", "keep") == ({}, True, ["kept"])
    assert treated("aws:dynamodb/table:Table", "delete") == ({}, None, ["emptied"])


def test_what_belongs_to_a_bucket_goes_as_it_goes():
    assert treated("aws:s3/bucketPolicy:BucketPolicy", "keep") == ({}, True, [])
    assert treated("aws:s3/bucketPolicy:BucketPolicy", "delete") is None
