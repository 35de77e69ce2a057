"""The real engine, with the plug-in in the place of the provider for AWS: the program as it is.

Runs where the Pulumi CLI is on PATH. The stack's state is in a folder, its secrets under a
passphrase: no account of anybody's takes part.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from pulumi import automation

from tests.stack.inventory import inventory

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "local" / "provider"

pytestmark = [
    pytest.mark.skipif(
        shutil.which("pulumi") is None,
        reason="the Pulumi CLI is not on PATH: https://www.pulumi.com/docs/install/",
    ),
    pytest.mark.timeout(600),
]


def packs(**scaling):
    return {
        "pi": {"scaling": {"mode": "controller"}},
        "pi-small": {"pack": "pi", "scaling": {"mode": "alarms", **scaling}},
    }


class RealProject:
    """The program in a folder of its own, with settings that lead to the cloud on this machine."""

    def __init__(self, folder, cloud):
        self.folder = folder / "project"
        self.folder.mkdir()
        self.cloud = cloud
        shutil.copy(ROOT / "__main__.py", self.folder)
        project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
        # The environment that runs this test, which need not be in .venv.
        project["runtime"] = {"name": "python", "options": {"virtualenv": sys.prefix}}
        (self.folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        self.select(packs())
        backend = folder / "backend"
        backend.mkdir()
        self.stack = automation.create_stack(
            "test",
            work_dir=str(self.folder),
            opts=automation.LocalWorkspaceOptions(
                pulumi_home=str(folder / "home"),
                env_vars={
                    "PATH": f"{PLUGINS}{os.pathsep}{os.environ['PATH']}",
                    "PULUMI_BACKEND_URL": f"file://{backend}",
                    "PULUMI_CONFIG_PASSPHRASE": "of a test",
                    "PULUMI_SKIP_UPDATE_CHECK": "true",
                    "PYTHONPATH": str(ROOT),
                    "TASKPACKS_PYTHON": sys.executable,
                },
            ),
        )

    def select(self, selected):
        """Writes the settings; what the CLI has put into the file beside them stays."""
        file = self.folder / "Pulumi.test.yaml"
        content = yaml.safe_load(file.read_text()) if file.exists() else {}
        content["config"] = {
            "aws:region": "us-east-1",
            "aws:accessKey": "test",
            "aws:secretKey": "test",
            "aws:endpoints": [{"sqs": self.cloud.endpoint_url}],
            "taskpacks:packs": selected,
        }
        file.write_text(yaml.safe_dump(content))

    def up(self, **options):
        return self.stack.up(on_output=print, **options).summary.resource_changes


@pytest.fixture
def real(tmp_path, cloud):
    project = RealProject(tmp_path, cloud)
    yield project
    project.select(packs())
    project.stack.destroy(on_output=print, run_program=True)


def test_the_real_engine_makes_keeps_changes_and_ends_the_stack(real, project):
    before = inventory(project.client)
    preview = real.stack.preview(on_output=print).change_summary
    made = real.up()
    assert set(made) == {"create"}
    assert made == preview
    assert {kind.partition("/")[0] for kind, _ in inventory(project.client) - before} >= {
        "aws:batch",
        "aws:lambda",
        "aws:sfn",
        "aws:sqs",
    }

    assert set(real.up(expect_no_changes=True)) == {"same"}

    real.select(packs(low_depth=7))
    changed = real.up()
    assert changed["update"] == 1
    assert set(changed) == {"update", "same"}
    alarms = project.client("cloudwatch").describe_alarms(AlarmNamePrefix="pi-small-depth-low")
    assert [alarm["Threshold"] for alarm in alarms["MetricAlarms"]] == [7]

    seen = real.stack.refresh(on_output=print).summary.resource_changes
    assert set(seen) == {"same"}

    with pytest.raises(automation.errors.CommandError, match="run-program"):
        real.stack.destroy(on_output=print)
    real.stack.destroy(on_output=print, run_program=True)
    assert inventory(project.client) - before == set()


def test_the_real_engine_keeps_a_deployment_whose_queue_holds_messages(real, project):
    real.up()
    sqs = project.client("sqs")
    url = real.stack.outputs()["deployments"].value["pi-small"]["queue_url"]
    sqs.send_message(QueueUrl=url, MessageBody="work")
    real.select({"pi": packs()["pi"]})
    with pytest.raises(automation.errors.CommandError, match=r"holds 1 visible"):
        real.up()
    assert [each for each in inventory(project.client) if "pi-small-depth-low" in each[1]]
    sqs.purge_queue(QueueUrl=url)
    real.up()
    assert not [each for each in inventory(project.client) if "pi-small" in each[1]]
