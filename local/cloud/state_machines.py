"""Step Functions: moto's interpreter, at the cloud's pace and with what it lacks.

It runs executions in threads of this process. Repaired here: the casing of parameters and
answers of the service integrations, names of executions that come without one, errors of the
interpreter itself; and a definition is checked when it comes. What it calls is this cloud.
https://docs.aws.amazon.com/step-functions/latest/dg/integrate-services.html
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from moto.core.config import default_user_config
from moto.stepfunctions.parser.api import ExecutionStatus, InvalidDefinition
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service,
)
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import (
    WaitFunction,
)
from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.models import StepFunctionsParserBackend

from local.cloud import asl
from local.cloud.events import ExecutionChanged
from local.cloud.repairs import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from local.cloud.clock import Clock
    from local.cloud.embedded_metrics import MetricBuffer
    from local.cloud.events import EventStream

_METRICS: Final = {
    "RUNNING": "ExecutionsStarted",
    "SUCCEEDED": "ExecutionsSucceeded",
    "FAILED": "ExecutionsFailed",
    "ABORTED": "ExecutionsAborted",
    "TIMED_OUT": "ExecutionsTimedOut",
}
"""https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html"""
_LOOK_SECONDS: Final = 0.2
_LEAVE_SECONDS: Final = 2.0
_SERVICE: Any = state_task_service.StateTaskService


class StateMachines:
    """Runs the executions of one cloud."""

    def __init__(
        self,
        *,
        events: EventStream,
        clock: Clock,
        client: Callable[[str], Any],
        metrics: MetricBuffer,
    ) -> None:
        """Runs nothing yet.

        Args:
            events: Receives what happens to executions.
            clock: The cloud's, whose pace waits and retries go by.
            client: Gives the boto3 client of a service of this cloud.
            metrics: Where counts of executions go.
        """
        self._events = events
        self._clock = clock
        self._client = client
        self._metrics = metrics
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Any, threading.Thread]] = {}

    @contextmanager
    def in_place(self) -> Generator[None]:
        """Runs what is started while the context lasts; at its end nothing is running."""
        settings = cast("dict[str, Any]", default_user_config)["stepfunctions"]
        before = settings["execute_state_machine"]
        with ExitStack() as stack:
            stack.callback(settings.update, execute_state_machine=before)
            settings["execute_state_machine"] = True
            for name, module in list(sys.modules.items()):
                if name.startswith("moto.stepfunctions.parser.") and hasattr(
                    module, "boto_client_for"
                ):
                    stack.enter_context(replaced(module, "boto_client_for", self._client_for))
            backend: Any = StepFunctionsParserBackend
            for owner, name, replacement in (
                (_SERVICE, "_normalise_parameters", _normalise_parameters(self._client)),
                (_SERVICE, "_normalise_response", _normalise_response(self._client)),
                (WaitFunction, "_wait_interval", self._wait_interval()),
                (retrier_decl, "time", SimpleNamespace(sleep=self._pause)),
                (ExecutionWorker, "start", self._start()),
                (
                    BaseExecutionWorkerCommunication,
                    "terminated",
                    self._terminated(BaseExecutionWorkerCommunication.terminated),
                ),
                (backend, "_validate_definition", _validated(backend._validate_definition)),  # noqa: SLF001 - what is repaired
                (backend, "start_execution", _named(backend.start_execution)),
            ):
                stack.enter_context(replaced(owner, name, replacement))
            stack.callback(self.close)
            yield

    def close(self) -> None:
        """Stops all executions."""
        self._closing.set()
        with self._lock:
            running = list(self._running.values())
        for execution, _ in running:
            if execution.exec_worker.env is not None:
                execution.stop(datetime.now(UTC), "", "the local cloud ends")
        until = time.monotonic() + _LEAVE_SECONDS
        for _, thread in running:
            thread.join(max(0.0, until - time.monotonic()))

    def _client_for(self, region: str, service: str, state_credentials: Any = None) -> Any:
        """In the place of moto's, which makes a client for each call."""
        del region, state_credentials
        return self._client(service)

    def _pause(self, cloud_seconds: float) -> None:
        self._closing.wait(cloud_seconds / self._clock.pace)

    def _wait_interval(self) -> Any:
        """A Wait state ends early with its execution, and with the cloud."""
        clock, closing = self._clock, self._closing

        def wait_interval(self: Any, env: Any, wait_seconds: float) -> None:
            del self
            until = time.monotonic() + wait_seconds / clock.pace
            while env.is_running() and not closing.is_set():
                left = until - time.monotonic()
                if left <= 0:
                    return
                env.program_state_event.wait(min(left, _LOOK_SECONDS))

        return wait_interval

    def _start(self) -> Any:
        """Runs an execution in a thread that is known, and lets none hang when it breaks."""
        machines = self

        def start(self: Any) -> None:
            execution = self._execution_communication.execution

            def run() -> None:
                try:
                    self._execution_logic()
                except Exception as error:  # noqa: BLE001 - the execution must end all the same
                    machines._broken(execution, error)

            thread = threading.Thread(target=run, name=f"execution-{execution.name}", daemon=True)
            with machines._lock:
                machines._running[execution.exec_arn] = execution, thread
            machines._notify(execution, "RUNNING")
            thread.start()

        return start

    def _broken(self, execution: Any, error: Exception) -> None:
        execution.stop_date = datetime.now(UTC)
        execution.exec_status = ExecutionStatus.FAILED
        execution.error, execution.cause = "States.Runtime", f"{type(error).__name__}: {error}"
        if not self._closing.is_set():
            self._events.error(f"execution {execution.name} broke: {execution.cause}")
        self._ended(execution)

    def _terminated(self, original: Any) -> Any:
        ended = self._ended

        def terminated(self: Any) -> None:
            original(self)
            ended(self.execution)

        return terminated

    def _ended(self, execution: Any) -> None:
        with self._lock:
            self._running.pop(execution.exec_arn, None)
        self._notify(execution, execution.exec_status.value)

    def _notify(self, execution: Any, status: str) -> None:
        of = "StateMachineArn", execution.state_machine.arn
        self._metrics.count(f"AWS/States {_METRICS[status]}", of, self._clock.now())
        failed = [text for text in (execution.error, execution.cause) if text]
        self._events.emit(
            ExecutionChanged(
                self._events.now(),
                machine=execution.state_machine.name,
                execution=execution.name,
                status=status,
                output=execution.output,
                cause=": ".join(failed) or None,
            )
        )


