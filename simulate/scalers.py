"""Starts workers in the simulated cloud: the interface, and this project's own controller."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, Protocol

from launcher.policy import (
    SECOND_LOOK_SECONDS,
    Decision,
    Ending,
    Limits,
    Observation,
    decide,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulate.world import World

MINUTE_SECONDS: Final = 60
"""SQS publishes its metrics, and alarms look at them, once a minute."""
WAKE_SECONDS: Final = 2
"""From an alarm or the doorman to the launcher's decision."""


class Scaler(Protocol):
    """Decides how many workers to start in a world."""

    def attach(self, world: World) -> None:
        """Schedules its first look. The world is at 0 then."""
        ...


def phases(world: World) -> Random:
    """Where in its period each clock stands when the load begins; the same for all scalers."""
    return Random(f"{world.setting.seed} phase")  # noqa: S311 -- a simulation's, not a secret


def every(world: World, seconds: float, first: float, call: Callable[[], None]) -> None:
    """Calls again and again."""

    def tick() -> None:
        world.at(world.now + seconds, tick)
        call()

    world.at(first, tick)


class Alarm:
    """An alarm on what SQS publishes: it acts only when it *enters* ALARM."""

    def __init__(
        self, world: World, breaches: Callable[[int, float], bool], act: Callable[[], None]
    ) -> None:
        """Watches from now on.

        Args:
            world: Where.
            breaches: Whether the visible messages and the oldest one's age breach.
            act: What the alarm does.
        """
        self._world, self._breaches, self._act = world, breaches, act
        self._in_alarm = False
        every(world, MINUTE_SECONDS, phases(world).uniform(0, MINUTE_SECONDS), self._sample)

    def _sample(self) -> None:
        world = self._world
        breached = self._breaches(world.visible, world.oldest_age_seconds())
        world.at(world.now + world.setting.metric_delay_seconds, lambda: self._see(breached))

    def _see(self, breached: bool) -> None:
        entered = breached and not self._in_alarm
        self._in_alarm = breached
        if entered:
            self._act()


@dataclass(frozen=True)
class _Minute:
    """SQS's metrics of one minute."""

    time: float
    oldest_age_seconds: float
    visible: int
    received: int  # since the beginning


class LauncherLoop:
    """This project's own: a doorman and an alarm wake a loop that asks `launcher.policy`."""

    API_CALLS: Final = 12
    """The calls of one decision: executions, the pause, counts, metrics by the minute and by the
    hour, the jobs in each of seven states."""

    def __init__(self, limits: Limits) -> None:
        """Prepares it.

        Args:
            limits: What the deployment allows and aims at.
        """
        self.limits = limits
        self.decisions: list[tuple[float, Decision]] = []
        self._looping = False
        self._visible_before: int | None = None

    def attach(self, world: World) -> None:
        """Sets the alarm on age and the doorman."""
        near = max(0.0, self.limits.start_within_seconds - self.limits.startup_seconds)
        self._world = world
        self._minutes: list[_Minute] = []
        Alarm(world, lambda visible, age: visible >= 1 and age >= near, self._wake)
        phase = phases(world)
        every(world, MINUTE_SECONDS, phase.uniform(0, MINUTE_SECONDS), self._measure)
        every(world, MINUTE_SECONDS, phase.uniform(0, MINUTE_SECONDS), self._look)

    def _measure(self) -> None:
        world = self._world
        minute = _Minute(world.now, world.oldest_age_seconds(), world.visible, world.received)
        world.at(
            world.now + world.setting.metric_delay_seconds, lambda: self._minutes.append(minute)
        )

    def _oldest_and_waited(self) -> tuple[float | None, int | None]:
        """Returns the oldest message's age, and how many messages are late, as metrics say."""
        minutes, now = self._minutes, self._world.now
        if not minutes:
            return None, None
        newest = minutes[-1]
        age = newest.oldest_age_seconds + now - newest.time if newest.oldest_age_seconds else 0.0
        then = bisect_right(minutes, now - self.limits.late_after_seconds, key=lambda m: m.time)
        if not then:
            return age, None
        before = minutes[then - 1]
        return age, max(0, before.visible - (newest.received - before.received))

    def _look(self) -> None:
        """The doorman: it wakes the loop where SQS says that a message is visible."""
        self._world.figures.api_calls += 1
        if self._world.counts()[0]:
            self._wake()

    def _wake(self) -> None:
        if self._looping:
            return  # this one stands down
        self._looping = True
        self._visible_before = self._world.counts()[0]  # its first look, which starts nothing
        self._world.figures.api_calls += 1 + self.API_CALLS
        self._world.at(self._world.now + WAKE_SECONDS + SECOND_LOOK_SECONDS, self._round)

    def _round(self) -> None:
        world = self._world
        observation = self._observe()
        self._visible_before = observation.visible
        decision = decide(self.limits, observation)
        self.decisions.append((world.now, decision))
        world.figures.decisions += 1
        world.figures.api_calls += self.API_CALLS
        if decision.start:
            world.figures.api_calls += 1
            world.start(decision.start)
        if decision.verb == "cancel":
            world.figures.api_calls += 1
            world.cancel_newest()
        if decision.verb == "stop":
            world.figures.api_calls += 1
            world.stop(1, spare_busy=False)
        if decision.verb in ("start", "cancel", "stop", "wait"):
            world.at(world.now + decision.wait_seconds, self._round)
        else:
            self._looping = False

    def _observe(self) -> Observation:
        world, limits = self._world, self.limits
        visible, in_flight = world.counts()
        age, waited = self._oldest_and_waited()
        newest = list(world.endings)[: max(1, limits.breaker_failures)]
        return Observation(
            visible=visible,
            visible_before=self._visible_before,
            in_flight=in_flight,
            oldest_age_seconds=age,
            waited=waited,
            recently_done=world.done_within(limits.start_within_seconds),
            starting=world.starting,
            runnable=world.waiting(limits.patience_seconds),
            running=world.running,
            young=world.younger_than(limits.patience_seconds),
            task_seconds=world.learned_task_seconds(),
            worked_seconds=world.worked_within(limits.start_within_seconds),
            endings=tuple(Ending(seconds_ago=world.now - end, failed=False) for end in newest),
            vcpu_hours_last_day=world.worker_hours_last_day() * limits.vcpus,
        )


def percentile(ascending: list[float], share: float) -> float:
    """The value that a share of all does not exceed; NaN of none."""
    if not ascending:
        return math.nan
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]
