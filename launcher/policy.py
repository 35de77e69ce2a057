"""How many workers to start now: figures in, a decision with its reason out. No I/O.

Workers leave by themselves, so the only question is how many to start, and it is asked again
every round. A worker costs its start-up and its last idle seconds whatever it does: so many are
worth having that each one's share of the backlog is break_even times that cost, or less when a
deadline is near. No worker is started for messages that will be taken before it is up.
A doubtful observation starts none. The whole reasoning is in docs/scaling.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from launcher.records import Decision, Ending, Limits, Observation

if TYPE_CHECKING:
    from launcher.records import Verb

__all__ = ["Decision", "Ending", "Limits", "Observation", "decide"]

STALE_SECONDS: Final = 60
"""An observation older than this starts nothing."""
SETTLE_SECONDS: Final = 180
"""How long after the last worker's end an empty task queue is still watched: a message that comes
meanwhile does not wait for the doorman and for an execution's second look."""
SECOND_LOOK_SECONDS: Final = 3
"""Until then, a worker that waits for messages has received what came."""
IDLE_ROUNDS: Final = 2
"""How many rounds the next look is put off while nothing waits: each costs calls."""
SHORTEST_TASK_SECONDS: Final = 0.01
"""Stands for a task that takes no time at all: nothing is divided by zero."""


def decide(limits: Limits, observation: Observation) -> Decision:
    """Decides how many workers to start now.

    Args:
        limits: What the deployment allows and aims at.
        observation: What is known now.

    Returns:
        The decision. It never starts more than the limits allow or than visible messages could
        occupy (but for one in place of a worker that takes nothing), and none at all when the
        observation is stale, partial or failed.
    """
    chosen = _chosen(limits, observation)
    figures = {**observation.as_json(), "limit": limits.workers, **chosen.pop("figures", {})}
    figures["endings"] = len(observation.endings)
    if chosen["verb"] == "wait" and _capped(limits, observation) and observation.active:
        # Nothing has to be started for people to hear of it.
        chosen["halted_by"] = "cap"
        chosen["reason"] += f"; {_used(limits, observation)}; {observation.active} workers go on"
    defaults: dict[str, Any] = {
        "desired": observation.active,
        "wait_seconds": limits.round_seconds if chosen["verb"] in ("start", "wait") else 0,
    }
    return Decision(active=observation.active, figures=figures, **defaults | chosen)


def _chosen(limits: Limits, observation: Observation) -> dict[str, Any]:
    """Returns the fields of the decision, but for those that all decisions share."""
    if problem := _doubt(observation):
        return {"verb": "wait", "reason": f"nothing is started on doubtful figures: {problem}"}
    if job := _job_to_end(limits, observation):
        return job
    if not observation.visible:
        verb, reason = _without_messages(observation)
        pause = limits.round_seconds * IDLE_ROUNDS if verb == "wait" else 0
        return {"verb": verb, "reason": reason, "wait_seconds": pause}
    if _tripped(limits, observation):
        return _after_failures(limits, observation)
    want = wanted(limits, observation)
    if want.start and _capped(limits, observation):
        return {
            "verb": "halt",
            "reason": f"{_used(limits, observation)}; {observation.visible} messages wait; "
            "raise it, or wait until usage falls",
            "halted_by": "cap",
            "figures": want.figures,
        }
    return {**_looked_at_twice(limits, observation, want), "figures": want.figures}


def _job_to_end(limits: Limits, observation: Observation) -> dict[str, Any] | None:
    """Returns the end of a job: of any, where the cap stops workers, or of one that none needs."""
    if limits.cap == "stop" and _capped(limits, observation) and observation.active:
        # One that starts meanwhile is seen, and ended, in a later round.
        return {
            "verb": "stop",
            "reason": f"{_used(limits, observation)}; a job is ended in each round until none of "
            f"the {observation.active} workers is left",
            "wait_seconds": SECOND_LOOK_SECONDS,
            "halted_by": "cap",
        }
    if (unneeded := _unneeded(limits, observation)) > 0:
        return {
            "verb": "cancel",
            "reason": f"the newest of {unneeded} of {observation.runnable} jobs that wait for "
            f"machines, and that no message needs, is cancelled; {observation.visible} messages "
            "are visible",
            "wait_seconds": SECOND_LOOK_SECONDS,
        }
    return None


def _capped(limits: Limits, observation: Observation) -> bool:
    return observation.vcpu_hours_last_day >= limits.vcpu_hours_per_day