def _shapes(
    service: Any, client: Callable[[str], Any], name: str | None, action: str | None
) -> Any:
    """The model of the operation that a service integration calls."""
    made = client(service._get_boto_service_name(name))  # noqa: SLF001 - moto's way to the name
    method = service._get_boto_service_action(action)  # noqa: SLF001 - as above
    return made.meta.service_model.operation_model(made.meta.method_to_api_mapping[method])


def _normalise_parameters(client: Callable[[str], Any]) -> Any:
    """A state machine writes JobName where SubmitJob takes jobName."""

    def normalise(
        self: Any,
        parameters: Any,
        boto_service_name: str | None = None,
        service_action_name: str | None = None,
    ) -> None:
        shape = _shapes(self, client, boto_service_name, service_action_name).input_shape
        if shape is not None:
            self._to_boto_request(parameters, shape)

    return normalise


def _normalise_response(client: Callable[[str], Any]) -> Any:
    """A state machine reads JobId where SubmitJob answers jobId."""

    def normalise(
        self: Any,
        response: Any,
        boto_service_name: str | None = None,
        service_action_name: str | None = None,
    ) -> None:
        shape = _shapes(self, client, boto_service_name, service_action_name).output_shape
        if shape is not None:
            self._from_boto_response(response, shape)

    return normalise


def _validated(original: Any) -> Any:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html."""

    def validate(definition: str) -> None:
        try:
            parsed = json.loads(definition)
        except ValueError as error:
            raise InvalidDefinition(message=f"Invalid State Machine Definition: {error}") from error
        if found := asl.faults(parsed):
            raise InvalidDefinition(message=f"Invalid State Machine Definition: '{found[0]}'")
        original(definition)

    return staticmethod(validate)


def _named(original: Any) -> Any:
    """An execution that is started without a name gets one."""

    def start_execution(
        self: Any,
        state_machine_arn: str,
        name: str | None = None,
        execution_input: str | None = None,
        trace_header: str | None = None,
    ) -> Any:
        return original(
            self, state_machine_arn, name or str(uuid.uuid4()), execution_input, trace_header
        )

    return start_execution
