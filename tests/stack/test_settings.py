import contextvars
import json
import sys
import traceback
import types
from pathlib import Path
from typing import get_origin

import pytest
import yaml
from pulumi.runtime import set_all_config

from stack import settings
from stack.model import StackSettings
from taskpacks import Image, PackSpec, TaskpacksError, hookimpl

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def modules(monkeypatch):
    module = types.ModuleType("small_pack")

    def taskpack_spec():
        return PackSpec()

    def taskpack_register_tasks(app):
        """Registers nothing."""

    module.taskpack_spec = hookimpl(taskpack_spec)
    module.taskpack_register_tasks = hookimpl(taskpack_register_tasks)
    monkeypatch.setitem(sys.modules, "small_pack", module)
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
    assert text.startswith("taskpacks:packs.small.image is {'apt': ['ffmpeg']}: an image is built")


def test_subnets_without_security_groups_are_refused(modules):
    text = refusal({"packs": {"small": {}}, "subnet_ids": ["subnet-1"]}, modules)
    assert "give both, or neither" in text


def test_public_addresses_are_for_subnets_of_your_own(modules):
    text = refusal({"packs": {"small": {}}, "assign_public_ip": True}, modules)
    assert text.startswith("taskpacks:assign_public_ip is True and subnet_ids is []")
    assert "set egress: public" in text


def test_a_uri_scheme_that_tasks_cannot_use_is_refused(modules):
    text = refusal({"packs": {"small": {}}, "uri_schemes": ["s3", "http"]}, modules)
    assert text == "taskpacks:uri_schemes[1] is 'http': it is one of 's3' or 'file'."


def handed_over(monkeypatch, config, *secret):
    """As the CLI hands a configuration over."""
    texts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()
    }
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(texts))
    monkeypatch.setenv("PULUMI_CONFIG_SECRET_KEYS", json.dumps(secret))


def test_the_settings_that_the_cli_hands_over_are_read(monkeypatch):
    config = {"taskpacks:packs": {"pi": {}}, "taskpacks:image_tag": "v7", "aws:region": "x"}
    handed_over(monkeypatch, config)
    parsed = settings.read(*settings.from_pulumi())
    assert [each.name for each in parsed.deployments] == ["pi"]
    assert parsed.image_tag == "v7"


# `file`.


HERE = ["http://127.0.0.1:5000", "http://localhost:4566", "https://[::1]:1", "http://127.8.0.9"]
ELSEWHERE = [
    "https://sqs.us-east-1.amazonaws.com",
    "http://10.0.0.7:5000",
    "http://127.0.0.1.example.com",
    "http://127.0.0.1@example.com",
    "http://localhost.localstack.cloud:4566",
    "http://0.0.0.0:5000",
    "127.0.0.1:5000",
]


@pytest.mark.parametrize("address", HERE)
def test_files_may_be_named_where_every_address_is_on_this_machine(address, modules):
    config = {"packs": {"small": {}}, "uri_schemes": ["s3", "file"]}
    parsed = settings.parse(config, modules, endpoints=[*HERE, address])
    assert parsed.uri_schemes == ("s3", "file")


@pytest.mark.parametrize("address", ELSEWHERE)
def test_one_address_elsewhere_refuses_files(address, modules):
    config = {"packs": {"small": {}}, "uri_schemes": ["file"]}
    with pytest.raises(TaskpacksError) as caught:
        settings.parse(config, modules, endpoints=[*HERE, address])
    assert address in str(caught.value)
    assert "leave 'file' out" in str(caught.value)


def test_files_are_refused_in_aws_which_is_where_no_address_is_given(modules):
    text = refusal({"packs": {"small": {}}, "uri_schemes": ["file"]}, modules)
    assert text.startswith("taskpacks:uri_schemes has 'file' and aws:endpoints is []")


def test_the_addresses_are_those_of_the_provider():
    texts = {"taskpacks:packs": '{"pi": {}}', "taskpacks:uri_schemes": '["file"]'}
    here = json.dumps([{"sqs": "http://127.0.0.1:1", "s3": ""}, {"batch": "http://127.0.0.1:1"}])
    assert settings.read({**texts, "aws:endpoints": here}).uri_schemes == ("file",)
    mixed = json.dumps([{"sqs": "http://127.0.0.1:1", "batch": "https://batch.example.com"}])
    with pytest.raises(TaskpacksError, match=r"batch\.example\.com"):
        settings.read({**texts, "aws:endpoints": mixed})


# Secrets.


