import gzip
import json
from pathlib import Path

import moto
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.cloud.retries import Ending, runs_again
from stack.hardware import instances, shapes
from stack.hardware.pools import pools
from stack.model import Deployment
from taskpacks import PackSpec, Resources, limits, manager
from taskpacks.contract import ExitCode
from taskpacks.manager import Pack


def ec2(**fields):
    return Resources(**{"platform": "ec2", **fields})


# The table against one that others keep: moto's copy of DescribeInstanceTypes.
def published():
    file = Path(moto.__file__).parent / "ec2" / "resources" / "instance_types.json.gz"
    return json.loads(gzip.decompress(file.read_bytes()))


def test_every_known_instance_type_is_as_aws_describes_it():
    described = published()
    for instance in instances.KNOWN.values():
        facts = described[instance.name]
        assert instance.vcpus == facts["VCpuInfo"]["DefaultVCpus"], instance
        assert instance.memory_mib == facts["MemoryInfo"]["SizeInMiB"], instance
        gpus = facts.get("GpuInfo", {}).get("Gpus", [{"Count": 0}])[0]["Count"]
        assert instance.gpus == gpus, instance
        assert instance.architecture in facts["ProcessorInfo"]["SupportedArchitectures"], instance


def test_no_virtual_size_of_a_known_family_is_left_out():
    families = {instances.family(name) for name in instances.KNOWN}
    theirs = {
        name for name in published() if instances.family(name) in families and ".metal" not in name
    }
    assert theirs == set(instances.KNOWN)


@pytest.mark.parametrize(
    ("platform", "purchase", "kinds"),
    [
        ("fargate", "on_demand", ["FARGATE"]),
        ("fargate", "spot", ["FARGATE_SPOT"]),
        ("fargate", "spot_then_on_demand", ["FARGATE_SPOT", "FARGATE"]),
        ("ec2", "on_demand", ["EC2"]),
        ("ec2", "spot", ["SPOT"]),
        ("ec2", "spot_then_on_demand", ["SPOT", "EC2"]),
    ],
)
@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_platform_and_purchase_choose_the_compute_types(platform, purchase, kinds, architecture):
    shape = shapes.shape(Resources(platform=platform, purchase=purchase, architecture=architecture))
    assert [shapes.compute_type(platform, each) for each in shape.purchases] == kinds
    assert len(kinds) <= limits.COMPUTE_ENVIRONMENTS_PER_JOB_QUEUE


def test_spot_looks_for_capacity_and_price_and_on_demand_for_price():
    assert shapes.allocation_strategy("spot") == "SPOT_PRICE_CAPACITY_OPTIMIZED"
    assert shapes.allocation_strategy("on-demand") == "BEST_FIT_PROGRESSIVE"


def test_a_worker_gets_the_smallest_sizes_of_all_families_that_hold_it():
    shape = shapes.shape(ec2(vcpus=4, memory_mib=14848, architecture="arm64"))
    # c7g.2xlarge would hold it too, and be twice as large.
    assert shape.instance_types == ("m8g.xlarge", "r8g.xlarge", "m7g.xlarge", "r7g.xlarge")


REGISTERED_MIB = {
    # Sold with -> registered with ECS, before the 32 MiB that Batch keeps:
    # https://www.sentialabs.io/2018/05/25/ecs-calculator.html
    "c5.large": (4096, 3714),
    "c5.xlarge": (8192, 7634),
    "c5.2xlarge": (16384, 15473),
    "c5.4xlarge": (32768, 31152),
    "c5.9xlarge": (73728, 70351),
    "c5.18xlarge": (147456, 140780),
    "m5.large": (8192, 7690),
    "m5.xlarge": (16384, 15586),
    "m5.2xlarge": (32768, 31377),
    "m5.4xlarge": (65536, 62960),
    "m5.12xlarge": (196608, 189294),
    "m5.24xlarge": (393216, 378665),
    # On Amazon Linux 2023, what was left for jobs: https://github.com/ASFHyP3/hyp3/pull/1900
    "r6id.xlarge": (32768, 31517 + 32),
    "r6id.4xlarge": (131072, 126722 + 32),
    # https://github.com/aws/amazon-ecs-ami/issues/597
    "m6i.large": (8192, 7817),
}