def _used(limits: Limits, observation: Observation) -> str:
    return (
        f"the cap is reached: {observation.vcpu_hours_last_day:.1f} vCPU-hours in the last day, "
        f"and vcpu_hours_per_day is {limits.vcpu_hours_per_day:g}"
    )


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
        ("young", observation.young),
        ("runnable", observation.runnable),
        ("oldest_age_seconds", observation.oldest_age_seconds or 0),
        ("recently_done", observation.recently_done or 0),
        ("task_seconds", observation.task_seconds or 0),
        ("worked_seconds", observation.worked_seconds),
        ("vcpu_hours_last_day", observation.vcpu_hours_last_day),
    )
    return "; ".join(f"{name} is {value}" for name, value in numbers if not (0 <= value < math.inf))


def _unneeded(limits: Limits, observation: Observation) -> int:
    """Returns how many jobs wait for machines beyond what two looks, and hidden messages, need."""
    if observation.visible_before is None:
        return 0
    visible = max(observation.visible, observation.visible_before)
    hidden = max(0, observation.in_flight - observation.running * limits.processes)
    return observation.runnable - limits.workers_for(visible + hidden)


def _without_messages(observation: Observation) -> tuple[Verb, str]:
    if observation.in_flight or observation.delayed:
        return "wait", (
            f"no message is visible; {observation.in_flight} in flight and {observation.delayed} "
            "delayed may come back"
        )
    if observation.active:
        return "wait", f"the task queue is empty; {observation.active} workers have not left yet"
    ago = min((ending.seconds_ago for ending in observation.endings), default=SETTLE_SECONDS)
    if ago < SETTLE_SECONDS:
        return "wait", (
            f"the task queue is empty; the last worker left {ago:.0f} s ago, and new messages are "
            f"looked for until {SETTLE_SECONDS} s after that"
        )
    return "done", "the task queue is empty and no worker is active"


def _tripped(limits: Limits, observation: Observation) -> bool:
    """Tells whether workers that start now fail, whatever older ones still do.

    Progress is what workers did that started after the first failure: they did a task, or one of
    them lives twice as long as the longest-lived of those that failed.
    """
    newest = observation.endings[: limits.breaker_failures]
    if len(newest) < limits.breaker_failures or not all(ending.failed for ending in newest):
        return False
    longest = 2 * max(ending.lasted_seconds for ending in newest) + limits.startup_seconds
    survived = observation.survived_seconds > longest
    return not survived and not observation.deleted_since_first_of_those_failures


def _after_failures(limits: Limits, observation: Observation) -> dict[str, Any]:
    """Returns a halt when the breaker is open, and one probe when it is half open."""
    ago = min(each.seconds_ago for each in observation.endings[: limits.breaker_failures])
    what = (
        f"the last {limits.breaker_failures} workers that started and ended failed, the newest "
        f"{ago:.0f} s ago, and none that started since the first of them is known to work"
    )
    if ago < limits.breaker_cooldown_seconds:
        return {
            "verb": "halt",
            "reason": f"the breaker is open: {what}; {observation.visible} messages wait; read the "
            "workers' log, fix what ends them; a probe starts "
            f"{limits.breaker_cooldown_seconds - ago:.0f} s from now",
            "halted_by": "breaker",
        }
    if observation.probes or observation.active >= limits.workers > 0:
        why = "a probe is active" if observation.probes else f"the limit is {limits.workers}"
        return {"verb": "wait", "reason": f"the breaker is half open: {what}; {why}"}
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
        "desired": observation.active + 1,
        "reason": f"the breaker is half open: {what}; one probe is started",
    }


@dataclass(frozen=True, kw_only=True)
class Want:
    """How many workers would be worth starting, if nothing forbids it."""

    start: int
    reason: str
    figures: dict[str, Any]


