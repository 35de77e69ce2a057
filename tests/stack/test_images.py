import shutil
from pathlib import Path

import pytest

from stack import images
from taskpacks import TaskpacksError

ROOT = Path(__file__).resolve().parents[2]


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
     "worker/lifecycle.py"],
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