@pytest.mark.parametrize("name", REGISTERED_MIB)
@pytest.mark.parametrize(("architecture", "less_mib"), [("x86_64", 32), ("arm64", 32 + 64)])
def test_no_more_memory_is_counted_on_than_instances_were_seen_to_have_for_jobs(
    name, architecture, less_mib
):
    sold_mib, registered_mib = REGISTERED_MIB[name]
    counted_mib = instances.memory_for_jobs_mib(sold_mib, architecture)
    assert 0.9 * (registered_mib - less_mib) < counted_mib <= registered_mib - less_mib


def test_a_worker_that_needs_more_than_an_instance_has_for_jobs_gets_a_larger_one():
    assert not instances.KNOWN["m7g.xlarge"].workers(ec2(vcpus=4, memory_mib=15360))
    assert instances.KNOWN["m7g.xlarge"].workers(ec2(vcpus=4, memory_mib=14848)) == 1
    assert not instances.KNOWN["c7i.large"].workers(ec2(vcpus=2, memory_mib=3850))


def test_a_gpu_brings_gpu_families_and_their_image():
    shape = shapes.shape(ec2(gpus=1, vcpus=8, memory_mib=14848))
    assert shape.instance_types == ("g6.2xlarge", "g5.2xlarge", "g4dn.2xlarge")
    assert shape.image_type == "ECS_AL2023_NVIDIA"
    assert shapes.shape(ec2()).image_type == "ECS_AL2023"


def test_four_gpus_bring_the_sizes_that_have_four():
    assert shapes.shape(ec2(gpus=4, vcpus=8)).instance_types == (
        "g6.12xlarge",
        "g5.12xlarge",
        "g4dn.12xlarge",
    )


def test_a_named_size_is_taken_as_it_is_and_a_family_by_its_smallest_size_that_fits():
    resources = ec2(vcpus=4, instance_types=("c7i.8xlarge", "m7i", "p5.48xlarge", "x9z"))
    assert shapes.shape(resources).instance_types == (
        "c7i.8xlarge",
        "m7i.xlarge",
        "p5.48xlarge",
        "x9z",
    )


def test_the_volume_has_room_for_the_scratch_of_all_workers_that_one_instance_holds():
    one = ec2(vcpus=4, memory_mib=14848, scratch_gib=100)
    assert shapes.shape(one).volume_gib == 30 + 100
    four = ec2(vcpus=4, memory_mib=4096, scratch_gib=100, instance_types=("m7i.4xlarge",))
    assert shapes.shape(four).volume_gib == 30 + 4 * 100


@given(
    vcpus=st.integers(1, 192),
    memory_mib=st.integers(512, 1_500_000),
    architecture=st.sampled_from(["x86_64", "arm64"]),
)
def test_whatever_is_chosen_holds_a_worker_or_is_refused(vcpus, memory_mib, architecture):
    resources = ec2(vcpus=vcpus, memory_mib=memory_mib, architecture=architecture, max_vcpus=vcpus)
    types = instances.fitting(resources)
    assert bool(types) != bool(shapes.refusals(resources))
    for name in types:
        instance = instances.KNOWN[name]
        assert instance.architecture == architecture
        assert instance.vcpus >= vcpus
        assert instance.memory_mib > memory_mib
        assert instances.workers_at_once(types, resources) >= instance.workers(resources) >= 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"instance_types": ("m7g.large",)}, "m7g.large, which is arm64: architecture is x86_64"),
        ({"vcpus": 4, "instance_types": ("c7i.large",)}, "take a larger size"),
        ({"instance_types": ("m7i", "m7g")}, "m7g, which is arm64: architecture is x86_64"),
        ({"instance_types": ("m7i", "g6")}, "g6, which has GPUs: gpus is 0"),
        ({"gpus": 1, "instance_types": ("g6", "m7i")}, "m7i, which has no GPUs: gpus is 1"),
        ({"gpus": 1, "instance_types": ("m7i.large",)}, "m7i.large, which has no GPUs: gpus is 1"),
        (
            {"memory_mib": 390_000, "instance_types": ("r7i", "c7i")},
            "c7i, of which c7i.48xlarge is the largest (192 vCPUs, 393216 MiB",
        ),
        ({"vcpus": 500, "max_vcpus": 500}, "a worker needs 500 vCPUs, 2048 MiB: no x86_64"),
        ({"gpus": 9}, "and 9 GPUs: no x86_64 instance type"),
        (
            {"scratch_gib": 9000, "instance_types": ("m7i.xlarge",)},
            "a volume of 36030 GiB, and gp3 has at most 16384",
        ),
    ],
)
def test_what_aws_would_never_place_is_refused(fields, text):
    (refusal,) = shapes.refusals(ec2(**fields))
    assert text in refusal


