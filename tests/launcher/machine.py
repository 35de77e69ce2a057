"""A deployed controller on the local cloud, and what it does."""

import json
import time
from contextlib import contextmanager

from local.cloud import ExecutionChanged, FunctionFailed, FunctionLine, JobSubmitted
from stack.documents import state_machine
from tests.stack.contexts import CONTEXT

ENDED = {"SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"}


class Deployed:
    """One deployment in mode `controller`, with its rules asleep and no machine for its jobs."""

    def __init__(self, cloud, name, outputs):
        self.cloud = cloud
        self.client = cloud.client
        self.name = name
        self.outputs = outputs
        self.machine = outputs["state_machine"]
        self.jobs = []
        self.lines = []
        self.failures = []
        self._stop = lambda: None

    def open(self):
        """Looks on from here, at nothing that goes on."""
        self._rules("disable_rule")
        self._machines_state("DISABLED")
        self._stop_executions()
        self.jobs, self.lines, self.failures = [], [], []
        self._stop = self.cloud.subscribe(self._on_event)

    def close(self):
        """Ends what goes on, and leaves nothing that the next test would see."""
        self._rules("disable_rule")
        self._stop_executions()
        for status in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"):
            for job in self._listed(status):
                self.client("batch").terminate_job(jobId=job["jobId"], reason="the test ends")
        sqs, queue = self.client("sqs"), self.outputs["queue_url"]
        while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        self._stop()

    def _stop_executions(self):
        for execution in self.running():
            self.client("stepfunctions").stop_execution(executionArn=execution)

    def wake(self):
        """From now on the doorman and an alarm wake it, and jobs run."""
        self._machines_state("ENABLED")
        self._rules("enable_rule")

    def _on_event(self, event):
        if isinstance(event, JobSubmitted) and event.name == f"{self.name}-worker":
            self.jobs.append(event.array_size)
        elif isinstance(event, FunctionLine) and event.line.startswith("{"):
            line = json.loads(event.line)
            if line.get("Deployment") == self.name:
                self.lines.append(line)
        elif isinstance(event, FunctionFailed):
            self.failures.append(event)

    def _rules(self, operation):
        events = self.client("events")
        for prefix in (f"{self.name}-", "doorman-"):
            for rule in events.list_rules(NamePrefix=prefix)["Rules"]:
                getattr(events, operation)(Name=rule["Name"])

    def _machines_state(self, state):
        batch = self.client("batch")
        (queue,) = batch.describe_job_queues(jobQueues=[self.outputs["job_queue"]])["jobQueues"]
        for environment in queue["computeEnvironmentOrder"]:
            batch.update_compute_environment(
                computeEnvironment=environment["computeEnvironment"], state=state
            )

    def _listed(self, status):
        return self.client("batch").list_jobs(jobQueue=self.outputs["job_queue"], jobStatus=status)[
            "jobSummaryList"
        ]

    def reasons_of_ended_children(self):
        """The status reasons of the failed children of the newest array job."""
        batch = self.client("batch")
        parent = max(
            (job for job in self._listed("FAILED") if "size" in job.get("arrayProperties", {})),
            key=lambda job: job["createdAt"],
        )
        children = batch.list_jobs(arrayJobId=parent["jobId"], jobStatus="FAILED")
        return [job["statusReason"] for job in children["jobSummaryList"]]

    def send(self, messages):
        sqs = self.client("sqs")
        for first in range(0, messages, 10):
            sqs.send_message_batch(
                QueueUrl=self.outputs["queue_url"],
                Entries=[
                    {"Id": str(index), "MessageBody": "{}"}
                    for index in range(min(10, messages - first))
                ],
            )

    def start(self, event=None):
        """Starts an execution with any input; returns its ARN."""
        return self.client("stepfunctions").start_execution(
            stateMachineArn=self.machine, input=json.dumps(event or {})
        )["executionArn"]

    def ended(self, execution, seconds=30):
        """Waits for an execution's end and describes it."""
        name = execution.rpartition(":")[2]
        self.cloud.events.wait_for(
            lambda event: (
                isinstance(event, ExecutionChanged)
                and event.execution == name
                and event.status in ENDED
            ),
            seconds=seconds,
        )
        return self.client("stepfunctions").describe_execution(executionArn=execution)

    def output(self, execution, seconds=30):
        described = self.ended(execution, seconds)
        assert described["status"] == "SUCCEEDED", described
        return json.loads(described["output"])

    def running(self):
        return [
            each["executionArn"]
            for each in self.client("stepfunctions").list_executions(
                stateMachineArn=self.machine, statusFilter="RUNNING"
            )["executions"]
        ]

    def until(self, holds, seconds=30):
        """Waits until something is true of what has been seen."""
        ends = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < ends, (self.jobs, self.lines[-5:], self.failures)
            time.sleep(0.05)

    def rounds(self, more):
        """Waits for so many more decisions."""
        seen = len(self.lines)
        self.until(lambda: len(self.lines) >= seen + more)

    @contextmanager
    def renewing_after(self, rounds):
        """Puts the same definition with another limit of rounds in its place."""
        client = self.client("stepfunctions")
        before = client.describe_state_machine(stateMachineArn=self.machine)["definition"]
        states = json.loads(before)["States"]
        submit = states["StartOne"]["Parameters"]
        changed = state_machine.definition(
            launcher_arn=states["Decide"]["Parameters"]["FunctionName"],
            launcher_timeout_seconds=60,
            job_name=submit["JobName"],
            job_queue_arn=submit["JobQueue"],
            job_definition=submit["JobDefinition"],
            context=CONTEXT,
            rounds_max=rounds,
        )
        client.update_state_machine(stateMachineArn=self.machine, definition=json.dumps(changed))
        try:
            yield
        finally:
            client.update_state_machine(stateMachineArn=self.machine, definition=before)

    @contextmanager
    def settings_lost(self):
        """The launcher finds nothing in its environment."""
        client = self.client("lambda")
        (function,) = [
            each
            for each in client.list_functions()["Functions"]
            if each["FunctionName"].startswith(f"{self.name}-")
        ]
        name, before = function["FunctionName"], function["Environment"]
        client.update_function_configuration(FunctionName=name, Environment={"Variables": {}})
        try:
            yield
        finally:
            client.update_function_configuration(FunctionName=name, Environment=before)
