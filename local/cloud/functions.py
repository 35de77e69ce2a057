"""Lambda functions: their deployed code, run in processes of their own.

moto wants docker to run a function; `LambdaFunction.invoke` is replaced here. A process stays
warm for the next invocation, serves one at a time, and ends with the cloud.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import base64
import json
import re
import threading
import uuid
import zipfile
from contextlib import ExitStack, contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from moto.awslambda.exceptions import InvalidParameterValueException
from moto.awslambda.models import LambdaBackend, LambdaFunction

from local.cloud.events import FunctionFailed, FunctionLine
from local.cloud.function_process import FunctionProcess, Invocation
from local.cloud.job_logs import LogStream
from local.cloud.repairs import replaced
from taskpacks.limits import (
    FUNCTION_ENVIRONMENT_MAX_BYTES,
    FUNCTION_MEMORY_MAX_MIB,
    FUNCTION_MEMORY_MIN_MIB,
    FUNCTION_TIMEOUT_MAX_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from local.cloud.clock import Clock
    from local.cloud.embedded_metrics import MetricBuffer
    from local.cloud.events import EventStream

_RUNTIMES: Final = tuple(f"python3.{minor}" for minor in range(10, 15))
"""https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html"""
_HANDLER: Final = re.compile(r"[\w/]+(\.\w+)+")
_LOG_GROUP: Final = "own_log_group"
"""A function's attribute here."""
_LOG_TAIL_BYTES: Final = 4096
"""https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"""


def refusal(spec: Mapping[str, Any]) -> str | None:
    """Why AWS, or this cloud, would refuse a function; None when it would not.

    Args:
        spec: What of CreateFunction's or UpdateFunctionConfiguration's parameters is given.
    """
    seconds, mib = spec.get("Timeout", 3), spec.get("MemorySize", FUNCTION_MEMORY_MIN_MIB)
    variables: dict[str, str] = (spec.get("Environment") or {}).get("Variables") or {}
    checks = {
        f"Timeout {seconds} is not between 1 and {FUNCTION_TIMEOUT_MAX_SECONDS} seconds": (
            1 <= seconds <= FUNCTION_TIMEOUT_MAX_SECONDS
        ),
        f"MemorySize {mib} is not between {FUNCTION_MEMORY_MIN_MIB} and "
        f"{FUNCTION_MEMORY_MAX_MIB} MiB": (
            FUNCTION_MEMORY_MIN_MIB <= mib <= FUNCTION_MEMORY_MAX_MIB
        ),
        f"Runtime {spec.get('Runtime')} is none of those that run here: {', '.join(_RUNTIMES)}": (
            spec.get("Runtime", _RUNTIMES[0]) in _RUNTIMES
        ),
        f"Handler {spec.get('Handler')} is not of the form module.function": (
            "Handler" not in spec or bool(_HANDLER.fullmatch(spec["Handler"]))
        ),
        f"the environment variables exceed {FUNCTION_ENVIRONMENT_MAX_BYTES} bytes": (
            sum(len(f"{name}{value}".encode()) for name, value in variables.items())
            <= FUNCTION_ENVIRONMENT_MAX_BYTES
        ),
    }
    return next((text for text, fine in checks.items() if not fine), None)


