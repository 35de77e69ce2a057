import os
import signal
import socket
import threading
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer
from s3transfer.futures import TransferCoordinator

from taskpacks import BadInputError, storage

BOTH = storage.SCHEMES


@pytest.fixture(scope="module")
def s3_server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    client = boto3.client("s3")
    client.create_bucket(Bucket="data-bucket")
    yield client
    for entry in client.list_objects_v2(Bucket="data-bucket").get("Contents", []):
        client.delete_object(Bucket="data-bucket", Key=entry["Key"])
    client.delete_bucket(Bucket="data-bucket")
    client.close()


def test_s3_is_asked_in_the_region_that_the_job_names(monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert storage._s3().meta.region_name == "eu-central-1"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (None, "not a URI"),
        (7, "not a URI"),
        ("/etc/hosts", "not a URI"),
        ("https://example.com/a", "scheme 'https' is not allowed"),
        ("file://host/a", "names a host, 'host'"),
        ("file:a/b", "no absolute path"),
        ("file://", "no absolute path"),
        ("file:///a%00b", "no absolute path"),
        ("file:///a?b", "query or a fragment"),
        ("file:///a#b", "query or a fragment"),
        ("s3://bucket", "bucket or a key"),
        ("s3://bucket/", "bucket or a key"),
        ("s3:///key", "bucket or a key"),
        ("s3:bucket/key", "bucket or a key"),
    ],
)
def test_what_names_no_object_is_refused_with_the_rule(uri, said):
    with pytest.raises(BadInputError, match=said):
        storage.locate(uri, BOTH)


def test_a_scheme_that_the_worker_does_not_allow_is_refused_and_the_allowed_are_named():
    with pytest.raises(BadInputError, match=r"'file' is not allowed.*s3://"):
        storage.locate("file:///a", frozenset({"s3"}))


def test_file_names_are_percent_decoded_and_s3_keys_are_not():
    assert storage.locate("file:///a%20b/%C3%A9", BOTH).path == Path("/a b/é")
    assert storage.locate("FILE://localhost/a", BOTH).path == Path("/a")
    assert storage.locate("s3://bucket/a%20b?c#d", BOTH).key == "a%20b?c#d"


def test_a_file_is_published_into_folders_that_did_not_exist_and_fetched_again(tmp_path):
    destination = tmp_path / "new" / "folder" / "name with blank"
    uri = destination.as_uri()
    assert storage.publish_bytes(b"content", uri, BOTH) == 7
    assert storage.check_source(uri, BOTH) == 7
    storage.fetch(uri, tmp_path / "copy", BOTH)
    assert (tmp_path / "copy").read_bytes() == b"content"
    assert names(destination.parent) == [destination.name]


def test_a_published_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    storage.publish_bytes(b"", (tmp_path / "a").as_uri(), BOTH)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [OSError("disk"), SystemExit(1), KeyboardInterrupt()])
def test_a_cut_publish_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    def half(source, destination):
        destination.write(source.read(3))
        raise error

    monkeypatch.setattr(storage, "_copy", half)
    (tmp_path / "content").write_text("content")
    destination = tmp_path / "folder" / "result"
    destination.parent.mkdir()
    destination.write_text("old")
    with pytest.raises(type(error)):
        storage.publish(tmp_path / "content", destination.as_uri(), BOTH)
    assert destination.read_text() == "old"
    assert names(destination.parent) == ["result"]


