"""A warm process of a Lambda function, as the cloud sees it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from local.cloud.process import base_environment
from taskpacks.parent_death import tied_to_this_process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HOST: Final = Path(__file__).with_name("function_host.py")
_LOOK_SECONDS: Final = 0.1
_CHUNK_BYTES: Final = 64 * 1024
_JOIN_SECONDS: Final = 2

Answer = dict[str, Any]
"""Its "value", or its "error" as Lambda tells it."""


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One call of a function.

    Attributes:
        event: What the handler gets.
        request_id: A new one for each call.
        arn: The function's.
        timeout_seconds: Real ones.
        now: The cloud's time, in seconds since 1970.
    """

    event: Any
    request_id: str
    arn: str
    timeout_seconds: float
    now: float


@dataclass
class _Call:
    invocation: Invocation
    on_line: Callable[[str], None]
    answer: queue.SimpleQueue[Answer]


class FunctionProcess:
    """Serves one invocation at a time, in order.

    A thread of its own starts the process and lives as long as it does: the kernel ends the
    process with the thread that started it.
    """

    def __init__(
        self, key: str, *, code: Path, handler: str, environment: Mapping[str, str]
    ) -> None:
        """Starts it.

        Args:
            key: Of the function, its code and its configuration.
            code: The folder with the function's files.
            handler: Module and function.
            environment: The process's, beside what every process has.
        """
        self.key = key
        self.ended = False
        self._code = code
        self._environment = environment
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"function-{handler}", daemon=True)
        self._thread.start()

    def invoke(self, invocation: Invocation, on_line: Callable[[str], None]) -> Answer:
        """Runs one invocation to its end, its time-out or the cloud's end.

        Args:
            invocation: The call.
            on_line: Called with each line that the function prints.
        """
        call = _Call(invocation, on_line, queue.SimpleQueue())
        self._calls.put(call)
        return call.answer.get()

    def close(self) -> None:
        """Ends the process."""
        self._closing.set()
        self._calls.put(None)
        self._thread.join(_JOIN_SECONDS)

    def _serve(self) -> None:
        with tempfile.TemporaryDirectory(prefix="function-") as scratch:
            process, answers = self._started(Path(scratch))
            try:
                while not self.ended:
                    call = self._calls.get()
                    if call is None or self._closing.is_set():
                        break
                    call.answer.put(self._answer(process, answers, call))
            finally:
                self.ended = True
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                for file in (process.stdin, process.stdout):
                    if file is not None:
                        with contextlib.suppress(BrokenPipeError):
                            file.close()
                os.close(answers)
                while not self._calls.empty():
                    if (call := self._calls.get()) is not None:
                        call.answer.put(_failed("Runtime.ExitError", "the local cloud ends"))

    def _started(self, scratch: Path) -> tuple[subprocess.Popen[bytes], int]:
        """Starts the process; its answers come out of a pipe beside its output."""
        answers, theirs = os.pipe()
        command = (sys.executable, "-I", "-S", str(_HOST), str(self._code))
        process = subprocess.Popen(
            tied_to_this_process(*command, sysconfig.get_path("purelib"), str(theirs)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._code,
            env={
                **base_environment(scratch),
                "LAMBDA_TASK_ROOT": str(self._code),
                **self._environment,
            },
            pass_fds=(theirs,),
            start_new_session=True,
        )
        os.close(theirs)
        assert process.stdout is not None  # noqa: S101 - PIPE makes it a file
        for descriptor in (answers, process.stdout.fileno()):
            os.set_blocking(descriptor, False)
        return process, answers

    def _answer(self, process: subprocess.Popen[bytes], answers: int, call: _Call) -> Answer:
        assert process.stdin is not None  # noqa: S101 - PIPE makes it a file
        assert process.stdout is not None  # noqa: S101 - as above
        timeout = call.invocation.timeout_seconds
        ends = time.monotonic() + timeout
        answer, log = b"", b""
        try:
            process.stdin.write(json.dumps(asdict(call.invocation)).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            self.ended = True
        with selectors.DefaultSelector() as selector:
            selector.register(answers, selectors.EVENT_READ)
            selector.register(process.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                selector.select(_LOOK_SECONDS)
                log += _available(process.stdout.fileno())
                answer += _available(answers)
                if answer.endswith(b"\n"):
                    break
                late = time.monotonic() >= ends
                if late or self._closing.is_set() or process.poll() is not None:
                    self.ended = True
                    break
        log += _available(process.stdout.fileno())
        for line in log.decode(errors="replace").splitlines():
            if line:
                call.on_line(line)
        if answer.endswith(b"\n"):
            return json.loads(answer)
        if process.poll() is not None:
            return _failed(
                "Runtime.ExitError",
                f"RequestId: {call.invocation.request_id} Error: Runtime exited with error: "
                f"exit status {process.poll()}",
            )
        return _failed(
            "Sandbox.Timedout",
            f"RequestId: {call.invocation.request_id} Error: Task timed out after "
            f"{timeout:.2f} seconds",
        )


def _available(descriptor: int) -> bytes:
    """Returns what can be read now without waiting."""
    chunks: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            chunks.append(chunk)
    return b"".join(chunks)


def _failed(kind: str, message: str) -> Answer:
    return {"error": {"errorMessage": message, "errorType": kind}}
