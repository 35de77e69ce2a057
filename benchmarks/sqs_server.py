"""An SQS server in a process of its own, which keeps a record of every call.

    python -m benchmarks.sqs_server

Prints its port. `GET /benchmark/calls/QUEUE` answers with what came for that queue, and without a
name with what came for DynamoDB. It ends
when its standard input does, so it never outlives who started it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from local.cloud.repairs import all_repairs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

LOOPBACK = "127.0.0.1"
CALLS = "/benchmark/calls/"
STOP_SECONDS = 10


@dataclass(frozen=True)
class Call:
    """One request to the server.

    Attributes:
        at: When it came, in monotonic seconds, which all processes of a machine share.
        action: Such as "ReceiveMessage".
        is_heartbeat: It extends the time for which a message is hidden.
        messages: How many messages or items it is about; 1 where the call does not say.
    """

    at: float
    action: str
    is_heartbeat: bool
    messages: int


class Recorder:
    """Stands before moto's application and notes each call under its queue's name."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._calls: dict[str, list[tuple[float, str, bool, int]]] = defaultdict(list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers one request."""
        path: str = environ["PATH_INFO"]
        if path.startswith(CALLS):
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self._calls[path.removeprefix(CALLS)]).encode()]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        self._note(environ.get("HTTP_X_AMZ_TARGET", ""), body)
        return self._application(environ, start_response)

    def _note(self, target: str, body: bytes) -> None:
        if target:
            action = target.rpartition(".")[2]
            parameters: dict[str, Any] = json.loads(body or b"{}")
        else:  # SQS's older protocol
            parameters = dict(parse_qsl(body.decode()))
            action = parameters.get("Action", "")
        queue = str(parameters.get("QueueUrl", "")).rpartition("/")[2]
        is_heartbeat = (
            action == "ChangeMessageVisibility" and int(parameters.get("VisibilityTimeout", 0)) > 0
        )
        puts = [put for table in parameters.get("RequestItems", {}).values() for put in table]
        messages = len(parameters.get("Entries") or puts) or 1
        self._calls[queue].append((time.monotonic(), action, is_heartbeat, messages))


@dataclass(frozen=True)
class Server:
    """A running server, as seen from another process."""

    url: str

    def calls(self, queue: str) -> list[Call]:
        """Every call for a queue so far, in order."""
        with urllib.request.urlopen(f"{self.url}{CALLS}{queue}", timeout=STOP_SECONDS) as answer:  # noqa: S310 -- loopback, see `url`
            return [Call(*call) for call in json.load(answer)]


@contextmanager
def running_server() -> Generator[Server]:
    """Runs one in a process of its own while the block lasts."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sqs_server"],
        cwd=Path(__file__).resolve().parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            if process.stdout is None or not (port := process.stdout.readline().strip()):
                raise SystemExit("the SQS server did not start")
            yield Server(f"http://{LOOPBACK}:{port}")
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    """Serves until standard input ends."""
    closing = threading.Event()
    with all_repairs(closing):
        server = make_server(
            LOOPBACK,
            0,
            Recorder(DomainDispatcherApplication(create_backend_app)),
            threaded=True,
            request_handler=MotoRequestHandler,
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_port, flush=True)
        sys.stdin.read()
        closing.set()
        server.shutdown()


if __name__ == "__main__":
    main()