class Functions:
    """Runs the functions of one cloud."""

    def __init__(
        self,
        *,
        events: EventStream,
        clock: Clock,
        logs: Any,
        environment: Mapping[str, str],
        folder: Path,
        metrics: MetricBuffer,
        on_line: Callable[[str], None],
    ) -> None:
        """Runs nothing yet.

        Args:
            events: Where log lines and failures go.
            clock: The cloud's, which a function's `time.time` shows.
            logs: A CloudWatch Logs client.
            environment: What points a process at the cloud; it wins over the function's own.
            folder: Where code is unpacked.
            metrics: Where counts of errors go.
            on_line: Called with each line that a function prints.
        """
        self._events = events
        self._clock = clock
        self._logs = logs
        self._environment = environment
        self._folder = folder
        self._metrics = metrics
        self._on_line = on_line
        self._lock = threading.Lock()
        self._idle: dict[str, list[FunctionProcess]] = {}
        self._all: set[FunctionProcess] = set()
        self._closed = False

    @contextmanager
    def in_place(self) -> Generator[None]:
        """Runs what is invoked while the context lasts; at its end no process is left."""
        invoke = self._invoke

        def invoked(function: Any, body: Any, request_headers: Any, response_headers: Any) -> bytes:
            del request_headers  # an asynchronous invocation runs at once too
            return invoke(function, body, response_headers)

        with ExitStack() as stack:
            stack.callback(self.close)
            for owner, name, replacement in (
                (LambdaFunction, "invoke", invoked),
                (LambdaBackend, "create_function", _checked(LambdaBackend.create_function)),
                (
                    LambdaBackend,
                    "update_function_configuration",
                    _checked(LambdaBackend.update_function_configuration),
                ),
            ):
                stack.enter_context(replaced(owner, name, replacement))
            yield

    def close(self) -> None:
        """Ends every process."""
        with self._lock:
            self._closed = True
            processes, self._all = self._all, set()
        for process in processes:
            process.close()

    def _invoke(self, function: Any, body: Any, response_headers: Any) -> bytes:
        invocation = Invocation(
            event=json.loads(body) if body else {},
            request_id=str(uuid.uuid4()),
            arn=function.function_arn,
            timeout_seconds=float(function.timeout),
            now=self._clock.now_seconds(),
        )
        process = self._process(function)
        lines: list[str] = []
        answer = process.invoke(invocation, lines.append)
        self._log(function, lines)
        if not process.ended:
            with self._lock:
                self._idle.setdefault(process.key, []).append(process)
        tail = "\n".join(lines).encode()[-_LOG_TAIL_BYTES:]
        response_headers["x-amz-log-result"] = base64.b64encode(tail).decode()
        if "error" in answer:
            error = answer["error"]
            response_headers["x-amz-function-error"] = "Unhandled"
            # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
            self._metrics.count(
                "AWS/Lambda Errors", ("FunctionName", function.function_name), self._clock.now()
            )
            self._events.emit(
                FunctionFailed(
                    self._events.now(),
                    function.function_name,
                    error["errorType"],
                    error["errorMessage"],
                )
            )
            return json.dumps(error).encode()
        return json.dumps(answer["value"]).encode()

    def _process(self, function: Any) -> FunctionProcess:
        """A warm process of this very code and configuration, or a new one."""
        variables = {name: str(value) for name, value in function.environment_vars.items()}
        configuration = json.dumps([function.handler, variables, function.memory_size])
        key = f"{function.function_arn} {function.code_sha_256} {configuration}"
        with self._lock:
            if self._closed:
                raise RuntimeError("the local cloud ends")
            stale = [
                process
                for known, processes in self._idle.items()
                if known != key and known.startswith(f"{function.function_arn} ")
                for process in processes
            ]
            self._idle = {
                known: [process for process in processes if process not in stale]
                for known, processes in self._idle.items()
            }
            self._all -= set(stale)
            waiting = self._idle.get(key)
            found = waiting.pop() if waiting else None
            if found is None:
                found = FunctionProcess(
                    key,
                    code=self._unpacked(function),
                    handler=function.handler,
                    environment={**variables, **self._environment, **self._facts(function)},
                )
                self._all.add(found)
        for process in stale:
            process.close()
        return found

    def _unpacked(self, function: Any) -> Path:
        sha = re.sub(r"\W", "", function.code_sha_256)
        folder = self._folder / f"{function.function_name}-{sha}"
        if not folder.exists():
            with zipfile.ZipFile(BytesIO(function.code_bytes)) as archive:
                archive.extractall(folder)
        return folder

    def _facts(self, function: Any) -> dict[str, str]:
        """https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html."""
        return {
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_LOG_GROUP_NAME": _log_group(function),
            "_HANDLER": function.handler,
        }

    def _log(self, function: Any, lines: list[str]) -> None:
        for line in lines:
            self._events.emit(FunctionLine(self._events.now(), function.function_name, line))
            self._on_line(line)
        if lines:
            stream = LogStream(
                self._logs,
                group=_log_group(function),
                prefix=f"{self._clock.now():%Y/%m/%d}/[$LATEST]",
                create_group=True,
                on_lost=lambda text: self._events.error(f"{function.function_name}: {text}"),
            )
            stream.put(lines)


def _log_group(function: Any) -> str:
    given = getattr(function, _LOG_GROUP, None)
    return given or f"/aws/lambda/{function.function_name}"


def _checked(original: Any) -> Any:
    """Refuses what AWS refuses, and keeps the log group, which moto drops.

    The request's parameters are the last argument.
    """

    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        spec = [*args, *kwargs.values()][-1]
        if text := refusal(spec):
            raise InvalidParameterValueException(text)
        answer = original(self, *args, **kwargs)
        if group := (spec.get("LoggingConfig") or {}).get("LogGroup"):
            name = spec.get("FunctionName") or kwargs.get("function_name") or args[0]
            setattr(self.get_function(name), _LOG_GROUP, group)
        return answer

    return checked