@pytest.mark.parametrize("cut_by", ["an outage", "a cancelled task"])
def test_a_cut_upload_shows_no_object_and_leaves_no_parts(bucket, tmp_path, monkeypatch, cut_by):
    def cut(params, **_):
        if "partNumber=2" in params["url"]:
            if cut_by == "an outage":
                raise OSError(cut_by)
            # Python sees a signal that comes just before a thread waits only after the wait.
            while not asked.wait(0.5):
                os.kill(os.getpid(), signal.SIGUSR1)
            cancelled.wait(10)  # S3 in memory would be done before

    def cancel(*_):
        asked.set()
        raise SystemExit(cut_by)

    def noting(self, *args, **kwargs):
        stop(self, *args, **kwargs)
        cancelled.set()

    asked = threading.Event()
    cancelled, stop = threading.Event(), TransferCoordinator.cancel
    monkeypatch.setattr(TransferCoordinator, "cancel", noting)

    before = signal.signal(signal.SIGUSR1, cancel)
    cutting = boto3.client("s3")
    cutting.meta.events.register("before-call.s3.UploadPart", cut)
    monkeypatch.setattr(storage, "_s3", lambda: cutting)
    (tmp_path / "content").write_bytes(b"x" * 40 * 1024 * 1024)
    try:
        with pytest.raises((OSError, SystemExit), match=cut_by):
            storage.publish(tmp_path / "content", "s3://data-bucket/result", BOTH)
    finally:
        signal.signal(signal.SIGUSR1, before)
        cutting.close()
    assert cancelled.is_set() == (cut_by == "a cancelled task")
    assert "Contents" not in bucket.list_objects_v2(Bucket="data-bucket")
    assert "Uploads" not in bucket.list_multipart_uploads(Bucket="data-bucket")


@pytest.mark.usefixtures("bucket")
def test_an_object_larger_than_one_part_goes_to_s3_and_comes_back(tmp_path):
    content = os.urandom(20 * 1024 * 1024)
    (tmp_path / "local").write_bytes(content)
    size = storage.publish(tmp_path / "local", "s3://data-bucket/a b/ü?", BOTH)
    assert size == len(content) == storage.check_source("s3://data-bucket/a b/ü?", BOTH)
    storage.fetch("s3://data-bucket/a b/ü?", tmp_path / "copy", BOTH)
    assert (tmp_path / "copy").read_bytes() == content


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://data-bucket/none", "no such object"),
        ("s3://no-such-bucket/none", "no such"),
        ("s3://UPPER_CASE!/none", "refused by S3"),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_a_missing_object_is_bad_input_and_leaves_nothing_behind(tmp_path, uri, said):
    with pytest.raises(BadInputError, match=said):
        storage.check_source(uri, BOTH)
    with pytest.raises(BadInputError):
        storage.fetch(uri, tmp_path / "copy", BOTH)
    assert names(tmp_path) == []


@pytest.mark.usefixtures("bucket")
def test_publishing_to_a_bucket_that_is_not_there_is_bad_input(tmp_path):
    (tmp_path / "content").write_bytes(b"x")
    with pytest.raises(BadInputError, match="no such bucket"):
        storage.publish_bytes(b"x", "s3://no-such-bucket/a", BOTH)
    with pytest.raises(BadInputError, match="no such bucket"):
        storage.publish(tmp_path / "content", "s3://no-such-bucket/a", BOTH)


@pytest.mark.parametrize("code", ["403", "AccessDenied"])
def test_denied_access_to_s3_names_the_permission_and_not_only_the_code(monkeypatch, code):
    class Denying:
        def head_object(self, **_):
            raise ClientError({"Error": {"Code": code}}, "HeadObject")

    monkeypatch.setattr(storage, "_s3", Denying)
    with pytest.raises(BadInputError, match=r"access is denied.*permissions"):
        storage.check_source("s3://data-bucket/a", BOTH)


def test_an_outage_of_s3_is_not_called_bad_input(monkeypatch):
    class Down:
        def head_object(self, **_):
            raise ClientError({"Error": {"Code": "SlowDown"}}, "HeadObject")

    monkeypatch.setattr(storage, "_s3", Down)
    with pytest.raises(ClientError):
        storage.check_source("s3://data-bucket/a", BOTH)


def test_a_missing_file_and_a_folder_are_no_sources(tmp_path):
    for uri, said in [
        ((tmp_path / "none").as_uri(), "no such file"),
        (tmp_path.as_uri(), "no regular file"),
    ]:
        with pytest.raises(BadInputError, match=said):
            storage.check_source(uri, BOTH)
        with pytest.raises(BadInputError, match=said):
            storage.fetch(uri, tmp_path / "copy", BOTH)
    assert names(tmp_path) == []


