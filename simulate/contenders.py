"""The policies that can be simulated, by name: ours, and the others with two sets of settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulate.peers import (
    BacklogPerTask,
    BuildkiteScaler,
    KedaScaledJob,
    PostLoop,
    SampleAlarms,
)
from simulate.scalers import Controller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launcher.policy import Limits
    from simulate.scalers import Scaler

OURS: Final = "taskpacks"


@dataclass(frozen=True)
class Contender:
    """A policy, with its own defaults and tuned for what the limits say.

    Attributes:
        title: For tables.
        default: Makes it with its own defaults.
        tuned: Makes it with the limits' number of workers and what suits small backlogs; None
            where the first is all there is.
    """

    title: str
    default: Callable[[Limits], Scaler]
    tuned: Callable[[Limits], Scaler] | None = None


CONTENDERS: Final[Mapping[str, Contender]] = {
    OURS: Contender("taskpacks", Controller),
    "sample-alarms": Contender(
        "sample's alarms",
        lambda _: SampleAlarms(),
        lambda limits: SampleAlarms(low=1, high=20, high_workers=max(2, min(50, limits.workers))),
    ),
    "post-loop": Contender(
        "post's Figure 2",
        lambda _: PostLoop(),
        lambda limits: PostLoop(
            few=1, many=10, many_workers=max(2, min(10, limits.workers)), round_seconds=30
        ),
    ),
    "keda-default": Contender(
        "KEDA default",
        lambda _: KedaScaledJob("default"),
        lambda limits: KedaScaledJob("default", queue_length=2, max_replicas=limits.workers),
    ),
    "keda-accurate": Contender(
        "KEDA accurate",
        lambda _: KedaScaledJob("accurate"),
        lambda limits: KedaScaledJob(
            "accurate", queue_length=2, max_replicas=limits.workers, count_in_flight=False
        ),
    ),
    "backlog-per-task": Contender(
        "backlog per task",
        lambda limits: BacklogPerTask(
            acceptable_seconds=limits.start_within_seconds, task_seconds=limits.task_seconds
        ),
        lambda limits: BacklogPerTask(
            acceptable_seconds=limits.start_within_seconds / 4,
            task_seconds=limits.task_seconds,
            max_tasks=limits.workers,
            protect_busy=True,
        ),
    ),
    "buildkite": Contender(
        "buildkite scaler",
        lambda _: BuildkiteScaler(),
        lambda limits: BuildkiteScaler(max_size=limits.workers, idle_seconds=limits.idle_seconds),
    ),
}
