"""The doorman: a Lambda function that looks once a minute where a stack's messages wait.

It counts, and starts what decides: an execution of a deployment's state machine, or in mode
`alarms` one worker. It never says how many workers there should be. A sender's event has it start
an execution at once. Where nothing waits it makes one call for a deployment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from launcher.settings import FOLDER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SENT: Final = "send"
"""The value of "woken_by" in an execution's input when a sender's event started it."""
_CLOCK: Final = "aws.events"
"""The source of scheduled events; any other is a sender's.
https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-scheduled-events.html"""
_MINUTE_SECONDS: Final = 60
_VISIBLE: Final = "ApproximateNumberOfMessages"
_ACTIVE: Final = ("RUNNING", "STARTING", "RUNNABLE", "SUBMITTED", "PENDING")


class UnseenError(Exception):
    """Some deployments could not be looked at; the others were."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The facts of a deployment, from its record.

    Attributes:
        name: Of the deployment.
        queue_url: Its task queue.
        job_queue: Its Batch job queue's ARN.
        job_definition: Its job definition's name.
        state_machine: ARN of what asks its launcher; None in mode `alarms`.
        wake_source: The source of senders' events for it; None where it listens to none.
    """

    name: str
    queue_url: str
    job_queue: str
    job_definition: str
    state_machine: str | None
    wake_source: str | None

    @classmethod
    def from_record(cls, parameter: Mapping[str, Any]) -> Deployment:
        """Reads a record: stack/components/deployment_record.py."""
        facts = json.loads(parameter["Value"])
        return cls(
            name=parameter["Name"].rpartition("/")[2],
            queue_url=facts["queue_url"],
            job_queue=facts["job_queue"],
            job_definition=facts["job_definition"],
            state_machine=facts.get("state_machine"),
            wake_source=facts.get("wake_source"),
        )


class Doorman:
    """Everything that stays the same from one invocation of a warm process to the next."""

    def __init__(
        self, folder: str, clients: Mapping[str, Any], *, now: Callable[[], float] = time.time
    ) -> None:
        """Makes no call yet.

        Args:
            folder: As `FOLDER_VARIABLE` says.
            clients: boto3's of "ssm", "sqs", "stepfunctions" and "batch".
            now: Seconds since 1970.
        """
        self._folder = folder
        self._records = f"{folder}/deployments"
        self._clients = clients
        self._now = now
        self._known: dict[str, Deployment] = {}
        self._read_at: int | None = None
        self._woken: dict[str, int] = {}

    def answer(self, event: Mapping[str, Any]) -> dict[str, str]:
        """Looks at all deployments, or starts an execution of the one that was sent to.

        Args:
            event: EventBridge's: the clock's, or a sender's.

        Returns:
            What was done, by deployment; nothing where nothing was.

        Raises:
            UnseenError: A deployment could not be looked at, after all others were. The next
                minute looks again.
        """
        problems: dict[str, str] = {}
        if event["source"] == _CLOCK:
            self._read_records(problems)
            done = self._at_all(self._look, self._known.values(), problems)
        else:
            done = self._at_all(self._sent, self._sent_to(event["source"], problems), problems)
        if done or problems:
            sys.stdout.write(f"{json.dumps({'Doorman': done, 'Problems': problems})}\n")
        if problems:
            raise UnseenError("; ".join(f"{name}: {text}" for name, text in problems.items()))
        return done

    def _read_records(self, problems: dict[str, str]) -> None:
        """Reads which deployments there are; when SSM fails, those known before stay."""
        self._read_at = self._minute
        known: dict[str, Deployment] = {}
        arguments = {"Path": self._records}
        try:
            while True:
                answer = self._clients["ssm"].get_parameters_by_path(**arguments)
                for each in map(Deployment.from_record, answer["Parameters"]):
                    known[each.name] = each
                if not answer.get("NextToken"):
                    break
                arguments["NextToken"] = answer["NextToken"]
        except Exception as error:  # noqa: BLE001 - whatever it is, the known ones are looked at
            problems[self._records] = _in_words(error)
        else:
            self._known = known

    def _at_all(
        self,
        act: Callable[[Deployment], str],
        deployments: Iterable[Deployment],
        problems: dict[str, str],
    ) -> dict[str, str]:
        """Does the same at all deployments at once; one that fails does not stop the others."""
        chosen = list(deployments)

        def safely(deployment: Deployment) -> str:
            try:
                return act(deployment)
            except Exception as error:  # noqa: BLE001 - it is reported, and the others go on
                problems[deployment.name] = _in_words(error)
                return ""

        with ThreadPoolExecutor(max_workers=max(1, len(chosen))) as pool:
            outcomes = zip(chosen, pool.map(safely, chosen), strict=True)
            return {each.name: outcome for each, outcome in outcomes if outcome}

    def _look(self, deployment: Deployment) -> str:
        """Starts what decides where a message is visible and nothing is at work or paused."""
        counts = self._clients["sqs"].get_queue_attributes(
            QueueUrl=deployment.queue_url, AttributeNames=[_VISIBLE]
        )
        if not int(counts["Attributes"][_VISIBLE]):
            return ""
        if self._paused(deployment):
            return ""
        if deployment.state_machine:
            return self._start(deployment.state_machine, "look")
        return self._submit(deployment)

    def _paused(self, deployment: Deployment) -> bool:
        answer = self._clients["ssm"].get_parameters(
            Names=[f"{self._folder}/paused/{deployment.name}"]
        )
        marks = [json.loads(each["Value"]) for each in answer["Parameters"]]
        return any(mark["queue_url"] == deployment.queue_url for mark in marks)

    def _sent_to(self, source: str, problems: dict[str, str]) -> list[Deployment]:
        """Returns the deployment that a sender's event is for, or none.

        Whatever comes, the records are read once a minute at most.
        """
        found = [each for each in self._known.values() if each.wake_source == source]
        if not found and self._read_at != self._minute:
            self._read_records(problems)
            found = [each for each in self._known.values() if each.wake_source == source]
        return found

    def _sent(self, deployment: Deployment) -> str:
        """Starts an execution that knows of a message, whatever the counts say.

        Once a minute at most, however many events come: a process remembers the minute, and
        executions of the same minute have the same name.
        """
        minute = self._minute
        if not deployment.state_machine or self._woken.get(deployment.name) == minute:
            return ""
        paused = self._paused(deployment)
        outcome = "" if paused else self._start(deployment.state_machine, SENT)
        self._woken[deployment.name] = minute
        return outcome

    def _start(self, machine: str, why: str) -> str:
        """Starts an execution unless one is at work.

        A name is taken for 90 days, and the same name and input while it runs is the same one:
        https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
        """
        client = self._clients["stepfunctions"]
        running = client.list_executions(
            stateMachineArn=machine, statusFilter="RUNNING", maxResults=1
        )
        if running["executions"]:
            return ""
        name = f"{why}-{self._minute}"
        try:
            client.start_execution(
                stateMachineArn=machine, name=name, input=json.dumps({"woken_by": why})
            )
        except client.exceptions.ExecutionAlreadyExists:
            return ""  # started in this minute already, and it has ended
        return f"started execution {name}"

    def _submit(self, deployment: Deployment) -> str:
        """Submits a worker unless one is active: the alarms of mode `alarms` start the others."""
        client = self._clients["batch"]
        for status in _ACTIVE:
            listed = client.list_jobs(jobQueue=deployment.job_queue, jobStatus=status, maxResults=1)
            if listed["jobSummaryList"]:
                return ""
        job = client.submit_job(
            jobName=f"{deployment.name}-doorman",
            jobQueue=deployment.job_queue,
            jobDefinition=deployment.job_definition,
        )
        return f"submitted job {job['jobId']}"

    @property
    def _minute(self) -> int:
        return int(self._now() // _MINUTE_SECONDS)


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@cache
def _doorman() -> Doorman:
    """Made at the first invocation, and kept for as long as the process is."""
    import boto3  # noqa: PLC0415 - the rest of this file needs no AWS
    from botocore.config import Config  # noqa: PLC0415 - as above

    # Short, since the next minute looks again; one connection for each thread.
    config = Config(
        connect_timeout=2,
        read_timeout=3,
        retries={"total_max_attempts": 2, "mode": "standard"},
        max_pool_connections=50,
    )
    # A submission that was not answered may have been taken: it is not sent twice.
    once = config.merge(Config(retries={"total_max_attempts": 1, "mode": "standard"}))
    clients = {name: boto3.client(name, config=config) for name in ("ssm", "sqs", "stepfunctions")}
    return Doorman(
        os.environ[FOLDER_VARIABLE], {**clients, "batch": boto3.client("batch", config=once)}
    )


def handle(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """Lambda's entry.

    Args:
        event: As `Doorman.answer` takes it.

    Returns:
        As `Doorman.answer` says.
    """
    return _doorman().answer(event)