def refused_as_source_and_destination(uri, said, tmp_path):
    (tmp_path / "content").write_bytes(b"x")
    for attempt in (
        lambda: storage.check_source(uri, BOTH),
        lambda: storage.fetch(uri, tmp_path / "copy", BOTH),
        lambda: storage.check_destination(uri, BOTH),
        lambda: storage.publish(tmp_path / "content", uri, BOTH),
        lambda: storage.publish_bytes(b"x", uri, BOTH),
    ):
        with pytest.raises(BadInputError, match=said) as caught:
            attempt()
        assert uri in str(caught.value)
    assert not (tmp_path / "copy").exists()


SYSTEM_FILES = (
    "file:///proc/self/environ",
    "file:////proc/self/environ",
    "file:///tmp/../proc/1/cmdline",
    "file:///proc/self/root/etc/hosts",
    "file:///sys/kernel/notes",
    "file:///dev/zero",
    "file:///dev/shm/new",
    "file:///proc/new",
)


@pytest.mark.parametrize("uri", SYSTEM_FILES)
def test_the_systems_own_files_are_neither_read_nor_replaced(uri, tmp_path):
    refused_as_source_and_destination(uri, "name a file of data", tmp_path)


@pytest.mark.parametrize("target", ["/proc/self/environ", "/proc/self", "/dev/null", "/sys/new"])
def test_a_link_into_the_systems_own_files_is_neither_read_nor_replaced(target, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(target)
    uri = f"{link.as_uri()}/environ" if Path(target).is_dir() else link.as_uri()
    refused_as_source_and_destination(uri, "name a file of data", tmp_path)
    assert link.is_symlink()


@pytest.mark.parametrize("through_link", [False, True])
@pytest.mark.parametrize("kind", ["FIFO", "socket"])
def test_what_waits_for_another_process_is_neither_read_nor_replaced(kind, through_link, tmp_path):
    special = tmp_path / "special"
    listening = socket.socket(socket.AF_UNIX)
    if kind == "FIFO":
        os.mkfifo(special)
    else:
        listening.bind(str(special))
    (tmp_path / "link").symlink_to(special)
    name = "link" if through_link else "special"
    with listening:
        refused_as_source_and_destination((tmp_path / name).as_uri(), f"is a {kind}", tmp_path)
    assert not special.is_file()


def test_a_name_that_leads_to_nothing_but_itself_is_bad_input(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(BadInputError, match="Too many levels"):
        storage.check_source((tmp_path / "loop").as_uri(), BOTH)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_bad_input(tmp_path):
    (tmp_path / "closed").touch(mode=0)
    with pytest.raises(BadInputError, match="access is denied"):
        storage.check_source((tmp_path / "closed").as_uri(), BOTH)


def test_a_folder_is_no_destination(tmp_path):
    for uri in (tmp_path.as_uri(), "s3://bucket/folder/", (tmp_path / "a").as_uri() + "/"):
        with pytest.raises(BadInputError, match="is a folder"):
            storage.check_destination(uri, BOTH)


def test_a_destination_below_a_file_is_bad_input(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="no folder"):
        storage.publish_bytes(b"", (tmp_path / "file" / "below").as_uri(), BOTH)


def test_the_source_is_refused_as_destination_by_whatever_name(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for source, destination in [
        ((tmp_path / "a").as_uri(), (tmp_path / "link").as_uri()),
        ((tmp_path / "a").as_uri(), f"file://{tmp_path}/x/../a"),
        ("s3://bucket/key", "S3://bucket/key"),
    ]:
        with pytest.raises(BadInputError, match="both source and destination"):
            storage.check_destination(destination, BOTH, source=source)
    storage.check_destination("s3://bucket/other", BOTH, source="s3://bucket/key")


@pytest.mark.parametrize(
    "result", [{"output": "s3://b/k", "digits": 3}, {"destination": "s3://b/k", "rows": 3}]
)
def test_the_result_of_a_task_that_wrote_a_file_is_a_source(result):
    assert storage.source_of(result) == "s3://b/k"
    assert storage.source_of("s3://b/k") == "s3://b/k"


@pytest.mark.parametrize(
    "result",
    [{}, {"pi": "3.14"}, {"output": None}, {"output": "s3://b/a", "destination": "s3://b/b"}],
)
def test_a_result_that_names_no_file_or_two_is_bad_input(result):
    with pytest.raises(BadInputError, match="it must name one file as 'output' or 'destination'"):
        storage.source_of(result)
