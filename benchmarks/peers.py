"""Other ways to start workers, each from its own source, in the same world.

Their workers are this project's: one task at a time, leaving when idle, where the peer's own
design does not say otherwise. Read at the versions named, in 2026.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, Literal

from simulate.scalers import MINUTE_SECONDS, WAKE_SECONDS, Alarm, every, phases

if TYPE_CHECKING:
    from simulate.world import World


class SampleAlarms:
    """The sample's two alarms: at 5 visible messages one job, at 50 an array of ten.

    https://github.com/aws-samples/aws-batch-celery-worker-example, cdk-project/app.py at 8a3bb7f.
    """

    def __init__(
        self, *, low: int = 5, low_workers: int = 1, high: int = 50, high_workers: int = 10
    ) -> None:
        """Takes the sample's own figures."""
        self._steps = ((low, low_workers), (high, high_workers))

    def attach(self, world: World) -> None:
        """Sets the alarms."""
        for depth, workers in self._steps:
            Alarm(
                world,
                lambda visible, _, depth=depth: visible >= depth,
                lambda workers=workers: self._start(world, workers),
            )

    def _start(self, world: World, workers: int) -> None:
        world.figures.api_calls += 1
        world.start(workers)


class PostLoop:
    """The blog post's Figure 2: a state machine that asks for the count and submits, in rounds.

    https://aws.amazon.com/blogs/hpc/run-celery-workers-for-compute-intensive-tasks-with-aws-batch/,
    Figure 2: few messages (5 to 10) start one job, many (above 50) an array of ten, each round,
    until the queue is empty. The figure says nothing of 11 to 50 (taken as few) nor of how long
    a round is (taken as a minute, the period of the metric that wakes it).
    """

    def __init__(
        self,
        *,
        few: int = 5,
        many: int = 50,
        many_workers: int = 10,
        round_seconds: float = 60,
    ) -> None:
        """Takes the figure's own numbers."""
        self._few, self._many, self._many_workers = few, many, many_workers
        self._round_seconds = round_seconds
        self._looping = False

    def attach(self, world: World) -> None:
        """Sets the alarm that wakes it."""
        self._world = world
        Alarm(world, lambda visible, _: visible >= self._few, self._wake)

    def _wake(self) -> None:
        if not self._looping:
            self._looping = True
            self._world.at(self._world.now + WAKE_SECONDS, self._round)

    def _round(self) -> None:
        world = self._world
        visible, _ = world.counts()
        world.figures.api_calls += 1
        if not visible:
            self._looping = False
            return
        workers = self._many_workers if visible > self._many else int(visible >= self._few)
        if workers:
            world.figures.api_calls += 1
            world.start(workers)
        world.at(world.now + self._round_seconds, self._round)


class KedaScaledJob:
    """KEDA's ScaledJob on an SQS queue, with the strategy `default` or `accurate`.

    https://github.com/kedacore/keda, pkg/scaling/executor/scale_jobs.go at 023bc3a (strategies)
    and pkg/scaling/scaledjob/scale_metrics.go at 3821105 (what is asked for). Defaults: polled
    every 30 s (https://keda.sh/docs/latest/reference/scaledjob-spec/), queueLength 5 and messages
    in flight counted (https://keda.sh/docs/latest/scalers/aws-sqs/), 100 replicas.
    """

    def __init__(
        self,
        strategy: Literal["default", "accurate"],
        *,
        queue_length: int = 5,
        max_replicas: int = 100,
        count_in_flight: bool = True,
        poll_seconds: float = 30,
    ) -> None:
        """Takes KEDA's own defaults."""
        self._strategy = strategy
        self._queue_length, self._max_replicas = queue_length, max_replicas
        self._count_in_flight, self._poll_seconds = count_in_flight, poll_seconds

    def attach(self, world: World) -> None:
        """Polls, with an idle queue too."""
        self._world = world
        every(world, self._poll_seconds, phases(world).uniform(0, self._poll_seconds), self._poll)

    def _poll(self) -> None:
        world = self._world
        visible, in_flight = world.counts()
        world.figures.api_calls += 1
        length = visible + (in_flight if self._count_in_flight else 0)
        if not length:
            return
        scale = min(self._max_replicas, math.ceil(length / self._queue_length))
        running = world.starting + world.running  # jobs that are not finished
        if self._strategy == "default":
            effective = scale - running
        elif scale + running > self._max_replicas:
            effective = self._max_replicas - running
        else:
            effective = scale - world.starting
        workers = min(length, effective)
        if workers > 0:
            world.figures.api_calls += workers  # a Job each
            world.start(workers)


