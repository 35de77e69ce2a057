import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack import images
from taskpacks import TaskpacksError

ROOT = Path(__file__).resolve().parents[2]
BASED = """
from taskpacks import Image, PackSpec, hookimpl

@hookimpl
def taskpack_spec():
    return PackSpec(image=Image(base="cuda:12"))

@hookimpl
def taskpack_register_tasks(app):
    pass
"""


@pytest.fixture
def checkout(tmp_path):
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("worker", "taskpacks"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


@pytest.mark.parametrize(
    ("uri", "arn"),
    [
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/pi:v1",
            "arn:aws:ecr:eu-west-1:123456789012:repository/team/pi",
        ),
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/pi@sha256:00",
            "arn:aws:ecr:eu-west-1:123456789012:repository/pi",
        ),
        ("docker.io/team/pi:v1", None),
    ],
)
def test_the_repository_of_an_image_is_read_from_its_uri(uri, arn):
    assert images.ecr_repository_arn(uri, "aws") == arn


@pytest.mark.parametrize(
    "file",
    ["Dockerfile", "requirements.lock", "taskpacks/types.py", "taskpacks/pi/tasks.py",
     "worker/run.py"],
)  # fmt: skip
def test_a_change_of_what_goes_into_an_image_makes_a_new_tag(file, checkout):
    before = images.content_digest("pi", checkout)
    with (checkout / file).open("a") as text:
        text.write("\n# changed\n")
    assert images.content_digest("pi", checkout) != before


@pytest.mark.parametrize("file", ["taskpacks/csv_sort/tasks.py", "taskpacks/pi/tests/test_new.py"])
def test_a_change_elsewhere_keeps_the_tag(file, checkout):
    before = images.content_digest("pi", checkout)
    (checkout / file).parent.mkdir(exist_ok=True)
    with (checkout / file).open("a") as text:
        text.write("\n# changed\n")
    assert images.content_digest("pi", checkout) == before


def declared_packages(pack, base, path=ROOT):
    """Runs the step of the Dockerfile that reads the pack's declaration, as its shell would."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (step,) = [line for line in lines if line.startswith("RUN python -c")]
    command = step.removeprefix("RUN ").removesuffix(" > /apt.txt")
    folder = Path(sys.executable).parent
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=ROOT,
        env={
            "PATH": f"{folder}:/usr/bin:/bin",
            "PACK": pack,
            "BASE": base,
            "PYTHONPATH": str(path),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_dockerfile_installs_the_packages_that_a_pack_declares():
    assert declared_packages("video_encoding", "python:3.12").stdout == "ffmpeg\n"


def test_an_image_on_another_base_than_declared_is_not_built(tmp_path):
    info = tmp_path / "based-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: based\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taskpacks]\nbased = based_pack\n")
    (tmp_path / "based_pack.py").write_text(BASED)
    command = declared_packages("based", "python:3.12", path=tmp_path)
    assert command.returncode == 1
    assert "add --build-arg BASE=cuda:12" in command.stderr
    assert declared_packages("based", "cuda:12", path=tmp_path).returncode == 0


def test_a_declared_base_is_an_argument_of_the_build():
    assert images.build_arguments("pi", None) == {"PACK": "pi"}
    assert images.build_arguments("pi", "cuda:12") == {"PACK": "pi", "BASE": "cuda:12"}


def test_an_installed_pack_cannot_be_built_here():
    with pytest.raises(TaskpacksError, match=r"the pack 'bought' is installed .* image: \{uri"):
        images.content_digest("bought")


def test_each_packs_newest_images_are_kept_whatever_the_others_push():
    rules = images.lifecycle(["pi", "csv_sort", "pi"])["rules"]
    assert [rule["selection"].get("tagPrefixList") for rule in rules] == [
        None,
        ["csv_sort-"],
        ["pi-"],
    ]
    assert [rule["rulePriority"] for rule in rules] == [1, 2, 3]


def test_ecr_is_never_given_more_rules_than_it_takes():
    assert len(images.lifecycle([f"pack{index}" for index in range(80)])["rules"]) == 50
