"""Versions of Pulumi: the SDK's, the CLI's that tests build, and the lowest one that users need."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from pulumi import automation
from semver import VersionInfo

from tests.stack import engines
from tests.stack.engines import RealStack, command

ROOT = Path(__file__).resolve().parents[2]


def cli_version():
    """The only place that says it, apart from the text of docs/deploying.md."""
    found = re.search(
        r"github\.com/pulumi/pulumi/pkg/v3 v(\S+)", (ROOT / "tools/pulumi/go.mod").read_text()
    )
    return VersionInfo.parse(found.group(1))


def sdk_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pin,) = [each for each in project["dependencies"] if each.startswith("pulumi==")]
    return VersionInfo.parse(pin.removeprefix("pulumi=="))


def test_the_local_engine_runs_with_the_sdk_whose_protocol_it_speaks():
    assert VersionInfo.parse(metadata.version("pulumi")) == sdk_version()


def test_the_cli_is_as_new_as_the_sdk_which_is_what_pulumi_supports():
    assert cli_version() >= sdk_version()
    assert cli_version().major == sdk_version().major


def test_an_older_cli_than_the_sdk_is_refused_by_the_project():
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert project["requiredPulumiVersion"] == f">={sdk_version()}"


def test_the_cli_itself_refuses_a_project_that_asks_for_a_newer_one(tmp_path):
    stack = RealStack(tmp_path, "real", "http://127.0.0.1:1")  # nothing is asked there
    file = stack.folder / "Pulumi.yaml"
    file.write_text(
        re.sub(r"requiredPulumiVersion: .*", "requiredPulumiVersion: '>=999.0.0'", file.read_text())
    )
    with pytest.raises(automation.errors.CommandError, match="does not satisfy the version range"):
        stack.preview()


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip), ("true", pytest.fail)])
def test_without_a_cli_a_users_run_skips_and_ci_fails(ci, outcome, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "BUILT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    either = (pytest.skip.Exception, pytest.fail.Exception)
    with pytest.raises(either, match="make pulumi") as caught:
        command()
    assert caught.type is outcome.Exception


def test_the_cli_that_tests_run_is_no_older_than_the_project_asks_for():
    assert command().version >= sdk_version()


def test_the_docs_name_the_version_that_was_run():
    assert f"v{cli_version()}" in (ROOT / "docs/deploying.md").read_text()
