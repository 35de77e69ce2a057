"""Faults on demand: calls that the cloud refuses, for who wants to see what happens then."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moto.core.responses import BaseResponse

from local.cloud.repairs import replaced

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from local.cloud.events import EventStream


@dataclass
class _Refusal:
    times: int
    code: str
    status: int


class Faults:
    """Refuses the next calls of an operation. Services that speak JSON only. Thread-safe."""

    def __init__(self, events: EventStream) -> None:
        self._events = events
        self._lock = threading.Lock()
        self._refusals: dict[tuple[str, str], _Refusal] = {}

    def refuse(
        self, service: str, operation: str, *, times: int, code: str, status: int = 400
    ) -> None:
        """Refuses the next calls.

        Args:
            service: As boto3 calls it: batch, lambda, stepfunctions.
            operation: As AWS calls it: SubmitJob, Invoke.
            times: How many calls.
            code: The error's, such as TooManyRequestsException.
            status: HTTP's; 500 and more is the service's own trouble.
        """
        with self._lock:
            self._refusals[service, operation.lower()] = _Refusal(times, code, status)

    def in_place(self) -> AbstractContextManager[None]:
        """Refuses while the context lasts."""
        original: Any = BaseResponse.call_action
        take = self._take

        def call_action(self: Any) -> Any:
            operation = self._get_action()
            refusal = take(self.boto3_service_name, operation) if operation else None
            if refusal is None:
                return original(self)
            message = "refused on demand"
            return (
                refusal.status,
                {"x-amzn-errortype": refusal.code, "status": refusal.status},
                json.dumps({"__type": refusal.code, "message": message, "Message": message}),
            )

        return replaced(BaseResponse, "call_action", call_action)

    def _take(self, service: str, operation: str) -> _Refusal | None:
        if not self._refusals:  # the usual case, without a lock
            return None
        key = service, operation.lower()  # moto has Batch's in small letters
        with self._lock:
            refusal = self._refusals.get(key)
            if refusal is None:
                return None
            refusal.times -= 1
            if refusal.times <= 0:
                del self._refusals[key]
        self._events.error(f"{service} {operation} refused on demand: {refusal.code}")
        return refusal
