"""The Lambda function that a deployment's state machine asks, round by round.

It takes what the machine knows, and returns the decision with what the next round needs. The
decision itself is `launcher.policy`'s; here stands what has to do with how it is asked: that one
execution works at a time, that what was just submitted is not forgotten, and that trouble which
does not pass is not kept quiet.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from launcher.doorman import SENT
from launcher.jobs import LISTED_WITHIN_SECONDS, Submitted
from launcher.observe import NAMESPACE, Observer
from launcher.policy import SECOND_LOOK_SECONDS, Decision, decide
from launcher.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launcher.policy import Observation

ARRAY_SIZE_MAX: Final = 10_000
"""https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html: more start round by round."""
SENT_LOOK_SECONDS: Final = 60
"""An execution that a sender's event started knows that there is a message: so long it looks again
where SQS's counts do not show one yet."""
TROUBLES_MAX: Final = 5
"""So many rounds in a row that could not observe or submit end the execution as failed, which
raises an alarm; the doorman begins a new execution."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The facts that one round passes to the next, through the state machine.

    Attributes:
        round: Counts from 1 in each execution.
        predecessor: The execution that this one takes over from: it is not waited for.
        submitted: Recently, since Batch's listing lags.
        visible: Messages that were visible at its last look; None before the first.
        troubles: Rounds in a row in which something went wrong.
        decided_at_seconds: Since 1970.
        sent_at_seconds: When a sender's event started the execution, since 1970; None where
            something else did.
    """

    round: int = 1
    predecessor: str | None = None
    submitted: tuple[Submitted, ...] = ()
    visible: int | None = None
    troubles: int = 0
    decided_at_seconds: float = 0
    sent_at_seconds: float | None = None


def recall(state: object, now: float) -> tuple[Memory, str]:
    """Returns what this round must know.

    Args:
        state: The state machine's: what an earlier round returned with what came of it, or what
            a predecessor handed over, or whatever input woke the execution.
        now: Seconds since 1970.

    Returns:
        The memory, and what went wrong with the last submission in words, or "".
    """
    if not isinstance(state, dict) or not isinstance(state.get("memory"), dict):
        sent = isinstance(state, dict) and state.get("woken_by") == SENT
        return Memory(decided_at_seconds=now, sent_at_seconds=now if sent else None), ""
    memory = state["memory"]
    submitted = [Submitted(**each) for each in memory["submitted"]]
    if job := state.get("submitted"):
        submitted.append(
            Submitted(
                job_id=job["job_id"],
                workers=state["start"],
                at_seconds=memory["decided_at_seconds"],
            )
        )
    trouble = state.get("trouble") or {}
    predecessor = state.get("predecessor")
    return (
        Memory(
            round=1 if predecessor else memory["round"] + 1,
            predecessor=predecessor or memory["predecessor"],
            submitted=tuple(
                each for each in submitted if now - each.at_seconds < LISTED_WITHIN_SECONDS
            ),
            visible=memory.get("visible"),
            troubles=memory["troubles"],
            decided_at_seconds=now,
            # An execution that began with an older launcher has none.
            sent_at_seconds=memory.get("sent_at_seconds"),
        ),
        f"SubmitJob: {trouble.get('Error')}: {trouble.get('Cause')}" if trouble else "",
    )


def settled(decision: Decision, memory: Memory) -> Decision:
    """Puts off a start to the second look, and splits one that is too large for an array job.

    Executions that are woken at the same moment may not see each other at once: the listing of
    executions lags. None starts anything before its second look.
    An execution that knows of a message that was sent does not end before it was counted.
    """
    if decision.verb == "done" and memory.sent_at_seconds is not None:
        passed = memory.decided_at_seconds - memory.sent_at_seconds
        if passed < SENT_LOOK_SECONDS:
            return replace(
                decision,
                verb="wait",
                # It looks after 3, 6, 12, 24, 48 and 60 s: most counts are right after seconds.
                wait_seconds=max(SECOND_LOOK_SECONDS, min(passed, SENT_LOOK_SECONDS - passed)),
                reason=f"a message was sent {passed:.0f} s ago and is not counted yet",
            )
    if decision.verb != "start":
        return decision
    if memory.round == 1 and memory.predecessor is None:
        return replace(
            decision,
            verb="wait",
            start=0,
            wait_seconds=min(SECOND_LOOK_SECONDS, decision.wait_seconds),
            reason=f"second look in {SECOND_LOOK_SECONDS} s, then: {decision.reason}",
        )
    if decision.start > ARRAY_SIZE_MAX:
        return replace(
            decision,
            start=ARRAY_SIZE_MAX,
            wait_seconds=min(SECOND_LOOK_SECONDS, decision.wait_seconds),
            reason=f"{decision.reason}; {ARRAY_SIZE_MAX} now, the rest in the next round",
        )
    return decision