@pytest.mark.parametrize("key", sorted(set(settings.KEYS) - {"notify"}))
def test_a_secret_setting_that_could_not_stay_so_is_refused_without_its_value(key, monkeypatch):
    config = {"taskpacks:packs": {"pi": {}}, f"taskpacks:{key}": "hush"}
    handed_over(monkeypatch, config, f"taskpacks:{key}", "aws:secretKey")
    with pytest.raises(TaskpacksError) as caught:
        settings.read(*settings.from_pulumi())
    assert str(caught.value).startswith(f"taskpacks:{key} is secret")
    assert "below the deployment's `secrets`" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_an_engine_in_this_process_says_what_is_secret_too():
    texts = {"taskpacks:packs": '{"pi": {}}'}

    def refused():
        set_all_config(texts, ["taskpacks:packs"])
        with pytest.raises(TaskpacksError, match="taskpacks:packs is secret"):
            settings.read(*settings.from_pulumi())

    contextvars.copy_context().run(refused)


def test_the_providers_own_secrets_are_left_to_it(monkeypatch):
    config = {"taskpacks:packs": {"pi": {}}, "aws:secretKey": "hush"}
    handed_over(monkeypatch, config, "aws:secretKey")
    assert settings.read(*settings.from_pulumi()).deployments


HOOK = "https://hooks.example.com/hush"


def test_addresses_of_notices_may_be_secret(monkeypatch):
    config = {"taskpacks:packs": {"pi": {}}, "taskpacks:notify": [HOOK]}
    handed_over(monkeypatch, config, "taskpacks:notify")
    assert settings.read(*settings.from_pulumi()).notify == (HOOK,)


@pytest.mark.parametrize(
    "notify", [["http://example.com/hush"], "hush", {"to": "hush"}, "[hush", [["hush"]]]
)
def test_what_is_wrong_with_a_secret_is_told_without_its_value(notify, monkeypatch):
    config = {"taskpacks:packs": {"pi": {}}, "taskpacks:notify": notify}
    handed_over(monkeypatch, config, "taskpacks:notify")
    with pytest.raises(TaskpacksError) as caught:
        settings.read(*settings.from_pulumi())
    assert "[secret]" in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert "hush" not in shown


def test_a_key_that_there_is_not_names_the_nearest_one(modules):
    text = refusal({"pakcs": {"small": {}}}, modules)
    assert text == "taskpacks:pakcs: there is no such setting. Did you mean 'packs'?"


def test_a_deployment_may_run_an_image_of_its_own(modules):
    uri = "123456789012.dkr.ecr.us-east-1.amazonaws.com/ours:v7"
    (deployment,) = settings.parse(
        {"packs": {"small": {"image": {"uri": uri}}}}, modules
    ).deployments
    assert deployment.spec.image.uri == uri


def test_an_image_that_no_worker_could_pull_is_refused(modules):
    packs = {"small": {"image": {"uri": "docker.io/team/pi:v1"}}}
    text = refusal({"packs": packs}, modules)
    assert text.startswith("taskpacks:packs.small.image.uri is 'docker.io/team/pi:v1'")
    assert "set egress: nat" in text
    assert settings.parse({"packs": packs, "egress": "nat"}, modules).egress == "nat"


def test_an_image_of_another_region_is_refused_behind_endpoints(modules):
    uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/ours:v7"
    config = {"packs": {"small": {"image": {"uri": uri}}}}
    with pytest.raises(TaskpacksError) as caught:
        settings.parse(config, modules, region="us-east-1")
    assert str(caught.value).startswith(f"taskpacks:packs.small.image.uri is '{uri}'")
    assert "copy the image to us-east-1" in str(caught.value)
    assert settings.parse(config, modules, region="eu-west-1")
    assert settings.parse({**config, "egress": "nat"}, modules, region="us-east-1")


def test_a_key_of_another_region_is_refused(modules):
    config = {"packs": {"small": {}}, "kms_key": "arn:aws:kms:eu-west-1:123456789012:key/1"}
    with pytest.raises(TaskpacksError, match="a key of eu-west-1, and aws:region is us-east-1"):
        settings.parse(config, modules, region="us-east-1")
    assert settings.parse(config, modules, region="eu-west-1")


def test_the_region_is_that_of_the_provider():
    uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/ours:v7"
    packs = json.dumps({"pi": {"image": {"uri": uri}}})
    with pytest.raises(TaskpacksError, match="reach ECR in us-east-1 only"):
        settings.read({"taskpacks:packs": packs, "aws:region": "us-east-1"})


