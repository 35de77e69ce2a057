"""Faults between a worker and SQS: an HTTP proxy on loopback that fails on purpose.

It stands before an SQS protocol server and knows the action of each call. What it does to a
call is said by a script, by an outage (the same for a while), or by seeded random rates, in
that order; it keeps a record of every call. DynamoDB's actions too, which have other names;
other services pass through untouched.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

LOOPBACK = "127.0.0.1"
SQS = "AmazonSQS."
DYNAMODB = "DynamoDB_20120810."
ANSWER_SECONDS = 30
CONNECTION_HEADERS = {"connection", "transfer-encoding", "content-length", "keep-alive"}

RECEIVE = "ReceiveMessage"
DELETE = "DeleteMessageBatch"
DELETE_ONE = "DeleteMessage"
VISIBILITY = "ChangeMessageVisibility"
ATTRIBUTES = "GetQueueAttributes"
SEND = "SendMessage"
GET = "GetItem"
PUT = "PutItem"
UPDATE = "UpdateItem"
PUT_SEVERAL = "BatchWriteItem"
DELETE_ITEM = "DeleteItem"


class Kind(Enum):
    """A fault that is done to a call."""

    ANSWER = "answered with an error, not executed"
    DROP_BEFORE = "the connection is reset, not executed"
    DROP_AFTER = "executed, then the connection is reset"
    HANG = "nothing for a while, then executed and answered"
    BLACK_HOLE = "nothing, for as long as the client waits; not executed"
    HTML = "answered well, with a page of HTML, not executed"
    ANSWER_AFTER = "executed, then answered with an error"
    TRUNCATE = "executed, then answered in half"


UNTOLD = {Kind.DROP_AFTER, Kind.ANSWER_AFTER, Kind.TRUNCATE}
"""Faults after which the client does not know that its call was executed."""
PAGE = b"<html><body>Please sign in.</body></html>"


@dataclass(frozen=True)
class Fault:
    """One thing that can happen to a call."""

    kind: Kind
    status: int = 0
    code: str = ""
    seconds: float = 0

    def __str__(self) -> str:
        return self.code or f"{self.kind.name.lower()}{self.seconds or ''}"


UNAVAILABLE = Fault(Kind.ANSWER, 503, "ServiceUnavailable")
EXPIRED = Fault(Kind.ANSWER, 403, "ExpiredToken")
DENIED = Fault(Kind.ANSWER, 403, "AccessDenied")
THROTTLED = Fault(Kind.ANSWER, 400, "ProvisionedThroughputExceededException")
NOT_IN_FLIGHT = Fault(Kind.ANSWER, 400, "AWS.SimpleQueueService.MessageNotInflight")
INVALID_HANDLE = Fault(Kind.ANSWER, 400, "ReceiptHandleIsInvalid")
DROP_BEFORE = Fault(Kind.DROP_BEFORE)
DROP_AFTER = Fault(Kind.DROP_AFTER)
BLACK_HOLE = Fault(Kind.BLACK_HOLE)
HTML = Fault(Kind.HTML)
FAILED_AFTER = Fault(Kind.ANSWER_AFTER, 500, "InternalError")
TRUNCATED = Fault(Kind.TRUNCATE)


def hang(seconds):
    return Fault(Kind.HANG, seconds=seconds)


@dataclass
class Call:
    """A call of one SQS action, and what was done to it."""

    action: str
    parameters: dict[str, Any]
    at: float
    fault: Fault | None
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def cut_after_execution(self) -> bool:
        """The server did it, and the client was not told so."""
        return self.fault is not None and self.fault.kind in UNTOLD


class FaultProxy:
    """Stands before a server while its block lasts."""

    def __init__(self, upstream: str, seed: int = 0) -> None:
        self.upstream = urlsplit(upstream)
        self.random = random.Random(seed)  # noqa: S311 -- a seeded test, no secret
        self.rates: dict[str, Mapping[Fault, float]] = {}
        self.calls: list[Call] = []
        self.actions: set[str] = set()
        """The actions that were asked for, of any service, by the names that permissions have."""
        self.keys: set[str] = set()
        """The keys of the items in DynamoDB that were read, written or deleted."""
        self._scripts: dict[str, deque[Fault | None]] = defaultdict(deque)
        self._outages: dict[str, tuple[Fault, float]] = {}
        self._before: dict[str, Callable[[Call], None]] = {}
        self._after: dict[str, Callable[[Call], None]] = {}
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._port = 0

    def __enter__(self):
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    def script(self, action: str, *faults: Fault | None) -> None:
        """Does these to the next calls of an action, one each; None lets a call pass."""
        with self._lock:
            self._scripts[action].extend(faults)

    def outage(self, action: str, fault: Fault, seconds: float) -> None:
        """Does this to every call of an action for a while."""
        with self._lock:
            self._outages[action] = (fault, time.monotonic() + seconds)

    def end_outage(self, action: str) -> None:
        with self._lock:
            self._outages.pop(action, None)

    def calm(self) -> None:
        """Lets everything pass from now on."""
        with self._lock:
            self._scripts.clear()
            self._outages.clear()
            self.rates = {}

    def before(self, action: str, do: Callable[[Call], None]) -> None:
        """Calls back for each call of an action, before it is passed on."""
        self._before[action] = do

    def after(self, action: str, do: Callable[[Call], None]) -> None:
        """Calls back for each call that was executed, before its answer is passed on."""
        self._after[action] = do

    @contextmanager
    def refusing(self) -> Generator[None]:
        """Closes the port inside the block: connections are refused, open ones are reset."""
        self._close()
        try:
            yield
        finally:
            self._listen()

    def count(self, action: str) -> int:
        """How many calls of an action came, tries of the client's own included."""
        return sum(call.action == action for call in tuple(self.calls))

    @property
    def quiet(self) -> bool:
        """No call is on its way to the server."""
        return all(call.status or call.fault for call in tuple(self.calls))

    def injected(self) -> Counter[str]:
        """How often each fault was done to each action."""
        return Counter(f"{call.action} {call.fault}" for call in tuple(self.calls) if call.fault)

    def cuts(self, action: str) -> list[Call]:
        """Calls of an action that were executed without the client being told so."""
        return [
            call for call in tuple(self.calls) if call.action == action and call.cut_after_execution
        ]

    def _listen(self) -> None:
        self._server = _Server((LOOPBACK, self._port), self)
        self._port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="fault-proxy", daemon=True
        ).start()

    def _close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.reset_all()
            self._server = None

    def begun(self, action: str, parameters: dict[str, Any]) -> Call:
        """Notes a call and decides what happens to it."""
        with self._lock:
            call = Call(action, parameters, time.time(), self._fault(action))
            self.calls.append(call)
        if action in self._before:
            self._before[action](call)
        return call

    def executed(self, call: Call) -> None:
        if call.action in self._after:
            self._after[call.action](call)

    def _fault(self, action: str) -> Fault | None:
        if self._scripts[action]:
            return self._scripts[action].popleft()
        if action in self._outages:
            fault, until = self._outages[action]
            if time.monotonic() < until:
                return fault
            del self._outages[action]
        drawn = self.random.random()
        for fault, rate in self.rates.get(action, {}).items():
            drawn -= rate
            if drawn < 0:
                return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], proxy: FaultProxy) -> None:
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def reset_all(self) -> None:
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in mid-call is part of the tests."""


def _parts(action: str, asked: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The actions of a call that permissions are for: a transaction's are those of its items."""
    if "TransactItems" in asked:
        return [
            (f"{kind}Item", one) for item in asked["TransactItems"] for kind, one in item.items()
        ]
    puts = [put["PutRequest"] for table in asked.get("RequestItems", {}).values() for put in table]
    return [(action, put) for put in puts] or [(action, asked)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        upstream = self.server.proxy.upstream
        self.onward = HTTPConnection(upstream.hostname, upstream.port, timeout=ANSWER_SECONDS)

    def finish(self) -> None:
        self.onward.close()
        with suppress(OSError):
            super().finish()

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        if len(body) < size:  # its client was killed
            self.close_connection = True
            return
        target = self.headers.get("X-Amz-Target", "")
        proxy = self.server.proxy
        service, _, action = target.partition(".")
        if f"{service}." not in (SQS, DYNAMODB):
            proxy.actions.add(action)
            self._reply(*self._pass_on(body))
            return
        asked = json.loads(body or b"{}")
        for part, one in _parts(action, asked):
            proxy.actions.add(part)
            if item := one.get("Key") or one.get("Item"):
                proxy.keys.add(item["id"]["S"])
        call = proxy.begun(action, asked)
        if call.fault is not None and not self._is_passed_on(call, call.fault):
            return
        status, headers, answer = self._pass_on(body)
        call.status = status
        call.answer = json.loads(answer) if answer.startswith(b"{") else {}
        proxy.executed(call)
        if call.fault is not None and call.cut_after_execution:
            self._cut(call.fault, status, headers, answer)
        else:
            self._reply(status, headers, answer)

    do_GET = do_PUT = do_POST  # noqa: N815 -- the names that http.server calls

    def _is_passed_on(self, call: Call, fault: Fault) -> bool:
        """Does what a fault does before execution; says whether the call is executed."""
        if fault.kind is Kind.DROP_BEFORE:
            self._reset()
        elif fault.kind is Kind.ANSWER:
            call.status = fault.status
            self._refuse(fault)
        elif fault.kind is Kind.HTML:
            self._reply(200, [("Content-Type", "text/html")], PAGE)
        elif fault.kind is Kind.BLACK_HOLE:
            with suppress(OSError):
                self.connection.recv(1)  # until the client goes, or the proxy
            self.close_connection = True
        elif fault.kind is Kind.HANG:
            time.sleep(fault.seconds)  # the fault itself
            return True
        else:
            return True
        return False

    def _cut(
        self, fault: Fault, status: int, headers: list[tuple[str, str]], answer: bytes
    ) -> None:
        """Does what a fault does to the answer of a call that was executed."""
        if fault.kind is Kind.ANSWER_AFTER:
            self._refuse(fault)
        elif fault.kind is Kind.TRUNCATE and answer:
            self._reply(status, headers, answer[: len(answer) // 2], announced=len(answer))
            self.close_connection = True
        else:
            self._reset()

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in CONNECTION_HEADERS
        }
        try:
            self.onward.request(self.command, self.path, body=body, headers=headers)
            response = self.onward.getresponse()
            return response.status, response.getheaders(), response.read()
        except (OSError, HTTPException):
            self.onward.close()
            return 502, [], b"{}"

    def _refuse(self, fault: Fault) -> None:
        answer = json.dumps({"__type": f"com.amazonaws.sqs#{fault.code}", "message": "on purpose"})
        headers = [("Content-Type", "application/x-amz-json-1.0")]
        self._reply(fault.status, headers, answer.encode())

    def _reply(
        self,
        status: int,
        headers: list[tuple[str, str]],
        answer: bytes,
        announced: int | None = None,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in CONNECTION_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer) if announced is None else announced))
        self.end_headers()
        self.wfile.write(answer)

    def _reset(self) -> None:
        """Ends the connection with an RST and not with a goodbye."""
        self.close_connection = True
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(self.connection.detach())