class BacklogPerTask:
    """AWS Copilot's worker service: target tracking of the backlog per running task.

    https://github.com/aws/copilot-cli, cf-custom-resources/lib/backlog-per-task-calculator.js at
    06023e7 (the metric, each minute) and
    internal/pkg/template/templates/workloads/partials/cf/autoscaling.yml at 023afe0 (cool-downs
    of 60 s out and 120 s in; the target is acceptable latency over processing time). The range
    of 1 to 10 tasks is its documentation's example. Target tracking itself, by its documentation
    (https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html)
    and the alarms that it makes: out after three minutes above the target, in after fifteen
    below nine tenths of it, in proportion. A service's tasks do not leave when idle.
    """

    OUT_PERIODS: Final = 3
    IN_PERIODS: Final = 15
    SLACK: Final = 0.9

    def __init__(
        self,
        *,
        acceptable_seconds: float,
        task_seconds: float,
        min_tasks: int = 1,
        max_tasks: int = 10,
        protect_busy: bool = False,
    ) -> None:
        """Takes the documentation's range.

        Args:
            acceptable_seconds: The latency that is acceptable.
            task_seconds: What a message takes.
            min_tasks: The service never goes below.
            max_tasks: Nor above.
            protect_busy: Whether a busy task is spared at scale-in (ECS's task protection).
        """
        self._target = max(1, math.floor(acceptable_seconds / task_seconds))
        self._min, self._max = min_tasks, max_tasks
        self._protect_busy = protect_busy
        self._recent: deque[float] = deque(maxlen=self.IN_PERIODS)
        self._out_after = self._in_after = 0.0

    def attach(self, world: World) -> None:
        """Starts the service at its minimum."""
        self._world = world
        world.idle_seconds = math.inf
        world.start(self._min)
        every(world, MINUTE_SECONDS, phases(world).uniform(0, MINUTE_SECONDS), self._minute)

    def _minute(self) -> None:
        world = self._world
        visible, _ = world.counts()
        world.figures.api_calls += 3
        backlog = math.ceil(visible / max(1, world.running))
        world.at(world.now + WAKE_SECONDS, lambda: self._track(backlog))

    def _track(self, backlog: float) -> None:
        world, recent = self._world, self._recent
        recent.append(backlog)
        desired = world.starting + world.running
        wanted = min(self._max, max(self._min, math.ceil(desired * backlog / self._target)))
        last = list(recent)[-self.OUT_PERIODS :]
        if len(last) == self.OUT_PERIODS and min(last) > self._target:
            if wanted > desired and world.now >= self._out_after:
                self._out_after = world.now + 60
                world.figures.api_calls += 1
                world.start(wanted - desired)
        elif (
            len(recent) == self.IN_PERIODS
            and max(recent) < self.SLACK * self._target
            and wanted < desired
            and world.now >= self._in_after
        ):
            self._in_after = world.now + 120
            world.figures.api_calls += 1
            world.stop(desired - wanted, spare_busy=self._protect_busy)


class BuildkiteScaler:
    """Buildkite's agent scaler: an instance for each job that is scheduled or running.

    https://github.com/buildkite/buildkite-agent-scaler, scaler/scaling_calculator.go and
    scaler/scaler.go at 004dd0d, lambda/main.go at 0042b99 (no buffer, factor 1, no cool-down
    after scale-out) and template.yaml at 042c7a8 (polled every 10 s for 50 s of each minute; no
    scale-in: instances end themselves). Defaults of the stack that deploys it
    (https://github.com/buildkite/elastic-ci-stack-for-aws, templates/aws-stack.yml at 0071d9a):
    an agent per instance, at most 10 instances, which leave after 600 idle seconds.
    """

    POLL_SECONDS: Final = 10
    POLLS_PER_MINUTE: Final = 5
    MOST: Final = 1000

    def __init__(self, *, max_size: int = 10, idle_seconds: float = 600) -> None:
        """Takes the stack's own defaults."""
        self._max_size, self._idle_seconds = max_size, idle_seconds

    def attach(self, world: World) -> None:
        """Polls, with an idle queue too."""
        self._world = world
        world.idle_seconds = self._idle_seconds
        phase = phases(world).uniform(0, MINUTE_SECONDS)
        for poll in range(self.POLLS_PER_MINUTE):
            every(world, MINUTE_SECONDS, phase + poll * self.POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        world = self._world
        visible, in_flight = world.counts()
        world.figures.api_calls += 2
        desired = min(self._max_size, self.MOST, visible + in_flight)
        more = desired - world.starting - world.running
        if more > 0:
            world.figures.api_calls += 1
            world.start(more)
