"""The policies that can be simulated, by name: ours, and the others with two sets of settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.peers import (
    BacklogPerTask,
    BuildkiteScaler,
    KedaScaledJob,
    PostLoop,
    SampleAlarms,
)
from simulate.scalers import LauncherLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launcher.policy import Limits
    from simulate.scalers import Scaler

OURS: Final = "taskpacks"


@dataclass(frozen=True)
class Policy:
    """A policy, with its own defaults and tuned.

    Attributes:
        title: For tables.
        default: Makes it with its own defaults.
        tuned: Makes it with the limits' number of workers, and of a grid of its settings with the
            one that does best over the first half of the bench (benchmarks/scaling_tuning.py); None
            where the first is all there is.
    """

    title: str
    default: Callable[[Limits], Scaler]
    tuned: Callable[[Limits], Scaler] | None = None


def matched(limits: Limits) -> KedaScaledJob:
    """KEDA with as many messages per job as give a worker the share of work that ours finds.

    Somebody has to know what a task takes, and to change the setting when it changes.
    """
    share_seconds = limits.break_even * (limits.startup_seconds + limits.idle_seconds)
    return KedaScaledJob(
        "default",
        queue_length=max(1, round(share_seconds / limits.task_seconds)),
        max_replicas=limits.workers,
    )


POLICIES: Final[Mapping[str, Policy]] = {
    OURS: Policy("taskpacks", LauncherLoop),
    "sample-alarms": Policy(
        "sample's alarms",
        lambda _: SampleAlarms(),
        lambda limits: SampleAlarms(low=1, high=10, high_workers=max(2, min(100, limits.workers))),
    ),
    "post-loop": Policy(
        "post's Figure 2",
        lambda _: PostLoop(),
        lambda limits: PostLoop(few=1, many=10, many_workers=max(2, min(20, limits.workers))),
    ),
    "keda-default": Policy(
        "KEDA default",
        lambda _: KedaScaledJob("default"),
        lambda limits: KedaScaledJob("default", queue_length=1, max_replicas=limits.workers),
    ),
    "keda-accurate": Policy(
        "KEDA accurate",
        lambda _: KedaScaledJob("accurate"),
        lambda limits: KedaScaledJob("accurate", queue_length=1, max_replicas=limits.workers),
    ),
    "keda-matched": Policy("KEDA default, matched", matched),
    "backlog-per-task": Policy(
        "backlog per task",
        lambda limits: BacklogPerTask(
            acceptable_seconds=limits.start_within_seconds, task_seconds=limits.task_seconds
        ),
        lambda limits: BacklogPerTask(
            acceptable_seconds=limits.start_within_seconds / 5,
            task_seconds=limits.task_seconds,
            max_tasks=limits.workers,
            protect_busy=True,
        ),
    ),
    "buildkite": Policy(
        "buildkite scaler",
        lambda _: BuildkiteScaler(),
        lambda limits: BuildkiteScaler(max_size=limits.workers, idle_seconds=300),
    ),
}
