"""Versions of Pulumi: the SDK's, the CLI's that tests build, and the lowest one that users need."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml
from semver import VersionInfo

from tests.stack.engines import command

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


def test_the_cli_that_tests_run_is_no_older_than_the_project_asks_for():
    assert command().version >= sdk_version()


def test_the_docs_name_the_version_that_was_run():
    assert f"v{cli_version()}" in (ROOT / "docs/deploying.md").read_text()