def wanted(limits: Limits, observation: Observation) -> Want:
    """Returns how many more workers the visible messages are worth.

    Args:
        limits: As `decide` takes them.
        observation: Trusted, with visible messages.

    Returns:
        How many to start, within the limits, with the reason.
    """
    # Of processes: each runs one task, and each that is free takes one visible message.
    busy = min(observation.in_flight, observation.running * limits.processes)
    task_seconds = _task_seconds(limits, observation, busy)
    free = observation.active * limits.processes - busy
    unclaimed = max(0, observation.visible - free)
    horizon, share = _horizon(limits, observation)
    work = (observation.visible + observation.in_flight) * task_seconds / limits.processes
    desired = math.floor(work / horizon + 0.5)
    # Until a new worker is up, each busy process takes a message more, if tasks are that short.
    helped = busy * min(1.0, limits.startup_seconds / task_seconds)
    worth = min(desired - observation.active, limits.workers_for(unclaimed - helped))
    late = _late(limits, observation)
    if late:  # No busy worker has helped these. Two short tasks may share one more worker.
        sharing = min(1.0, task_seconds / max(limits.startup_seconds, SHORTEST_TASK_SECONDS))
        worth = max(worth, limits.workers_for(late * sharing - free))
    # A free worker that has had time to take the late message has shown that it does not.
    overdue = late > 0 and not min(free, observation.young)
    if overdue or not observation.active:
        worth = max(1, worth)
    room = max(0, limits.workers - observation.active)
    start = max(0, min(worth, max(limits.workers_for(unclaimed), int(overdue)), room))
    figures = {
        "task_seconds": task_seconds,
        "work_seconds": work,
        "horizon_seconds": horizon,
        "desired": desired,
        "unclaimed": unclaimed,
        "room": room,
        "late": late,
        "overdue": overdue,
    }
    at_a_time = f" and {limits.processes} at a time" if limits.processes > 1 else ""
    seen = (
        f"{observation.visible} messages visible, {observation.in_flight} in flight, "
        f"{task_seconds:.3g} s each{at_a_time}, are worth {desired} workers at {share}; "
        f"{observation.running} running, {observation.starting} starting"
    )
    if not room:
        why = f", which is all that the limit of {limits.workers} allows"
    elif start and start == room < worth:
        why = f", and the limit is {limits.workers}"
    elif start and (overdue or start > desired - observation.active):
        many = "one" if late == 1 else late
        too_long = f", and {many} would wait longer than {limits.start_within_seconds:g} s"
        why = too_long if late else ", and no worker is active"
    elif start or desired <= observation.active:
        why = ""
    elif not unclaimed:
        why = ", and each visible message has a free worker"
    else:
        why = ", and these will have taken the visible ones before a new one is up"
    if observation.metrics_problem:
        why += (
            f"; metrics were not to be had, what is declared counts: {observation.metrics_problem}"
        )
    return Want(start=start, reason=f"start {start or 'none'}: {seen}{why}", figures=figures)


def _task_seconds(limits: Limits, observation: Observation, busy: int) -> float:
    """Returns what a task takes: as was learned or declared, and no less than what is seen now.

    Tasks that run long have not ended, and so are not measured. The time that busy processes
    spent recently, over the tasks that ended and those in hand, is too low rather than too high.
    """
    known = limits.task_seconds if observation.task_seconds is None else observation.task_seconds
    spent = observation.worked_seconds * busy / max(1, observation.running)
    seen = spent / max(1, (observation.recently_done or 0) + busy)
    return max(SHORTEST_TASK_SECONDS, known, seen)


def _looked_at_twice(limits: Limits, observation: Observation, want: Want) -> dict[str, Any]:
    """Returns a start for what was visible at the look before, and a soon look for the rest.

    Messages in flight may be hidden, and workers idle that look busy with them: these take what
    has just come.
    """
    start, reason, more = want.start, want.reason, {}
    if observation.running and observation.visible_before is not None:
        start = min(start, limits.workers_for(observation.visible_before))
    if start < want.start:
        reason = f"second look in {SECOND_LOOK_SECONDS} s for what has just come, then: {reason}"
        more = {"wait_seconds": min(SECOND_LOOK_SECONDS, limits.round_seconds)}
    verb = "start" if start else "wait"
    return {
        "verb": verb,
        "reason": reason,
        "start": start,
        "desired": observation.active + start,
        **more,
    }


def _horizon(limits: Limits, observation: Observation) -> tuple[float, str]:
    """Returns how many seconds of work a worker has to find, and why so many."""
    cost = limits.startup_seconds + limits.idle_seconds
    horizon = max(SHORTEST_TASK_SECONDS, limits.break_even * cost)
    share = f"{horizon:.0f} s of work each (break_even {limits.break_even:g} x {cost:g} s)"
    deadline = limits.drain_within_seconds - _age(limits, observation) - limits.startup_seconds
    if deadline < horizon:
        # Passed, it presses no less than in its last second.
        horizon = min(horizon, max(deadline, limits.round_seconds))
        share = f"{horizon:.0f} s of work each (because of drain_within_seconds)"
    return horizon, share


def _late(limits: Limits, observation: Observation) -> int:
    """Returns how many visible messages miss start_within_seconds unless workers start now."""
    if observation.metrics_problem:
        return 1  # one may be
    if _age(limits, observation) < limits.late_after_seconds:
        return 0
    return 1 if observation.waited is None else min(observation.waited, observation.visible)


def _age(limits: Limits, observation: Observation) -> float:
    """Returns the age of the oldest visible message at most; 0 where they are known to be young.

    SQS tells the age of the oldest message, and that may be one whose task runs long. Where at
    least as many messages were done in start_within_seconds as there are now, or where none of
    those that were visible so long ago is left, the visible ones are younger.
    """
    age, done = observation.oldest_age_seconds or 0, observation.recently_done
    if done is not None and done >= observation.visible + observation.in_flight:
        return 0
    return age if observation.waited != 0 else min(age, limits.late_after_seconds)
