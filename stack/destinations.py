"""Checks which other deployments a deployment's workers send messages to.

Both are declared: `sends_to`, for what tasks send, and `queue.escalate_to`, for tasks that died.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskpacks.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stack.model import Deployment
    from taskpacks.types import Death


def refusals(deployments: Sequence[Deployment]) -> list[str]:
    """Says what is wrong with the destinations of a stack's deployments.

    Returns:
        A sentence each, which begins with the setting's path below `taskpacks:packs`.
    """
    by_name = {each.name: each for each in deployments}
    return [
        text
        for each in deployments
        for text in (*_of_sends_to(each, by_name), *_of_escalation(each, by_name))
    ]


def _of_sends_to(deployment: Deployment, by_name: Mapping[str, Deployment]) -> Iterator[str]:
    where = f"{deployment.name}.sends_to"
    for name in deployment.spec.sends_to:
        if name == deployment.name:
            yield (
                f"{where} names '{name}', which is the deployment itself: its tasks may always "
                "send to its own task queue; leave it out."
            )
        elif name not in by_name:
            yield _missing(where, name, by_name, deployment)


def _of_escalation(deployment: Deployment, by_name: Mapping[str, Deployment]) -> Iterator[str]:
    name = deployment.spec.queue.escalate_to
    where = f"{deployment.name}.queue.escalate_to"
    if name is None:
        return
    if name not in by_name:
        yield _missing(where, name, by_name, deployment)
        return
    target = by_name[name]
    if target.pack.name != deployment.pack.name:
        yield (
            f"{where} is '{name}', which deploys the pack '{target.pack.name}': it could not run "
            f"tasks of '{deployment.pack.name}'; name another deployment of that pack."
        )
        return
    circle = _path(deployment, by_name)
    if circle[-1] == deployment.name:
        yield (
            f"{where} is '{name}', and that leads back: {' → '.join(circle)}; a task that is too "
            "large for all of them would never end. Leave escalate_to out of the largest."
        )
        return
    for death in deployment.spec.queue.escalate_on:
        setting, unit, less, more = _sizes(death, deployment, target)
        if more <= less:
            yield (
                f"{where} is '{name}', whose {setting} is {more} {unit}, and here it is {less} "
                f"{unit}: a task that died of it would die again; give '{name}' more, or leave "
                f"'{death}' out of escalate_on."
            )


def _missing(
    where: str, name: str, by_name: Mapping[str, Deployment], deployment: Deployment
) -> str:
    others = by_name.keys() - {deployment.name}
    return (
        f"{where} names '{name}': there is no such deployment in this stack."
        f"{nearest(name, others)} Select it in packs, or leave it out."
    )


def _path(deployment: Deployment, by_name: Mapping[str, Deployment]) -> list[str]:
    """Follows `escalate_to` from a deployment, until it ends or comes to a name again."""
    path = [deployment.name]
    while (name := by_name[path[-1]].spec.queue.escalate_to) and name in by_name:
        path.append(name)
        if path.count(name) > 1:
            break
    return path


def _sizes(death: Death, deployment: Deployment, target: Deployment) -> tuple[str, str, int, int]:
    """Returns a setting's path and unit, and its value in the one deployment and in the other."""
    here, there = deployment.spec, target.spec
    if death == "memory":
        sizes = (here.resources.memory_mib_of_a_task, there.resources.memory_mib_of_a_task)
        several = here.resources.processes > 1 or there.resources.processes > 1
        return f"resources.memory_mib{' / processes' if several else ''}", "MiB", *sizes
    return (
        "queue.task_time_limit_seconds",
        "s",
        here.queue.task_time_limit_seconds,
        there.queue.task_time_limit_seconds,
    )
