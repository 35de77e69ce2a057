"""A function's code: files that the program hands over, compared by what is in them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile

import pytest
from moto.awslambda.models import lambda_backends

from local.engine import Action, UnsupportedError
from local.engine.assets import content_hash, with_hash, zip_of
from local.engine.wire import SIGNATURE
from tests.engine.cases import ROLE

ARCHIVE = {SIGNATURE: "0def7320c3a5731c473e5ecbe6d01bc7"}
ASSET = {SIGNATURE: "c44067f5952c0a294b673a41bacd8c17"}


def function(code: str, **more: str) -> str:
    given = "".join(f", {name}={value}" for name, value in more.items())
    return ROLE + (
        'it = aws.lambda_.Function("it", role=role.arn, runtime="python3.13", handler="m.handle", '
        f"code={code}{given})\n"
        'pulumi.export("name", it.name)\npulumi.export("sha", it.code_sha256)\n'
    )


def deployed_files(name: str) -> dict[str, str]:
    """Returns what the deployed zip holds; moto's link to it leads nowhere."""
    found = lambda_backends["123456789012"]["us-east-1"].get_function(name)
    with zipfile.ZipFile(io.BytesIO(found.code_bytes)) as archive:
        return {each: archive.read(each).decode() for each in archive.namelist()}


def test_a_folder_becomes_a_zip_and_an_unchanged_one_is_no_change(project):
    folder = project.folder / "code"
    (folder / "inner").mkdir(parents=True)
    (folder / "m.py").write_text("one = 1")
    (folder / "inner" / "n.py").write_text("two = 2")
    engine = project.write(function('pulumi.FileArchive("code")'))
    made = engine.up()
    assert deployed_files(made.outputs["name"]) == {
        "inner/n.py": "two = 2",
        "m.py": "one = 1",
    }
    assert not engine.up().changed
    assert not engine.refresh().changed
    (folder / "m.py").touch()
    assert not engine.up().changed


def test_a_changed_file_updates_the_function_in_place(project):
    folder = project.folder / "code"
    folder.mkdir()
    (folder / "m.py").write_text("one = 1")
    engine = project.write(function('pulumi.AssetArchive({"m.py": pulumi.FileAsset("code/m.py")})'))
    first = engine.up().outputs
    (folder / "m.py").write_text("one = 2")

    (expected,) = engine.preview().changed
    assert (expected.action, expected.properties) == (Action.UPDATED, ("code",))
    done = engine.up()
    assert done.changed == (expected,)
    assert done.outputs["name"] == first["name"]
    assert done.outputs["sha"] != first["sha"]
    assert deployed_files(first["name"]) == {"m.py": "one = 2"}
    assert not engine.up().changed


def test_the_same_files_under_another_kind_of_archive_are_no_change(project):
    (project.folder / "m.py").write_text("one = 1")
    project.write(function('pulumi.AssetArchive({"m.py": pulumi.FileAsset("m.py")})')).up()
    text = 'pulumi.AssetArchive({"m.py": pulumi.StringAsset("one = 1")})'
    assert not project.write(function(text)).up().changed


def test_the_hash_of_the_deployed_code_is_awss(project):
    engine = project.write(function('pulumi.AssetArchive({"m.py": pulumi.StringAsset("one = 1")})'))
    sha = engine.up().outputs["sha"]
    packed = zip_of({**ARCHIVE, "assets": {"m.py": {**ASSET, "text": "one = 1"}}}, "it")
    assert sha == base64.b64encode(hashlib.sha256(packed).digest()).decode()


def test_the_state_holds_the_codes_hash_and_not_the_code(project):
    project.write(function('pulumi.AssetArchive({"m.py": pulumi.FileAsset("m.py")})'))
    (project.folder / "m.py").write_text("print('do not keep me')")
    project.engine().up()
    text = project.state_file.read_text()
    assert "do not keep me" not in text
    (record,) = (
        each for each in json.loads(text)["resources"] if each["type"].startswith("aws:lambda")
    )
    assert len(content_hash(record["inputs"]["code"])) == 64


def test_the_program_gets_its_archive_back(project):
    program = function('pulumi.AssetArchive({"m.py": pulumi.StringAsset("1")})')
    program += 'pulumi.export("kind", it.code.apply(lambda code: type(code).__name__))\n'
    assert project.write(program).up().outputs["kind"] == "AssetArchive"


def test_a_zip_and_nested_archives_are_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/y.txt", "deep")
    value = {
        **ARCHIVE,
        "assets": {
            "lib": {**ARCHIVE, "path": str(tmp_path / "a.zip")},
            "m.py": {**ASSET, "text": "1"},
        },
    }
    with zipfile.ZipFile(io.BytesIO(zip_of(value, "it"))) as packed:
        assert sorted(packed.namelist()) == ["lib/x/y.txt", "m.py"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({**ASSET, "uri": "https://example.org/a"}, "cannot be fetched"),
        ({**ARCHIVE, "path": "there/is/none"}, "cannot be read"),
        ({**ARCHIVE, "path": __file__}, "neither a folder nor a zip"),
    ],
)
def test_files_that_cannot_be_had_are_refused(value, words):
    with pytest.raises(UnsupportedError, match=words):
        with_hash(value, "it")


def test_a_function_without_code_is_refused(project):
    program = ROLE + 'aws.lambda_.Function("it", role=role.arn, s3_key="k")'
    with pytest.raises(UnsupportedError, match="s3Key"):
        project.write(program).up()
