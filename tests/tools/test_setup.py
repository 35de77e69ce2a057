"""`make setup` in a small project: the repository's own Makefile, script and pins."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import uv

ROOT = Path(__file__).resolve().parents[2]
PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "small"
version = "1"
[tool.setuptools]
py-modules = []
"""


def pins(*names):
    """Returns the lines of requirements.lock for some packages, with their hashes."""
    entries = (ROOT / "requirements.lock").read_text().replace("\\\n", "\\").splitlines()
    kept = [entry for entry in entries if entry.partition("==")[0] in names]
    return "\n".join(kept).replace("\\", "\\\n") + "\n"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "setup.sh", tmp_path / "tools")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    # Not the whole lock: it takes minutes. The script's own needs, and what the CLI needs.
    (tmp_path / "requirements.lock").write_text(pins("pip", "setuptools"))
    return tmp_path


def run(project, *command):
    uv_folder = Path(uv.find_uv_bin()).parent
    environment = {**os.environ, "PATH": f"{uv_folder}{os.pathsep}{os.environ['PATH']}"}
    for inherited in ("VIRTUAL_ENV", "VENV", "MAKEFLAGS", "MAKEOVERRIDES"):  # of an outer make
        environment.pop(inherited, None)
    done = subprocess.run(
        command, cwd=project, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("already_there", [False, True])
def test_the_pulumi_cli_lists_the_packages_of_an_environment_that_uv_made(project, already_there):
    if already_there:  # by an earlier checkout, or by hand: without pip
        run(project, "uv", "venv", "--quiet", ".venv")
    run(project, "make", "setup")
    assert "uv = " in (project / ".venv" / "pyvenv.cfg").read_text(), "uv did not make it"
    # The CLI's command for the toolchain `pip` of Pulumi.yaml; without it `pulumi up` aborts.
    listed = json.loads(run(project, ".venv/bin/python", "-m", "pip", "list", "--format", "json"))
    assert "small" in {package["name"] for package in listed}