def declaring(base, modules, monkeypatch):
    declared = hookimpl(lambda: PackSpec(image=Image(base=base)))
    monkeypatch.setattr(sys.modules[modules["small"]], "taskpack_spec", declared)
    monkeypatch.setattr(settings, "build_files", lambda _pack: ())  # the pack is no folder here
    return modules


@pytest.mark.parametrize("base", ["cuda:12", "cuda:12@sha256:0123"])
def test_the_stack_builds_on_no_base_that_may_become_another(base, modules, monkeypatch):
    modules = declaring(base, modules, monkeypatch)
    text = refusal({"packs": {"small": {}}, "build_images": True}, modules)
    assert text.startswith(f"taskpacks:build_images: the pack 'small' declares image.base '{base}'")
    assert "`docker buildx imagetools inspect cuda:12` prints the digest" in text
    settings.parse({"packs": {"small": {}}}, modules)  # images are pushed by hand
    uri = "123456789012.dkr.ecr.us-east-1.amazonaws.com/ours:v7"
    packs = {"small": {"image": {"uri": uri}}}  # an image is given
    settings.parse({"packs": packs, "build_images": True}, modules)


def test_the_stack_builds_on_a_base_that_is_named_by_its_digest(modules, monkeypatch):
    modules = declaring(f"cuda:12@sha256:{'0' * 64}", modules, monkeypatch)
    assert settings.parse({"packs": {"small": {}}, "build_images": True}, modules).build_images


def test_a_pack_that_cannot_be_built_here_is_refused_with_the_settings(modules):
    text = refusal({"packs": {"small": {}}, "build_images": True}, modules)
    assert "the pack 'small' is installed and not a folder of this checkout" in text