def test_the_packs_run_on_what_they_say():
    made = {name: shapes.shape(manager.load(name).spec.resources) for name in PACKS}
    assert made["pi"].platform == "fargate"
    assert made["csv_sort"].instance_types[0] == "m8g.xlarge"
    assert made["video_encoding"].instance_types[0] == "m7i.2xlarge"
    video = manager.load("video_encoding").spec.overlaid({"resources": {"gpus": 1}}, "here")
    assert shapes.shape(video.resources).instance_types[0] == "g6.2xlarge"


PACKS = ("pi", "csv_sort", "video_encoding")


# What Batch would do, as the local cloud does it.
def again(exit_code, status_reason, reason=None):
    rules = [
        {to_api(name): value for name, value in rule.items()} for rule in shapes.evaluate_on_exit()
    ]
    ending = Ending(exit_code=exit_code, status_reason=status_reason, reason=reason)
    return runs_again({"attempts": 3, "evaluateOnExit": rules}, 1, ending)


def to_api(name):
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def test_a_worker_starts_another_only_when_its_machine_was_taken():
    assert again(None, "Host EC2 (instance i-0123) terminated.")
    assert again(None, "Your Spot Task was interrupted.")
    # It left by itself, on a Spot notice, before its machine went.
    assert again(ExitCode.STOPPED, "Essential container in task exited")
    for code in [code for code in ExitCode if code is not ExitCode.STOPPED]:
        assert not again(code, "Essential container in task exited")
    assert not again(1, "Essential container in task exited")
    assert not again(137, "Essential container in task exited", "OutOfMemoryError: killed")
    assert not again(None, "CannotPullContainerError: pull access denied")


def test_the_rules_end_with_one_for_everything_else():
    rules = shapes.evaluate_on_exit()
    assert rules[-1] == {"action": "exit", "on_reason": "*"}
    assert len(rules) <= limits.EVALUATE_ON_EXIT_MAX


def test_jobs_that_can_never_run_are_cancelled_and_those_that_wait_for_capacity_are_not():
    reasons = [action["reason"] for action in shapes.state_time_limits()]
    assert all(reason.startswith("MISCONFIGURATION:") for reason in reasons)
    assert {action["max_time_seconds"] for action in shapes.state_time_limits()} == {600}


def digest(
    purchase="spot", network_ids=("subnet-a", "sg-a"), image=1, owner="us", key=None, **fields
):
    return shapes.machines_digest(
        shapes.shape(ec2(**fields)),
        purchase,
        network_ids=network_ids,
        tags={"taskpacks:stack": "test", "taskpacks:owner": owner},
        kms_key=key,
        machine_image_generation=image,
    )


# https://docs.aws.amazon.com/batch/latest/userguide/infrastructure-updates.html
@pytest.mark.parametrize(
    "change",
    [
        {"purchase": "on-demand"},
        {"network_ids": ("subnet-b", "sg-a")},
        {"network_ids": ("subnet-a", "sg-b")},
        {"image": 2},
        {"owner": "them"},
        {"key": "arn:aws:kms:us-east-1:111122223333:key/1"},
        {"instance_types": ("m7i.4xlarge",)},
        {"architecture": "arm64"},
        {"scratch_gib": 22},
        {"gpus": 1},
    ],
)
def test_what_aws_replaces_instances_for_is_in_the_digest_of_machines(change):
    assert digest(**change) != digest()


