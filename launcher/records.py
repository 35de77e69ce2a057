"""The records that the launcher decides from and returns; they survive JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

Verb = Literal["start", "cancel", "stop", "wait", "done", "halt"]
HaltedBy = Literal["breaker", "cap", "pause"]
SLOW_START: Final = 1.5
"""Nineteen of twenty start-ups take less than so many times the median, as they are simulated."""
COUNTS_LAG_SECONDS: Final = 60
"""SQS's counts are right at least a minute after the last change."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record that survives JSON."""

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
class Limits(Record):
    """The limits and aims of one deployment.

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
        cap: `stop` ends the workers that run then; `halt` lets them go on.
        round_seconds: The pause between two decisions.
        processes: The tasks that one worker runs at a time.
    """

    vcpus: float
    max_vcpus: float
    max_workers: int
    task_seconds: float
    startup_seconds: float
    idle_seconds: float
    start_within_seconds: float
    drain_within_seconds: float
    break_even: float
    breaker_failures: int
    breaker_cooldown_seconds: float
    vcpu_hours_per_day: float
    cap: Literal["halt", "stop"]
    round_seconds: float
    processes: int

    @property
    def workers(self) -> int:
        """How many may be active at once."""
        return max(0, min(self.max_workers, math.floor(self.max_vcpus / self.vcpus + 1e-9)))

    def workers_for(self, messages: float) -> int:
        """How many workers run the tasks of so many messages at the same time."""
        return math.ceil(messages / self.processes)

    @property
    def late_after_seconds(self) -> float:
        """The age at which a worker has to be started for a message: a slow start takes half more.

        The decision comes up to a round after that.
        """
        slow_start = SLOW_START * self.startup_seconds
        return max(0.0, self.start_within_seconds - slow_start - self.round_seconds)

    @property
    def patience_seconds(self) -> float:
        """How long a worker has time to take a message: two starts, and the lag of SQS's counts.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
        """
        return 2 * self.startup_seconds + COUNTS_LAG_SECONDS


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a worker ended. One that was taken away (Spot) has not failed.

    Attributes:
        seconds_ago: When it ended.
        failed: In failure.
        lasted_seconds: How long it was RUNNING; 0 when it never was.
    """

    seconds_ago: float
    failed: bool
    lasted_seconds: float = 0


@dataclass(frozen=True, kw_only=True)
class Observation(Record):
    """The state of a deployment, as it is known now.

    Attributes:
        age_seconds: Since it was made.
        complete: False when any part of it failed or was partial.
        problem: What failed, in words.
        metrics_problem: Why CloudWatch's metrics are not known, in words; "" when they are.
        visible: Messages that a worker could receive now; SQS's count, which lags.
        visible_before: The same at the look before; None at the first.
        in_flight: Messages that a worker holds, or that are hidden before they come back.
        delayed: Messages that are not visible yet.
        oldest_age_seconds: Of the oldest message, in flight or not; None when unknown.
        waited: Visible messages that are late, if the oldest are received first: they were visible
            `Limits.late_after_seconds` ago, and fewer were received since. None when unknown.
        recently_done: Messages done in the last start_within_seconds; None when
            unknown. It tells a message that waits from one whose task takes long.
        starting: Workers from SUBMITTED to STARTING; an array's children count one by one.
        runnable: Of these, jobs that have waited for a machine for `Limits.patience_seconds`.
        running: Workers that are RUNNING.
        young: Of both, those that have not had `Limits.patience_seconds` since their submission,
            or since they run, to take a message.
        task_seconds: The mean of what tasks took: work is messages times mean, at any spread.
            None when nothing has been learned.
        worked_seconds: How long all RUNNING workers ran in that same time, as far as it is known
            what was done.
        endings: The ends of the workers that started last, the last to start first. The end that
            is the newest is among them, too.
        deleted_since_first_of_those_failures: Messages done since the first of the newest
            `breaker_failures` workers failed, where all have failed and no worker was at work
            that had started before it. None when unknown, which counts as none.
        survived_seconds: The longest time for which a worker runs that started after the first
            of those failures.
        probes: Active workers that started after the newest of those failures.
        vcpu_hours_last_day: What all workers used.
    """

    age_seconds: float = 0
    complete: bool = True
    problem: str = ""
    metrics_problem: str = ""
    visible: int = 0
    visible_before: int | None = None
    in_flight: int = 0
    delayed: int = 0
    oldest_age_seconds: float | None = None
    waited: int | None = None
    recently_done: int | None = None
    starting: int = 0
    runnable: int = 0
    running: int = 0
    young: int = 0
    task_seconds: float | None = None
    worked_seconds: float = 0
    endings: tuple[Ending, ...] = ()
    deleted_since_first_of_those_failures: int | None = None
    survived_seconds: float = 0
    probes: int = 0
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
class Decision(Record):
    """An action to take now, and its reason.

    Attributes:
        verb: `start` workers and ask again; `cancel` the newest job that waits for a machine and
            ask again; `stop` one of the active jobs and ask again; `wait` and ask again;
            `done`; or `halt`.
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