def output(decision: Decision, memory: Memory, trouble: str) -> dict[str, Any]:
    """Returns the state machine's input: the decision, and the memory for the next round.

    Args:
        decision: Settled.
        memory: Of this round.
        trouble: What went wrong before or in this round, or "".
    """
    memory = replace(memory, troubles=memory.troubles + 1 if trouble else 0)
    answer = decision.as_json()
    # A Wait state takes whole seconds.
    answer["wait_seconds"] = max(1, math.ceil(decision.wait_seconds))
    if memory.troubles >= TROUBLES_MAX:
        answer |= {
            "verb": "fail",
            "start": 0,
            "reason": f"{memory.troubles} rounds in a row failed, the last with: {trouble}",
        }
    return {**answer, "memory": asdict(memory)}


class Handler:
    """Everything that stays the same from one invocation of a warm process to the next."""

    def __init__(
        self,
        settings: Settings,
        clients: Mapping[str, Any],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Makes no call yet.

        Args:
            settings: The deployment.
            clients: boto3's of "sqs", "batch", "cloudwatch", "stepfunctions" and "ssm".
            now: Seconds since 1970.
        """
        self._settings = settings
        self._clients = clients
        self._now = now
        self._observer = Observer(settings, clients, now=now)

    def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Decides, and writes the decision to the log.

        Args:
            event: `execution` and `state_machine`, ARNs; `started_at`, ISO 8601; `state`,
                anything.
        """
        memory, trouble = recall(event.get("state"), self._now())
        try:
            paused = self._paused_since()
            older = None if paused else self._older_execution(event, memory.predecessor)
        except Exception as error:  # noqa: BLE001 - whatever it is: unseen, another may be at work
            observation = None
            trouble = trouble or f"{type(error).__name__}: {error}"
            decision = Decision(
                verb="wait",
                wait_seconds=self._settings.limits.round_seconds,
                reason=f"nothing is started: {trouble}",
            )
        else:
            if paused:
                decision = Decision(
                    verb="halt", halted_by="pause", reason=f"it is paused since {paused}"
                )
                return self._logged(output(decision, memory, ""), memory, None)
            if older:
                return self._logged(stand_down(older), memory, None)
            observation = self._observer.observe(memory.submitted)
            if not observation.complete:
                trouble = trouble or observation.problem
            else:
                observation = replace(observation, visible_before=memory.visible)
                memory = replace(memory, visible=observation.visible)
            decision = settled(decide(self._settings.limits, observation), memory)
        answer = output(decision, memory, trouble)
        if answer["verb"] == "cancel":
            answer |= self._cancelled()
        if answer["verb"] == "stop":
            # Each in its turn: a job takes a while to end, and is listed meanwhile.
            jobs = self._observer.active_jobs
            answer["stop_job"] = jobs[memory.round % len(jobs)]
        return self._logged(answer, memory, observation)

    def _cancelled(self) -> dict[str, Any]:
        """Names the job, or waits where none can be named: the next round looks again."""
        try:
            job_id = self._observer.newest_runnable()
        except Exception as error:  # noqa: BLE001 - whatever it is: a job that is left costs a start
            return {"verb": "wait", "reason": f"ListJobs: {type(error).__name__}: {error}"}
        if job_id is None:
            return {"verb": "wait", "reason": "the jobs that waited for machines have started"}
        return {"cancel_job": job_id}

    def _paused_since(self) -> str | None:
        """When and why the deployment was paused; None when it is not."""
        answer = self._clients["ssm"].get_parameters(Names=[self._settings.pause_parameter])
        for each in answer["Parameters"]:
            mark = json.loads(each["Value"])
            if mark["queue_url"] == self._settings.queue_url:
                return f"{mark['since']}: {mark['reason']}"
        return None

    def _older_execution(self, event: Mapping[str, Any], predecessor: str | None) -> str | None:
        """The execution that was at work before this one; None when it is this one's turn."""
        own = event["execution"]
        started = {own: datetime.fromisoformat(event["started_at"])}
        arguments = {"stateMachineArn": event["state_machine"], "statusFilter": "RUNNING"}
        while True:
            answer = self._clients["stepfunctions"].list_executions(**arguments)
            for each in answer["executions"]:
                started[each["executionArn"]] = each["startDate"]
            if "nextToken" not in answer:
                break
            arguments["nextToken"] = answer["nextToken"]
        started.pop(predecessor or "", None)
        oldest = min(started, key=lambda arn: (started[arn], arn))
        return None if oldest == own else oldest

    def _logged(
        self, answer: dict[str, Any], memory: Memory, observation: Observation | None
    ) -> dict[str, Any]:
        line = json.dumps(embedded(self._settings, answer, memory, observation, self._now()))
        sys.stdout.write(f"{line}\n")
        return answer


def stand_down(older: str) -> dict[str, Any]:
    """Returns the state machine's input when another execution is at work already."""
    return {
        "verb": "stand_down",
        "start": 0,
        "reason": f"another execution is active: {older}",
        "memory": asdict(Memory()),
    }


def embedded(
    settings: Settings,
    answer: Mapping[str, Any],
    memory: Memory,
    observation: Observation | None,
    now: float,
) -> dict[str, Any]:
    """The log's line for one round, which CloudWatch turns into metrics without a call.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    measured: dict[str, float] = {}
    if observation is not None and observation.complete:
        measured = {
            "VisibleMessages": observation.visible,
            "ActiveWorkers": observation.active,
            "DesiredWorkers": answer["desired"],
            "StartedWorkers": answer["start"],
        }
        if observation.active or observation.visible:
            measured["VcpuHoursLastDay"] = observation.vcpu_hours_last_day
    if not any(measured.values()):
        # A metric is charged for each hour that has a value of it: idle rounds write none.
        measured = {}
    directives = [_directive([*settings.dimensions], measured)] if measured else []
    halted: dict[str, Any] = {}
    if answer.get("halted_by"):
        halted = {"Halted": 1, "HaltedBy": answer["halted_by"]}
        directives.append(_directive([*settings.dimensions, "HaltedBy"], {"Halted": 1}))
    line = {
        **settings.dimensions,
        "Pack": settings.pack,
        "Verb": answer["verb"],
        "Reason": answer["reason"],
        "Round": memory.round,
        "Figures": answer.get("figures", {}),
        **measured,
        **halted,
    }
    if directives:
        line["_aws"] = {"Timestamp": int(now * 1000), "CloudWatchMetrics": directives}
    return line


def _directive(dimensions: list[str], measured: Mapping[str, float]) -> dict[str, Any]:
    return {
        "Namespace": NAMESPACE,
        "Dimensions": [dimensions],
        "Metrics": [{"Name": name, "Unit": "Count"} for name in measured],
    }


@cache
def _handler() -> Handler:
    """Made at the first invocation, and kept for as long as the process is."""
    # Imported here: the pure parts of this file need no AWS.
    import boto3  # noqa: PLC0415 - as said above
    from botocore.config import Config  # noqa: PLC0415 - as said above

    config = Config(
        connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"}
    )
    # Workers start without it, too: it must not take the others' time.
    brief = config.merge(
        Config(read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
    )
    names = ("sqs", "batch", "stepfunctions", "ssm")
    return Handler(
        Settings.from_environment(),
        {
            **{name: boto3.client(name, config=config) for name in names},
            "cloudwatch": boto3.client("cloudwatch", config=brief),
        },
    )


def handle(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Lambda's entry.

    Args:
        event: As `Handler.answer` takes it.

    Returns:
        As `output` says, or `stand_down`.
    """
    return _handler().answer(event)
