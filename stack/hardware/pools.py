"""Which deployments run on the same machines: each on its own, or all of equal shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack.hardware import shapes
from stack.model import short_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from stack.hardware.shapes import Shape
    from stack.model import Deployment, StackContext


@dataclass(frozen=True)
class Pool:
    """Deployments that run on the same machines."""

    name: str
    shape: Shape
    deployments: tuple[Deployment, ...]

    @property
    def max_vcpus(self) -> int:
        """Returns the sum of all its deployments."""
        return sum(each.spec.resources.max_vcpus for each in self.deployments)

    def environments(self, context: StackContext) -> str:
        """How the names of its compute environments on EC2 begin, and no other's in the account.

        IAM tells their ECS clusters apart by these names alone: Batch puts no tags on them.
        https://docs.aws.amazon.com/batch/latest/userguide/tag-resources.html
        """
        return f"{self.name}-{short_digest(context.project, context.stack, self.name)}"


def pools(
    deployments: Sequence[Deployment], *, shared: bool, offered: Collection[str] | None = None
) -> tuple[Pool, ...]:
    """Which machines there are.

    Args:
        deployments: Of the stack.
        shared: Deployments of equal shape run on the same machines: fewer compute
            environments, and one deployment can use what another leaves of their max_vcpus
            together. Else each has its own.
        offered: The instance types of the region; None where these are not known.
    """
    groups: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        shape = shapes.shape(deployment.spec.resources, offered)
        name = f"shared-{shape.label}" if shared else deployment.name
        groups.setdefault(name, []).append(deployment)
    return tuple(
        Pool(name, shapes.shape(group[0].spec.resources, offered), tuple(group))
        for name, group in groups.items()
    )
