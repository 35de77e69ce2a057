"""How many workers to start now: figures in, a decision with its reason out. No I/O.

Workers leave by themselves, so the only question is how many to start, and it is asked again
every round. A worker costs its start-up and its last idle seconds whatever it does: so many are
worth having that each one's share of the backlog is break_even times that cost, or less when a
deadline presses. Nobody is started for messages that will be taken before a new worker is up.
Whatever is doubtful starts none. docs/scaling.md says it at length.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

Verb = Literal["start", "wait", "done", "halt"]
HaltedBy = Literal["breaker", "cap"]

STALE_SECONDS: Final = 60
"""An observation older than this starts nothing."""
SETTLE_SECONDS: Final = 180
"""How long after the last worker's end an empty task queue is still watched. The alarm that wakes
the launcher acts only when it *enters* ALARM, and its metric lags by a minute or two: a message
that came before the alarm was back at OK would wait for the pulse."""
SHORTEST_TASK_SECONDS: Final = 0.01
"""Stands for a task that takes no time at all: nothing is divided by zero."""


@dataclass(frozen=True, kw_only=True)
class _Record:
    def as_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The record that `as_json` described.

        Raises:
            ValueError: A field is unknown, or one that has no default is missing.
        """
        known = {each.name for each in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(
                f"{cls.__name__} has no {', '.join(unknown)}: it knows {', '.join(sorted(known))}; "
                "deploy the launcher and its settings from the same version"
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"{cls.__name__}: {error}; its settings are incomplete") from error


@dataclass(frozen=True, kw_only=True)
class Limits(_Record):
    """What one deployment allows and aims at.

    Attributes:
        vcpus: Of one worker.
        max_vcpus: Of all workers together.
        max_workers: At once.
        task_seconds: What a task takes, as long as nothing has been learned.
        startup_seconds: From SubmitJob to a worker's first receive.
        idle_seconds: How long a worker that finds nothing stays before it leaves.
        start_within_seconds: The longest that a message should wait for a worker.
        drain_within_seconds: The oldest message's age by which the backlog should be gone.
        break_even: How many times its own cost (start-up and idle end) a worker's share of the
            backlog has to be worth. More of it: fewer workers, longer waits.
        breaker_failures: So many workers in a row that end in failure halt the launcher.
        breaker_cooldown_seconds: From the newest failure until one probe worker may start.
        vcpu_hours_per_day: The cap: reached, nothing more is started.
        round_seconds: The pause between two decisions.
    """

    vcpus: float = 1
    max_vcpus: float = 16
    max_workers: int = 100
    task_seconds: float = 60
    startup_seconds: float = 120
    idle_seconds: float = 30
    start_within_seconds: float = 600
    drain_within_seconds: float = 3600
    break_even: float = 1.5
    breaker_failures: int = 5
    breaker_cooldown_seconds: float = 1800
    vcpu_hours_per_day: float = 200
    round_seconds: float = 30

    @property
    def workers(self) -> int:
        """How many may be active at once."""
        return max(0, min(self.max_workers, math.floor(self.max_vcpus / self.vcpus + 1e-9)))


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a worker ended. One that was taken away (Spot) has not failed."""

    seconds_ago: float
    failed: bool


@dataclass(frozen=True, kw_only=True)
class Observation(_Record):
    """What is known now.

    Attributes:
        age_seconds: Since it was made.
        complete: False when any part of it failed or was partial.
        problem: What failed, in words.
        visible: Messages that a worker could receive now; SQS's count, which lags.
        in_flight: Messages that a worker holds, or that are hidden before they come back.
        delayed: Messages that are not visible yet.
        oldest_age_seconds: Of the oldest message, in flight or not; None when unknown.
        recently_done: Messages done in the last start_within_seconds; None when
            unknown. It tells a message that waits from one whose task takes long.
        starting: Workers from SUBMITTED to STARTING; an array's children count one by one.
        running: Workers that are RUNNING.
        task_seconds: What tasks took of late, the mean: work is messages times mean, whatever the
            spread. None when nothing has been learned.
        endings: The newest workers' ends, newest first.
        deleted_since_first_of_those_failures: Messages done since the first of the newest
            unbroken run of failures: progress. None when unknown, which counts as none.
        vcpu_hours_last_day: What all workers used.
    """

    age_seconds: float = 0
    complete: bool = True
    problem: str = ""
    visible: int = 0
    in_flight: int = 0
    delayed: int = 0
    oldest_age_seconds: float | None = None
    recently_done: int | None = None
    starting: int = 0
    running: int = 0
    task_seconds: float | None = None
    endings: tuple[Ending, ...] = ()
    deleted_since_first_of_those_failures: int | None = None
    vcpu_hours_last_day: float = 0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """As every record's, with the endings made whole."""
        endings = tuple(Ending(**each) for each in values.get("endings", ()))
        return super().from_json({**values, "endings": endings})

    @property
    def active(self) -> int:
        """Workers that are there or on their way."""
        return self.starting + self.running


@dataclass(frozen=True, kw_only=True)
class Decision(_Record):
    """What to do now, and why.

    Attributes:
        verb: `start` workers and ask again; `wait` and ask again; `done`; or `halt`.
        start: How many workers, 0 unless the verb is `start`.
        desired: How many should be active.
        active: How many are.
        wait_seconds: Until the next decision; 0 when there is none.
        reason: In words, with the figures.
        halted_by: What halted it.
        figures: What the decision was made from, by name.
    """

    verb: Verb
    start: int = 0
    desired: int = 0
    active: int = 0
    wait_seconds: float = 0
    reason: str
    halted_by: HaltedBy | None = None
    figures: dict[str, Any] = field(default_factory=dict)


def decide(limits: Limits, observation: Observation) -> Decision:
    """Decides how many workers to start now.

    Args:
        limits: What the deployment allows and aims at.
        observation: What is known now.

    Returns:
        The decision. It never starts more than the limits allow or than visible messages could
        occupy, and none at all when the observation is stale, partial or failed.
    """
    figures = {**observation.as_json(), "limit": limits.workers}
    figures["endings"] = len(observation.endings)

    def decision(verb: Verb, reason: str, **more: Any) -> Decision:
        defaults: dict[str, Any] = {
            "desired": observation.active,
            "wait_seconds": limits.round_seconds if verb in ("start", "wait") else 0,
        }
        return Decision(
            verb=verb, reason=reason, active=observation.active, figures=figures, **defaults | more
        )

    if problem := _doubt(observation):
        return decision("wait", f"nothing is started on doubtful figures: {problem}")
    if not observation.visible:
        return decision(*_without_messages(observation))
    if _tripped(limits, observation):
        return decision(**_after_failures(limits, observation))
    want = wanted(limits, observation)
    figures.update(want.figures)
    if want.start and observation.vcpu_hours_last_day >= limits.vcpu_hours_per_day:
        return decision(
            "halt",
            f"the cap is reached: {observation.vcpu_hours_last_day:.1f} vCPU-hours in the last "
            f"day, and vcpu_hours_per_day is {limits.vcpu_hours_per_day:g}; "
            f"{observation.visible} messages wait; raise it, or wait until usage falls",
            halted_by="cap",
        )
    if not want.start:
        return decision("wait", want.reason)
    return decision("start", want.reason, start=want.start, desired=observation.active + want.start)


def _doubt(observation: Observation) -> str:
    if not observation.complete:
        return observation.problem or "the observation is incomplete"
    if not 0 <= observation.age_seconds <= STALE_SECONDS:
        return f"they are {observation.age_seconds:.0f} s old, more than {STALE_SECONDS} s"
    numbers = (
        ("visible", observation.visible),
        ("in_flight", observation.in_flight),
        ("delayed", observation.delayed),
        ("starting", observation.starting),
        ("running", observation.running),
        ("oldest_age_seconds", observation.oldest_age_seconds or 0),
        ("recently_done", observation.recently_done or 0),
        ("task_seconds", observation.task_seconds or 0),
        ("vcpu_hours_last_day", observation.vcpu_hours_last_day),
    )
    return "; ".join(f"{name} is {value}" for name, value in numbers if not (0 <= value < math.inf))


def _without_messages(observation: Observation) -> tuple[Verb, str]:
    if observation.in_flight or observation.delayed:
        return "wait", (
            f"no message is visible; {observation.in_flight} in flight and {observation.delayed} "
            "delayed may come back"
        )
    if observation.active:
        return "wait", f"the task queue is empty; {observation.active} workers have not left yet"
    ago = observation.endings[0].seconds_ago if observation.endings else SETTLE_SECONDS
    if ago < SETTLE_SECONDS:
        return "wait", (
            f"the task queue is empty; the last worker left {ago:.0f} s ago, and the alarm needs "
            f"up to {SETTLE_SECONDS} s until it can ring again"
        )
    return "done", "the task queue is empty and no worker is active"


def _tripped(limits: Limits, observation: Observation) -> bool:
    newest = observation.endings[: limits.breaker_failures]
    return (
        len(newest) == limits.breaker_failures
        and all(ending.failed for ending in newest)
        and not observation.deleted_since_first_of_those_failures
    )


def _after_failures(limits: Limits, observation: Observation) -> dict[str, Any]:
    """The breaker is open: halt; or half open: one probe."""
    ago = observation.endings[0].seconds_ago
    what = (
        f"the last {limits.breaker_failures} workers ended in failure, the newest {ago:.0f} s ago, "
        "and no task was done since the first of them"
    )
    if ago < limits.breaker_cooldown_seconds:
        return {
            "verb": "halt",
            "reason": f"the breaker is open: {what}; {observation.visible} messages wait; read the "
            "workers' log, mend what ends them; a probe starts "
            f"{limits.breaker_cooldown_seconds - ago:.0f} s from now",
            "halted_by": "breaker",
        }
    if observation.active:
        return {"verb": "wait", "reason": f"the breaker is half open: {what}; a probe is active"}
    if limits.workers < 1 or observation.vcpu_hours_last_day >= limits.vcpu_hours_per_day:
        return {
            "verb": "halt",
            "reason": f"{what}; no probe: the limit is {limits.workers} workers and "
            f"{limits.vcpu_hours_per_day:g} vCPU-hours a day, of which "
            f"{observation.vcpu_hours_last_day:.1f} are used",
            "halted_by": "cap" if limits.workers else "breaker",
        }
    return {
        "verb": "start",
        "start": 1,
        "desired": 1,
        "reason": f"the breaker is half open: {what}; one probe is started",
    }


@dataclass(frozen=True, kw_only=True)
class Want:
    """How many workers would be worth starting, if nothing forbids it."""

    start: int
    reason: str
    figures: dict[str, Any]


def wanted(limits: Limits, observation: Observation) -> Want:
    """How many more workers the visible messages are worth.

    Args:
        limits: As `decide` takes them.
        observation: Trusted, with visible messages.

    Returns:
        How many to start, within the limits, with the reason.
    """
    task_seconds = max(
        SHORTEST_TASK_SECONDS,
        limits.task_seconds if observation.task_seconds is None else observation.task_seconds,
    )
    busy = min(observation.in_flight, observation.running)
    free = observation.active - busy  # each of these takes one visible message without our help
    unclaimed = max(0, observation.visible - free)
    horizon, share = _horizon(limits, observation)
    work = (observation.visible + observation.in_flight) * task_seconds
    desired = math.floor(work / horizon + 0.5)
    # Until a new worker is up, each busy one takes a message more, if tasks are that short.
    helped = busy * min(1.0, limits.startup_seconds / task_seconds)
    worth = min(desired - observation.active, math.ceil(unclaimed - helped))
    late = not free and _late(limits, observation)
    if late or not observation.active:
        worth = max(1, worth)
    room = max(0, limits.workers - observation.active)
    start = max(0, min(worth, unclaimed, room))
    figures = {
        "task_seconds": task_seconds,
        "work_seconds": work,
        "horizon_seconds": horizon,
        "desired": desired,
        "unclaimed": unclaimed,
        "room": room,
        "late": late,
    }
    seen = (
        f"{observation.visible} messages visible, {observation.in_flight} in flight, "
        f"{task_seconds:.3g} s each, are worth {desired} workers at {share}; "
        f"{observation.running} running, {observation.starting} starting"
    )
    if not room:
        why = f", which is all that the limit of {limits.workers} allows"
    elif start and start == room < worth:
        why = f", and the limit is {limits.workers}"
    elif start and start > desired - observation.active:
        too_long = f", and one has waited too long for {limits.start_within_seconds:g} s"
        why = too_long if late else ", and somebody has to come"
    elif start or desired <= observation.active:
        why = ""
    elif not unclaimed:
        why = ", and each visible message has one that comes for it"
    else:
        why = ", who will have taken the visible ones before another is up"
    return Want(start=start, reason=f"start {start or 'none'}: {seen}{why}", figures=figures)


def _horizon(limits: Limits, observation: Observation) -> tuple[float, str]:
    """How many seconds of work a worker has to find, and why so many."""
    cost = limits.startup_seconds + limits.idle_seconds
    horizon = max(SHORTEST_TASK_SECONDS, limits.break_even * cost)
    share = f"{horizon:.0f} s of work each (break_even {limits.break_even:g} x {cost:g} s)"
    age = observation.oldest_age_seconds or 0
    deadline = limits.drain_within_seconds - age - limits.startup_seconds
    if 0 < deadline < horizon:
        horizon = min(horizon, max(deadline, limits.round_seconds))
        share = f"{horizon:.0f} s of work each (drain_within_seconds presses)"
    return horizon, share


def _late(limits: Limits, observation: Observation) -> bool:
    """Whether a visible message misses start_within_seconds unless a worker starts now.

    SQS tells the age of the oldest message, and that may be one whose task runs long. Where at
    least as many messages were done in that time as there are now, the visible ones are younger.
    """
    age, done = observation.oldest_age_seconds or 0, observation.recently_done
    turned_over = done is not None and done >= observation.visible + observation.in_flight
    return age + limits.startup_seconds >= limits.start_within_seconds and not turned_over
