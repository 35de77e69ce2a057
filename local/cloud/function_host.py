"""Runs a Lambda function's handler: a program of its own, standard library only.

It reads one invocation a line from its standard input and answers each with a line on the file
descriptor that it is given. Standard output is the function's own: its log.
https://docs.aws.amazon.com/lambda/latest/dg/python-handler.html
"""

import importlib
import json
import os
import sys
import time
import traceback
from types import SimpleNamespace
from typing import Any, Final


class CloudTime:
    """`time.time` as the cloud has it: right when an invocation begins, then at real speed."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._now = time.time()

    def begin(self, now: float) -> None:
        """An invocation begins at this time."""
        self._began, self._now = time.monotonic(), now

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self._now + time.monotonic() - self._began


def context_of(invocation: dict[str, Any]) -> SimpleNamespace:
    """Returns the context object, the second argument of a handler."""
    ends = time.monotonic() + invocation["timeout_seconds"]
    return SimpleNamespace(
        aws_request_id=invocation["request_id"],
        function_name=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        function_version="$LATEST",
        invoked_function_arn=invocation["arn"],
        log_group_name=os.environ["AWS_LAMBDA_LOG_GROUP_NAME"],
        memory_limit_in_mb=os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"],
        get_remaining_time_in_millis=lambda: max(0, int((ends - time.monotonic()) * 1000)),
    )


def failure(error: BaseException, kind: str | None = None) -> dict[str, Any]:
    """An error as Lambda's answer tells it."""
    trace = "".join(traceback.format_exception(error))
    sys.stdout.write(f"[ERROR] {trace}")
    return {
        "error": {
            "errorMessage": str(error),
            "errorType": kind or type(error).__name__,
            "stackTrace": traceback.format_tb(error.__traceback__),
        }
    }


def loaded(handler: str) -> Any:
    """The handler: a function in a module, written module.function."""
    module, _, name = handler.rpartition(".")
    return getattr(importlib.import_module(module.replace("/", ".")), name)


_HANDLER: Final = "_HANDLER"


def main() -> None:
    """Answers invocations until its input ends."""
    code, packages, descriptor = sys.argv[1:]
    sys.path[:0] = [code]
    sys.path.append(packages)  # boto3, which Lambda brings
    clock = CloudTime()
    time.time = clock
    handler = None
    with os.fdopen(int(descriptor), "w", buffering=1) as answers:
        for line in sys.stdin:
            invocation = json.loads(line)
            clock.begin(invocation["now"])
            try:
                if handler is None:
                    handler = loaded(os.environ[_HANDLER])
            except Exception as error:  # noqa: BLE001 - whatever it is: the answer
                answer = failure(error, "Runtime.ImportModuleError")
            else:
                answer = answered(handler, invocation)
            sys.stdout.flush()
            answers.write(json.dumps(answer) + "\n")


def answered(handler: Any, invocation: dict[str, Any]) -> dict[str, Any]:
    """Returns the handler's result, or how it failed."""
    try:
        value = handler(invocation["event"], context_of(invocation))
    except Exception as error:  # noqa: BLE001 - whatever it is: the answer
        return failure(error)
    try:
        return {"value": json.loads(json.dumps(value))}
    except (TypeError, ValueError) as error:
        return failure(error, "Runtime.MarshalError")


if __name__ == "__main__":
    main()
