"""Which instance types a stack gets where a region does not offer all of them."""

import pytest
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

from stack.hardware import instances, offerings, shapes
from stack.model import Deployment
from taskpacks import PackSpec, TaskpacksError
from taskpacks.manager import Pack
from tests.stack.test_program import nothing_was_made

ON_EC2 = {"platform": "ec2", "vcpus": 2, "memory_mib": 7000, "architecture": "arm64"}


def deployed(**fields):
    spec = PackSpec().overlaid({"resources": {**ON_EC2, **fields}}, "here")
    return Deployment("sort", Pack(name="sort", spec=spec, hooks=None), spec)


def without(*families):
    return {name for name in instances.KNOWN if instances.family(name) not in families}


def chosen(deployment, offered):
    return shapes.shape(deployment.spec.resources, offered).instance_types


def refusals(deployment, offered):
    return list(offerings.refusals([deployment], offered, "eu-west-9"))


def test_families_that_a_region_does_not_offer_are_left_out():
    assert chosen(deployed(), set(instances.KNOWN)) == (
        "m8g.large", "r8g.large", "m7g.large", "r7g.large",
    )  # fmt: skip
    assert chosen(deployed(), without("m8g", "r8g", "c8g")) == ("m7g.large", "r7g.large")


def test_the_next_size_is_taken_where_a_region_does_not_offer_the_smallest():
    large = {name for name in instances.KNOWN if not name.endswith(".large")}
    assert chosen(deployed(), large)[0] == "m8g.xlarge"


def test_what_a_stack_names_is_kept_where_the_region_offers_it():
    named = deployed(instance_types=["x2gd.large", "m7g", "i4g"])
    offered = {"x2gd.large", "m7g.large", "i4g.large"}
    assert refusals(named, offered) == []
    assert chosen(named, offered) == ("x2gd.large", "m7g.large", "i4g")


@pytest.mark.parametrize("named", ["m8g.4xlarge", "m8g", "x9z.large", "x9z"])
def test_what_a_stack_names_and_the_region_does_not_offer_is_refused(named):
    (refusal,) = refusals(deployed(instance_types=["m7g", named]), without("m8g"))
    assert refusal == (
        f"taskpacks:packs.sort.resources.instance_types has {named}: eu-west-9 does not offer it "
        "in a size that holds a worker; name one that it offers, or leave instance_types out."
    )


def test_a_region_that_offers_nothing_that_holds_a_worker_is_refused():
    (refusal,) = refusals(deployed(), without("m8g", "c8g", "r8g", "m7g", "c7g", "r7g"))
    assert refusal == (
        "taskpacks:packs.sort.resources: eu-west-9 offers no arm64 instance type that is known "
        "here and holds a worker; name instance_types that it offers, change the architecture, or "
        "deploy to another region."
    )


def test_fargate_is_left_as_it_is_and_nothing_is_asked_for_it():
    spec = PackSpec()
    fargate = Deployment("pi", Pack(name="pi", spec=spec, hooks=None), spec)
    assert refusals(fargate, set()) == []
    assert offerings.wanted([fargate]) == ()


def test_all_that_could_be_chosen_is_asked_for_and_ec2_takes_so_many_values_in_a_filter():
    wanted = offerings.wanted([deployed(), deployed(instance_types=["x2gd.large", "i4g"])])
    assert {"m8g.large", "c7g.16xlarge", "x2gd.large", "i4g.*"} <= set(wanted)
    everything = offerings.wanted(
        [deployed(), deployed(architecture="x86_64"), deployed(gpus=1, architecture="x86_64")]
    )
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Filter.html
    assert len(everything) <= 200


@pytest.fixture
def older_region(monkeypatch):
    """us-east-1 without Graviton 4."""
    regions = INSTANCE_TYPE_OFFERINGS["region"]
    offered = [each for each in regions["us-east-1"] if "8g." not in each["InstanceType"]]
    monkeypatch.setitem(regions, "us-east-1", offered)


@pytest.mark.usefixtures("older_region")
def test_the_program_asks_the_region_what_it_offers(project):
    project.select({"small": {"resources": ON_EC2}}).up()
    (environment,) = project.client("batch").describe_compute_environments()["computeEnvironments"]
    assert environment["computeResources"]["instanceTypes"] == ["m7g.large", "r7g.large"]


@pytest.mark.usefixtures("older_region")
def test_what_a_region_does_not_offer_is_refused_before_anything_is_made(project):
    engine = project.select({"small": {"resources": {**ON_EC2, "instance_types": ["m8g"]}}})
    with pytest.raises(TaskpacksError, match="instance_types has m8g: us-east-1 does not offer it"):
        engine.up()
    assert nothing_was_made(project)


def test_a_family_of_the_other_architecture_is_refused_for_that_and_not_for_the_region(project):
    named = {**ON_EC2, "instance_types": ["m7i", "m8g"]}
    with pytest.raises(TaskpacksError, match="m7i, which is x86_64: architecture is arm64"):
        project.select({"small": {"resources": named}}).up()


def instance_types(project):
    made = project.client("batch").describe_compute_environments()["computeEnvironments"]
    return [each["computeResources"]["instanceTypes"] for each in made]


@pytest.mark.parametrize("shared", [False, True])
def test_what_a_region_offers_one_day_replaces_no_machines(project, monkeypatch, shared):
    regions = INSTANCE_TYPE_OFFERINGS["region"]
    everything = regions["us-east-1"]
    # Without the r families, no instance holds two workers, whose volume is larger.
    only_m6i = [each for each in everything if each["InstanceType"].startswith("m6i.")]
    monkeypatch.setitem(regions, "us-east-1", only_m6i)
    resources = {**ON_EC2, "vcpus": 1, "architecture": "x86_64"}
    project.select({"small": {"resources": resources}}, share_compute_environments=shared).up()
    assert instance_types(project) == [["m6i.large"]]

    monkeypatch.setitem(regions, "us-east-1", everything)
    assert project.engine().up().changed == ()
    packs = {"small": {"resources": {**resources, "max_vcpus": 32}}}
    project.select(packs, share_compute_environments=shared).up()
    assert instance_types(project) == [["m6i.large"]]
    project.select(packs, share_compute_environments=shared, machine_image_generation=2).up()
    assert instance_types(project) == [["m7i.large", "r7i.large", "m6i.large", "r6i.large"]]
