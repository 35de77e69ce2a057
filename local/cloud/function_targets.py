"""EventBridge's delivery to Lambda functions: with the function's leave, and not waited for.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-targets.html
"""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from concurrent.futures import Future

    from local.cloud.events import EventStream

_AT_ONCE: Final = 2
"""Invocations of one function by events; the others wait. AWS's limit is the account's."""


class DeliveryError(Exception):
    """A target does not take an event."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FunctionTargets:
    """Invokes the functions that are targets of rules."""

    def __init__(self, *, client: Any, events: EventStream) -> None:
        """Invokes nothing yet.

        Args:
            client: boto3's of "lambda".
            events: Where it says what broke.
        """
        self._client = client
        self._events = events
        self._lock = threading.Lock()
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._by_clock: dict[str, Future[None]] = {}

    @contextmanager
    def in_place(self) -> Generator[None]:
        """Invokes while the context lasts; at its end, what has begun is waited for."""
        try:
            yield
        finally:
            for pool in self._pools.values():
                pool.shutdown(cancel_futures=True)

    def invoke(self, rule: Any, target: Mapping[str, Any], event: Mapping[str, Any]) -> str:
        """Has a function invoked with an event, once: errors are not tried again here.

        The clock's events do not pile up on a busy machine: one that comes while the last is
        still at work is dropped.

        Returns:
            What came of it, in words.

        Raises:
            DeliveryError: There is no such function, or its policy does not let this rule in.
        """
        arn = target["Arn"]
        self._check_leave(arn, rule.arn)
        name = arn.rpartition(":")[2]
        before = self._by_clock.get(rule.arn)
        if before is not None and not before.done():
            return f"function {name}, which is still at work: dropped"
        with self._lock:
            if arn not in self._pools:
                self._pools[arn] = ThreadPoolExecutor(_AT_ONCE, "function-target")
        called = self._pools[arn].submit(self._call, arn, target.get("Input") or json.dumps(event))
        if rule.scheduled_expression:
            self._by_clock[rule.arn] = called
        return f"function {name}"

    def _call(self, arn: str, payload: str) -> None:
        try:
            self._client.invoke(FunctionName=arn, Payload=payload)
        except Exception as error:  # noqa: BLE001 - nobody waits for it, so it is reported
            self._events.error(f"invoking {arn} failed: {type(error).__name__}: {error}")

    def _check_leave(self, function_arn: str, rule_arn: str) -> None:
        """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html."""
        try:
            policy = json.loads(self._client.get_policy(FunctionName=function_arn)["Policy"])
        except self._client.exceptions.ResourceNotFoundException:
            policy = {"Statement": []}
        for statement in policy["Statement"]:
            source = statement.get("Condition", {}).get("ArnLike", {}).get("AWS:SourceArn", "*")
            if statement["Principal"] == {"Service": "events.amazonaws.com"} and fnmatchcase(
                rule_arn, source
            ):
                return
        raise DeliveryError(
            "NO_PERMISSIONS", f"no statement in the policy of {function_arn} lets the rule in"
        )