def test_what_aws_changes_in_place_is_not_in_the_digest_of_machines():
    assert digest(max_vcpus=64) == digest()
    assert digest(network_ids=("sg-a", "subnet-a")) == digest()


def test_the_launch_template_is_in_the_digest_of_machines(monkeypatch):
    before = digest()
    monkeypatch.setattr(shapes, "METADATA_HOPS", 7)
    assert digest() != before


@pytest.mark.parametrize("purchase", ["spot", "spot_then_on_demand"])
def test_workers_on_spot_instances_look_for_notices(purchase):
    assert shapes.spot_endpoint(ec2(purchase=purchase)) == "http://169.254.169.254"
    assert not shapes.spot_endpoint(ec2())
    assert not shapes.spot_endpoint(Resources(purchase=purchase))


def deployed(name, **fields):
    spec = PackSpec().overlaid({"resources": fields}, name)
    return Deployment(name, Pack(name="small", spec=spec, hooks=None), spec)


MIXED = (
    deployed("a", max_vcpus=4),
    deployed("b", vcpus=2, memory_mib=4096, max_vcpus=10, architecture="arm64"),
    deployed("c", purchase="spot"),
    deployed("d", platform="ec2"),
    deployed("e", platform="ec2", max_vcpus=7),
    deployed("f", platform="ec2", scratch_gib=50),
)


def test_each_deployment_has_machines_of_its_own():
    made = pools(MIXED, shared=False)
    assert [(pool.name, pool.max_vcpus) for pool in made] == [
        ("a", 4), ("b", 10), ("c", 16), ("d", 16), ("e", 7), ("f", 16),
    ]  # fmt: skip


def test_deployments_of_equal_shape_share_machines_and_bring_their_share_of_vcpus():
    made = pools(MIXED, shared=True)
    assert [[each.name for each in pool.deployments] for pool in made] == [
        ["a", "b"],  # on Fargate the job says its size and its architecture
        ["c"],
        ["d", "e"],
        ["f"],
    ]
    assert [pool.max_vcpus for pool in made] == [14, 16, 23, 16]
    assert made[0].name == "shared-fargate-on-demand"
    assert len({pool.name for pool in made}) == len(made)


def properties(resources):
    return shapes.container_properties(
        resources,
        image="repo:pi-latest",
        command=("python", "-m", "worker"),
        environment={"B": "2", "A": "1", "EMPTY": ""},
        secrets={"KEY": "arn:secret"},
        job_role_arn="arn:job",
        execution_role_arn="arn:execution",
        log_group="log",
        assign_public_ip=True,
    )


def test_a_fargate_job_names_its_platform_network_storage_and_architecture():
    made = properties(Resources(vcpus=0.5, memory_mib=1024, architecture="arm64", scratch_gib=30))
    assert made["resourceRequirements"] == [
        {"type": "VCPU", "value": "0.5"},
        {"type": "MEMORY", "value": "1024"},
    ]
    assert made["ephemeralStorage"] == {"sizeInGiB": 30}
    assert made["runtimePlatform"]["cpuArchitecture"] == "ARM64"
    assert made["networkConfiguration"] == {"assignPublicIp": "ENABLED"}
    assert made["environment"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert made["secrets"] == [{"name": "KEY", "valueFrom": "arn:secret"}]


def test_a_gpu_is_there_for_encoding_too_and_not_for_computing_alone():
    assert shapes.gpu_environment(ec2(gpus=1)) == {
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility,video"
    }
    assert shapes.gpu_environment(ec2()) == {}


def test_an_ec2_job_has_none_of_what_only_fargate_takes():
    made = properties(Resources(platform="ec2", gpus=1))
    assert {"type": "GPU", "value": "1"} in made["resourceRequirements"]
    assert not made.keys() & {
        "fargatePlatformConfiguration",
        "networkConfiguration",
        "ephemeralStorage",
        "runtimePlatform",
    }