REFUSED = {
    "egress": ({"egress": "natt"}, ["taskpacks:egress is 'natt'", "Did you mean 'nat'?"]),
    "an alias": ({"kms_key": "alias/mine"}, ["taskpacks:kms_key is 'alias/mine'", "key's ARN"]),
    "a tag": ({"image_tag": "v1:x"}, ["taskpacks:image_tag is 'v1:x'", "PACK-TAG"]),
    "build": ({"build_images": "yes"}, ["taskpacks:build_images is 'yes'", "true or false"]),
    "notify": ({"notify": "ops@example.com"}, ["taskpacks:notify is", "it is a list"]),
    "an owner's brackets": ({"owner": "ops <ops@x>"}, ["taskpacks:owner is", "tag's value"]),
    "owner": ({"owner": 7}, ["taskpacks:owner is 7", "it is a text"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_value_is_refused_with_its_path_and_the_remedy(case, modules):
    config, texts = REFUSED[case]
    text = refusal({"packs": {"small": {}}, **config}, modules)
    for each in texts:
        assert each in text


@pytest.mark.parametrize("key", ["subnet_ids", "security_group_ids", "secret_key_arns", "notify"])
def test_an_empty_text_in_a_list_is_refused_with_its_place(key, modules):
    config = {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"], key: ["", "x"]}
    assert f"taskpacks:{key}[0] is '': " in refusal({"packs": {"small": {}}, **config}, modules)


def project_schema():
    return yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]


def test_the_projects_schema_has_a_type_for_every_setting_but_the_mapping_of_packs():
    assert set(project_schema()) == set(settings.KEYS) - {"packs"}


WORDS = {bool: "boolean", int: "integer", tuple: "array"}
FIELDS = {key: StackSettings.model_fields[key] for key in settings.KEYS if key != "packs"}


@pytest.mark.parametrize("key", FIELDS)
def test_the_schema_says_of_each_setting_what_the_program_says(key):
    declared, field = project_schema()[key], FIELDS[key]
    kind = get_origin(field.annotation) or field.annotation
    assert declared["type"] == WORDS.get(kind, "string")
    assert declared["description"] == field.description
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    assert declared["default"] == ("" if default is None else default)


def test_the_defaults_of_the_schema_are_those_of_the_program(modules):
    defaults = {key: declared["default"] for key, declared in project_schema().items()}
    packs = {"packs": {"small": {}}}
    given, taken = settings.parse({**packs, **defaults}, modules), settings.parse(packs, modules)
    assert given.model_dump(exclude={"deployments"}) == taken.model_dump(exclude={"deployments"})


@pytest.mark.parametrize("key", settings.KEYS)
def test_the_reference_of_settings_has_each_with_its_default(key):
    page = (ROOT / "docs" / "deploying.md").read_text()
    rows = [row.strip("| ").split(" | ") for row in page.splitlines() if row.count("|") == 4]
    (default,) = (row[2].strip("`") for row in rows if f"`taskpacks:{key}`" in row[0])
    declared = FIELDS[key].default if key in FIELDS else None
    if isinstance(declared, bool | int):
        assert default == str(declared).lower()
    elif isinstance(declared, str):
        assert default == declared
    elif declared:
        assert default == f"[{', '.join(declared)}]"
    elif key in FIELDS:
        assert default in {"none", "a network is made", "keys that AWS manages"}
    else:
        assert default == "required"


def test_the_schema_uses_only_words_that_the_cli_knows():
    """https://github.com/pulumi/pulumi/blob/master/sdk/go/common/workspace/project.json"""
    for declared in project_schema().values():
        assert declared.keys() <= {"type", "items", "default", "description", "secret"}
        assert declared["type"] in {"string", "integer", "boolean", "array"}
        assert ("items" in declared) == (declared["type"] == "array")


def test_all_deployments_that_are_refused_are_told_at_once(modules):
    text = refusal(
        {"packs": {"a": {"pack": "smal"}, "small": {"resources": {"vcpus": 3}}}}, modules
    )
    assert "no pack 'smal'" in text
    assert "taskpacks:packs.small.resources: vcpus is 3" in text


def test_hardware_that_there_is_not_names_its_path_in_the_yaml(modules):
    resources = {"platform": "ec2", "instance_types": ["m7g.large"]}
    text = refusal({"packs": {"small": {"resources": resources}}}, modules)
    assert text.startswith("taskpacks:packs.small.resources: instance_types has m7g.large")


@pytest.mark.parametrize("flag", [True, False])
def test_sharing_is_switched_on_by_a_flag(flag, modules):
    parsed = settings.parse({"packs": {"small": {}}, "share_compute_environments": flag}, modules)
    assert parsed.share_compute_environments is flag


def test_a_flag_that_is_neither_true_nor_false_is_refused(modules):
    text = refusal({"packs": {"small": {}}, "share_compute_environments": "yes"}, modules)
    assert text == "taskpacks:share_compute_environments is 'yes': it is true or false."


WHOLE = "it is a whole number"


@pytest.mark.parametrize(
    ("value", "rule"),
    [(0, "it is at least 1"), (-1, "it is at least 1"), (True, WHOLE), (1.5, WHOLE), ("2", WHOLE)],
)
def test_a_machine_image_generation_is_a_whole_number(value, rule, modules):
    text = refusal({"packs": {"small": {}}, "machine_image_generation": value}, modules)
    assert text == f"taskpacks:machine_image_generation is {value!r}: {rule}."
    parsed = settings.parse({"packs": {"small": {}}, "machine_image_generation": 2}, modules)
    assert parsed.machine_image_generation == 2


@pytest.mark.parametrize("word", ["keep", "delete"])
def test_data_is_kept_or_deleted(modules, word):
    assert settings.parse({"packs": {"small": {}}, "data": word}, modules).data == word
    assert settings.parse({"packs": {"small": {}}}, modules).data == "keep"


def test_another_word_for_what_becomes_of_data_is_refused_with_the_nearest(modules):
    text = refusal({"packs": {"small": {}}, "data": "deleted"}, modules)
    assert text.startswith("taskpacks:data is 'deleted': it is one of 'keep' or 'delete'.")
    assert text.endswith("Did you mean 'delete'?")


@pytest.mark.parametrize("seconds", [0, 900, 86_400])
def test_workers_are_waited_for_as_long_as_is_said(modules, seconds):
    config = {"packs": {"small": {}}, "drain_on_delete_seconds": seconds}
    assert settings.parse(config, modules).drain_on_delete_seconds == seconds


@pytest.mark.parametrize(
    ("seconds", "rule"),
    [
        (-1, "it is at least 0"),
        (86_401, "it is at most 86400"),
        (1.5, WHOLE),
        (True, WHOLE),
        ("900", WHOLE),
    ],
)
def test_a_wait_that_is_no_number_of_seconds_within_a_day_is_refused(modules, seconds, rule):
    text = refusal({"packs": {"small": {}}, "drain_on_delete_seconds": seconds}, modules)
    assert text == f"taskpacks:drain_on_delete_seconds is {seconds!r}: {rule}."


def test_more_compute_environments_than_a_region_has_are_refused_unless_they_are_shared(modules):
    packs = {
        f"s{index}": {"pack": "small", "resources": {"purchase": "spot_then_on_demand"}}
        for index in range(26)
    }
    text = refusal({"packs": packs}, modules)
    assert "taskpacks:packs needs 52 compute environments: AWS Batch allows 50" in text
    assert "set taskpacks:share_compute_environments: true" in text
    assert settings.parse({"packs": packs, "share_compute_environments": True}, modules)
