"""EC2 instance types: how large they are, and which of them a worker gets.

A worker gets the smallest sizes that hold it, of every current family that has one: what an
instance's end takes with it is then one worker (or few), and the volume that workers share can
be sized for how many fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from taskpacks.types import Architecture, Resources

_LARGE_VCPUS: Final = 2
_XLARGE_VCPUS: Final = 4

_SHARE_FOR_JOBS: Final = 0.95
_KEPT_MIB: Final = 256
"""The hypervisor and the kernel keep a share of an instance's memory and a fixed part, and Batch
32 MiB. Both numbers are ours: the most memory, rounded, that no known measurement is below (the
tests list them with their sources). AWS says only that less is left than is sold, and advises to
leave 5 %:
https://docs.aws.amazon.com/batch/latest/userguide/memory-management.html
https://docs.aws.amazon.com/batch/latest/userguide/ecs-reserved-memory.html"""
_KEPT_ON_ARM64_MIB: Final = 64
"""Beside it, for the kernel's contiguous memory allocator on Graviton.
https://github.com/aws/karpenter-provider-aws/pull/3940"""


@dataclass(frozen=True)
class Instance:
    """One instance type."""

    name: str
    architecture: Architecture
    vcpus: int
    memory_mib: int
    gpus: int = 0

    def workers(self, resources: Resources) -> int:
        """How many workers it holds at once; 0 when it is too small."""
        fits = [
            int(self.vcpus // resources.vcpus),
            memory_for_jobs_mib(self.memory_mib, self.architecture) // resources.memory_mib,
        ]
        if resources.gpus:
            fits.append(self.gpus // resources.gpus)
        return min(fits)


def memory_for_jobs_mib(memory_mib: int, architecture: Architecture) -> int:
    """Returns how much memory an instance has for jobs, at least.

    Args:
        memory_mib: What it is sold with.
        architecture: Of its processor.
    """
    kept_mib = _KEPT_MIB + (_KEPT_ON_ARM64_MIB if architecture == "arm64" else 0)
    return max(int(memory_mib * _SHARE_FOR_JOBS) - kept_mib, 0)


def _vcpus(size: str) -> int:
    """A size's vCPUs, by AWS's way of naming: large is 2, xlarge 4, Nxlarge N times that."""
    if size == "medium":
        return 1
    if size == "large":
        return _LARGE_VCPUS
    return _XLARGE_VCPUS * int(size.removesuffix("xlarge") or 1)


# https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
_INTEL_6: Final = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge"
_INTEL_7: Final = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"
_GRAVITON_3: Final = "medium large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"
_GRAVITON_4: Final = f"{_GRAVITON_3} 24xlarge 48xlarge"

# https://docs.aws.amazon.com/ec2/latest/instancetypes/gp.html (m), co.html (c), mo.html (r)
_GENERATIONS: Final[tuple[tuple[Architecture, str, str], ...]] = (
    ("x86_64", "7i", _INTEL_7),
    ("x86_64", "6i", _INTEL_6),
    ("arm64", "8g", _GRAVITON_4),
    ("arm64", "7g", _GRAVITON_3),
)
_GIB_PER_VCPU: Final = {"m": 4, "c": 2, "r": 8}

# https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html: GPUs by size
_GPU_SIZES: Final = {
    "xlarge": 1, "2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "16xlarge": 1,
    "12xlarge": 4, "24xlarge": 4, "48xlarge": 8,
}  # fmt: skip
_GPU_FAMILIES: Final = {
    "g6": tuple(_GPU_SIZES),
    "g5": tuple(_GPU_SIZES),
    "g4dn": tuple(size for size in _GPU_SIZES if size not in {"24xlarge", "48xlarge"}),
}
_GPU_GIB_PER_VCPU: Final = 4


def _all() -> Iterator[Instance]:
    for architecture, generation, sizes in _GENERATIONS:
        for letter, gib in _GIB_PER_VCPU.items():
            for size in sizes.split():
                name = f"{letter}{generation}.{size}"
                yield Instance(name, architecture, _vcpus(size), _vcpus(size) * gib * 1024)
    for family, gpu_sizes in _GPU_FAMILIES.items():
        for size in gpu_sizes:
            memory_mib = _vcpus(size) * _GPU_GIB_PER_VCPU * 1024
            yield Instance(f"{family}.{size}", "x86_64", _vcpus(size), memory_mib, _GPU_SIZES[size])


KNOWN: Final = {instance.name: instance for instance in _all()}
"""By name. Another type can be named in a stack; its size and its price are not known then."""


def family(name: str) -> str:
    """The family of an instance type: m7i of m7i.large; a family is its own."""
    return name.partition(".")[0]


def fitting(resources: Resources, offered: Collection[str] | None = None) -> tuple[str, ...]:
    """The instance types that Batch may choose from.

    With `resources.instance_types`, those: a known family stands for its smallest size that
    holds a worker, everything else is passed on as it is. Without, the smallest sizes of all
    known families of the architecture, as far as they are equally small.

    Args:
        resources: Of a worker.
        offered: The instance types of a region; None where these are not known.

    Returns:
        Names, in the order of preference of the tables above; empty when nothing is large
        enough.
    """
    if resources.instance_types:
        found: list[str] = []
        for name in resources.instance_types:
            if is_known_family(name):
                found += _smallest_of(name, resources, offered)
            elif offered is None or name in offered or name in map(family, offered):
                found.append(name)
        return tuple(dict.fromkeys(found))
    smallest = [
        KNOWN[name]
        for each in dict.fromkeys(map(family, KNOWN))
        for name in _smallest_of(each, resources, offered)
    ]
    least = min((instance.vcpus for instance in smallest), default=0)
    return tuple(instance.name for instance in smallest if instance.vcpus == least)


def is_known_family(name: str) -> bool:
    """Whether it names a family of the tables above, and no size."""
    return name not in KNOWN and bool(sizes(name))


def sizes(name: str) -> list[Instance]:
    """Returns the known type of a name, or all sizes of a known family; empty for others."""
    return [each for each in KNOWN.values() if name in {each.name, family(each.name)}]


def _smallest_of(wanted: str, resources: Resources, offered: Collection[str] | None) -> list[str]:
    holding = [
        instance
        for instance in sizes(wanted)
        if instance.architecture == resources.architecture
        and bool(instance.gpus) == bool(resources.gpus)
        and instance.workers(resources)
        and (offered is None or instance.name in offered)
    ]
    return [min(holding, key=lambda instance: instance.vcpus).name] if holding else []


def workers_at_once(names: tuple[str, ...], resources: Resources) -> int:
    """The most workers that one instance of these types holds; unknown types count as one."""
    return max(
        (KNOWN[name].workers(resources) if name in KNOWN else 1 for name in names), default=1
    )
