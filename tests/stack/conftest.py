"""The real program, run by the local engine against the local cloud, with packs made for tests."""

import functools
import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
import yaml

from local.cloud import LocalCloud
from local.engine import Engine
from tests.stack.synthesized import configs, recording

ROOT = Path(__file__).resolve().parents[2]

PACK = """
from taskpacks import PackSpec, hookimpl

@hookimpl
def taskpack_spec():
    return PackSpec()

@hookimpl
def taskpack_register_tasks(app):
    pass
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    # At real pace: nothing here waits for an alarm.
    folder = tmp_path_factory.mktemp("cloud")
    with LocalCloud(folder, program_folder=ROOT, pace=1) as cloud:
        yield cloud


class Project:
    """A folder with the program and one stack's YAML, and an engine for it."""

    def __init__(self, folder, cloud, stack="test"):
        self.folder = folder
        self.cloud = cloud
        self.stack = stack
        for name in ("Pulumi.yaml", "__main__.py"):
            shutil.copy(ROOT / name, folder)

    def select(self, packs, **settings):
        config = {"aws:region": "us-east-1", "taskpacks:packs": packs}
        config |= {f"taskpacks:{key}": value for key, value in settings.items()}
        (self.folder / f"Pulumi.{self.stack}.yaml").write_text(yaml.safe_dump({"config": config}))
        return self.engine()

    def engine(self):
        return Engine(
            self.folder,
            self.stack,
            endpoint_url=self.cloud.endpoint_url,
            state_file=self.folder / "state.json",
        )

    def clear(self):
        """Deletes what the stack has made; what was refused at once has made nothing."""
        made = json.loads((self.folder / "state.json").read_text())["resources"]
        self.engine().destroy(run_program=any(each["before_delete"] for each in made))

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.cloud.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


@contextmanager
def project_in(folder, cloud):
    """A project whose packs are `small` and `other`, installed as distributions."""
    site = folder / "site"
    info = site / "testpacks-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: testpacks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[taskpacks]\nsmall = small_test_pack\nother = other_test_pack\n"
    )
    for name in ("small", "other"):
        (site / f"{name}_test_pack.py").write_text(PACK)
    program = folder / "project"
    program.mkdir()
    made = Project(program, cloud)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield made
        if (program / "state.json").exists():
            made.clear()


@pytest.fixture
def project(tmp_path, cloud):
    with project_in(tmp_path, cloud) as made:
        yield made


@pytest.fixture
def network(project):
    """The account's own, so that no test pays for making one."""
    ec2 = project.client("ec2")
    return {
        "subnet_ids": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
        "security_group_ids": [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]],
    }


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory, cloud):
    """For a module whose tests look at one deployment and change nothing."""
    with project_in(tmp_path_factory.mktemp("shared"), cloud) as made:
        yield made


def network_of_ones_own(endpoint_url):
    """The network that moto has from the start."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    ec2 = boto3.client("ec2", endpoint_url=endpoint_url, region_name="us-east-1", **keys)
    return {
        "taskpacks:subnet_ids": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
        "taskpacks:security_group_ids": [
            ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
        ],
    }


@pytest.fixture(scope="session")
def recorded_of(tmp_path_factory):
    """Each configuration's stack, recorded when a test first asks for it."""

    @functools.cache
    def recorded(name):
        folder = tmp_path_factory.mktemp("cloud-of-stack")
        with (
            LocalCloud(folder, program_folder=ROOT, pace=1) as cloud,
            pytest.MonkeyPatch.context() as monkeypatch,
        ):
            config = configs.CONFIGS[name]
            if "taskpacks:subnet_ids" in config:
                config = {**config, **network_of_ones_own(cloud.endpoint_url)}
            folder = tmp_path_factory.mktemp("stack")
            return recording.record(folder, config, cloud.endpoint_url, monkeypatch)

    return recorded


@pytest.fixture(params=configs.CONFIGS)
def recorded(request, recorded_of):
    return recorded_of(request.param)


@pytest.fixture
def smallest(recorded_of):
    return recorded_of("as little as possible")
