import os
import re
import shutil
import stat
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths

from stack import build_context
from stack.components import image_repository
from stack.documents import registry
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
    assert registry.ecr_repository_arn(uri, "aws") == arn


def tag(checkout, pack="pi", base=None):
    files = build_context.build_files(pack, checkout)
    return build_context.content_digest(files, image_repository.build_arguments(pack, base))


def append(file):
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as text:
        text.write("\n# changed\n")


@pytest.mark.parametrize(
    "file",
    ["Dockerfile", "requirements.lock", "taskpacks/types.py", "taskpacks/pi/tasks.py",
     "worker/run.py", "taskpacks/pi/data/new.csv"],
)  # fmt: skip
def test_a_change_of_what_goes_into_an_image_makes_a_new_tag(file, checkout):
    before = tag(checkout)
    append(checkout / file)
    assert tag(checkout) != before


def test_a_file_that_becomes_executable_makes_a_new_tag(checkout):
    before = tag(checkout)
    (checkout / "taskpacks/pi/tasks.py").chmod(0o755)
    assert tag(checkout) != before


def test_a_renamed_file_makes_a_new_tag(checkout):
    before = tag(checkout)
    (checkout / "taskpacks/pi/tasks.py").rename(checkout / "taskpacks/pi/tasks2.py")
    assert tag(checkout) != before


@pytest.mark.parametrize(
    "file",
    ["taskpacks/csv_sort/tasks.py", "taskpacks/pi/tests/test_new.py", "taskpacks/pi/.env",
     "taskpacks/notes.txt", "README.md", "taskpacks/pi/__pycache__/tasks.pyc"],
)  # fmt: skip
def test_a_change_elsewhere_keeps_the_tag(file, checkout):
    before = tag(checkout)
    append(checkout / file)
    assert tag(checkout) == before


def test_the_umask_of_who_checked_out_keeps_the_tag(checkout):
    before = tag(checkout)
    (checkout / "worker/run.py").chmod(0o600)
    assert tag(checkout) == before


def test_a_checkout_may_lie_below_a_folder_called_tests(checkout, tmp_path):
    below = shutil.copytree(checkout, tmp_path / "tests" / "checkout")
    assert tag(below) == tag(checkout)
    assert build_context.build_files("pi", below)


def test_another_base_makes_a_new_tag(checkout):
    assert len({tag(checkout), tag(checkout, base="a"), tag(checkout, base="b")}) == 3


def test_an_image_of_links_is_not_built(checkout):
    (checkout / "taskpacks/pi/data").symlink_to(checkout / "worker")
    with pytest.raises(TaskpacksError, match=r"taskpacks/pi/data is a symbolic link: .* Put the"):
        build_context.build_files("pi", checkout)


