import json
import types

import pulumi
import pytest

from stack import settings
from taskpacks import PackSpec, TaskpacksError, hookimpl


@pytest.fixture
def modules(monkeypatch):
    module = types.ModuleType("small_pack")

    def taskpack_spec():
        return PackSpec()

    def taskpack_register_tasks(app):
        """Registers nothing."""

    module.taskpack_spec = hookimpl(taskpack_spec)
    module.taskpack_register_tasks = hookimpl(taskpack_register_tasks)
    monkeypatch.setitem(__import__("sys").modules, "small_pack", module)
    return {"small": "small_pack", "other": "small_pack"}


def refusal(config, modules):
    with pytest.raises(TaskpacksError) as caught:
        settings.parse(config, modules)
    return str(caught.value)


def test_a_pack_is_deployed_under_its_own_name(modules):
    (deployment,) = settings.parse({"packs": {"small": {}}}, modules).deployments
    assert (deployment.name, deployment.pack.name) == ("small", "small")
    assert deployment.spec == PackSpec()


def test_a_pack_is_deployed_twice_under_two_names_with_overrides(modules):
    parsed = settings.parse(
        {
            "packs": {
                "fast": {"pack": "small", "resources": {"vcpus": 2, "memory_mib": 4096}},
                "small": None,
            }
        },
        modules,
    )
    fast, slow = parsed.deployments
    assert (fast.name, fast.pack.name, fast.spec.resources.vcpus) == ("fast", "small", 2)
    assert (slow.name, slow.spec) == ("small", PackSpec())


@pytest.mark.parametrize("packs", [None, {}, [], ["small"], "small"])
def test_a_stack_without_packs_is_told_how_to_select_one(packs, modules):
    text = refusal({"packs": packs}, modules)
    assert text.startswith(f"taskpacks:packs is {packs!r}: a stack must select at least one pack")
    assert "{pi: {}}" in text
    assert "Known: other, small." in text


def test_an_unknown_pack_is_refused(modules):
    assert "no pack 'smal'. Did you mean 'small'?" in refusal({"packs": {"smal": {}}}, modules)


def test_an_override_that_is_refused_names_its_path_in_the_yaml(modules):
    text = refusal({"packs": {"small": {"resources": {"vcpus": 3}}}}, modules)
    assert text.startswith("taskpacks:packs.small.resources: vcpus is 3")


@pytest.mark.parametrize("name", ["Small", "1st", "a" * 33, "a b", ""])
def test_a_deployment_name_that_aws_would_refuse_is_refused(name, modules):
    assert "1 to 32 lower-case letters" in refusal({"packs": {name: {"pack": "small"}}}, modules)


def test_overrides_that_are_no_mapping_are_refused(modules):
    assert "overrides are a mapping" in refusal({"packs": {"small": [1]}}, modules)


def test_more_deployments_than_job_queues_are_refused(modules):
    packs = {f"small{index}": {"pack": "small"} for index in range(51)}
    assert "51 deployments: AWS Batch allows 50 job queues" in refusal({"packs": packs}, modules)


def test_an_image_cannot_be_overridden_by_a_stack(modules):
    text = refusal({"packs": {"small": {"image": {"apt": ["ffmpeg"]}}}}, modules)
    assert text.startswith("taskpacks:packs.small.image: an image is built from the pack's own")


def test_subnets_without_security_groups_are_refused(modules):
    text = refusal({"packs": {"small": {}}, "subnet_ids": ["subnet-1"]}, modules)
    assert "give both, or neither" in text


def test_a_uri_scheme_that_tasks_cannot_use_is_refused(modules):
    text = refusal({"packs": {"small": {}}, "uri_schemes": ["s3", "http"]}, modules)
    assert "'http'" in text
    assert "s3 and file" in text


def test_the_settings_that_the_cli_hands_over_are_read(monkeypatch, modules):
    config = {"taskpacks:packs": '{"small": {}}', "taskpacks:image_tag": "v7", "aws:region": "x"}
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(config))
    found = settings.from_config(pulumi.Config(settings.NAMESPACE))
    assert found == {"packs": {"small": {}}, "image_tag": "v7"}
    assert settings.parse(found, modules).image_tag == "v7"


def test_a_key_that_there_is_not_names_the_nearest_one(modules):
    text = refusal({"pakcs": {"small": {}}}, modules)
    assert text == "taskpacks:pakcs: there is no such setting. Did you mean 'packs'?"