def listed(folder):
    return {
        path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_the_context_of_a_pack_is_what_its_tag_is_made_of(umask, checkout, tmp_path):
    (checkout / "taskpacks/pi/run.sh").touch(mode=0o700)
    files = build_context.build_files("pi", checkout)
    before = os.umask(umask)
    try:
        build_context.write_context(files, tmp_path / "build" / "pi")
    finally:
        os.umask(before)
    written = listed(tmp_path / "build" / "pi")
    assert {name for name, mode in written.items() if mode == 0o644} == {
        each.path for each in files if not each.executable
    }
    assert written["taskpacks/pi/run.sh"] == written["taskpacks/pi"] == 0o755
    assert {"Dockerfile", "worker/__main__.py", "taskpacks/pi/tasks.py"} <= set(written)
    assert not [name for name in written if "csv_sort" in name or "tests" in name]


def assert_left_alone(files, folder):
    os.utime(folder / "Dockerfile", (0, 0))  # not its inode: a new file may get the old one's
    build_context.write_context(files, folder)
    assert (folder / "Dockerfile").stat().st_mtime == 0


def test_a_context_that_was_changed_is_written_again(checkout, tmp_path):
    files, folder = build_context.build_files("pi", checkout), tmp_path / "build" / "pi"
    build_context.write_context(files, folder)
    assert_left_alone(files, folder)
    append(folder / "worker" / "stray.py")
    (folder / "Dockerfile").unlink()
    build_context.write_context(files, folder)
    assert not (folder / "worker" / "stray.py").exists()
    assert (folder / "Dockerfile").read_bytes() == (checkout / "Dockerfile").read_bytes()


@pytest.mark.parametrize("beside", ["model.py", "model-v2/sizes.csv"])
def test_a_context_stays_where_a_name_goes_on_from_that_of_a_folder(beside, checkout, tmp_path):
    for name in ("model/__init__.py", beside):
        path = checkout / "taskpacks/pi" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    files, folder = build_context.build_files("pi", checkout), tmp_path / "build" / "pi"
    build_context.write_context(files, folder)
    assert_left_alone(files, folder)


def test_a_context_is_written_where_only_empty_folders_are_left(checkout, tmp_path):
    files, folder = build_context.build_files("pi", checkout), tmp_path / "build" / "pi"
    (folder / "taskpacks" / "pi").mkdir(parents=True)
    build_context.write_context(files, folder)
    assert (folder / "Dockerfile").is_file()


def dockerfile():
    return (ROOT / "Dockerfile").read_text()


def test_all_that_the_dockerfile_copies_is_in_the_context(checkout, tmp_path):
    build_context.write_context(build_context.build_files("pi", checkout), tmp_path / "context")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert len(sources) > 3
    for source in sources:
        assert list((tmp_path / "context").glob(source.replace("${PACK}", "pi"))), source


def test_a_build_by_hand_sees_what_the_stack_sees(checkout):
    """docker's own reading of .dockerignore, by its SDK for Python."""
    for junk in ("taskpacks/pi/.env", "taskpacks/pi/tests/test_x.py", "worker/__pycache__/x.pyc",
                 ".git/config", "stack/image_repository.py"):  # fmt: skip
        append(checkout / junk)
    patterns = (checkout / ".dockerignore").read_text().splitlines()
    seen = {name for name in exclude_paths(checkout, patterns) if (checkout / name).is_file()}
    packs = {
        path.name for path in (checkout / "taskpacks").iterdir() if (path / "tasks.py").exists()
    }
    assert len(packs) > 2
    wanted = {each.path for pack in packs for each in build_context.build_files(pack, checkout)}
    assert seen - {".dockerignore"} == wanted  # docker's client always sends both files


def test_the_dockerfiles_own_base_is_named_by_its_digest():
    (base,) = re.findall(r"^ARG BASE=(.+)$", dockerfile(), re.MULTILINE)
    assert build_context.PINNED.fullmatch(base)
    stages = re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE)
    assert set(stages) == {"${BASE}"}


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
    assert image_repository.build_arguments("pi", None) == {"PACK": "pi"}
    assert image_repository.build_arguments("pi", "cuda:12") == {"PACK": "pi", "BASE": "cuda:12"}


def test_an_installed_pack_cannot_be_built_here():
    with pytest.raises(TaskpacksError, match=r"the pack 'bought' is installed .* image: \{uri"):
        build_context.build_files("bought")


def test_only_what_the_stack_builds_may_be_pushed_a_second_time():
    def moved(tag):
        found = image_repository.tag_mutability(build=True)[
            "image_tag_mutability_exclusion_filters"
        ]
        return any(fnmatchcase(tag, each["filter"]) for each in found)

    assert all(map(moved, ("csv_sort-x86_64-cache", "pi-arm64-0123456789ab")))
    assert not any(map(moved, ("pi-v1", "csv_sort-2026-06-01", "x86_64")))
    assert image_repository.tag_mutability(build=False) == {"image_tag_mutability": "IMMUTABLE"}


def test_each_packs_newest_images_are_kept_whatever_the_others_push():
    rules = registry.lifecycle(["pi", "csv_sort", "pi"])["rules"]
    assert [rule["selection"].get("tagPrefixList") for rule in rules] == [
        None,
        ["csv_sort-"],
        ["pi-"],
    ]
    assert [rule["rulePriority"] for rule in rules] == [1, 2, 3]


def test_ecr_is_never_given_more_rules_than_it_takes():
    assert len(registry.lifecycle([f"pack{index}" for index in range(80)])["rules"]) == 50
