"""Serves the provider on this machine only, for as long as the engine that started it lives."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from local.provider.provider import Provider

_MESSAGE_BYTES_MAX: Final = 400 * 1024 * 1024
"""As the Pulumi CLI has it: a whole function's code may be in a message."""
_LOOK_EVERY_SECONDS: Final = 2
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """Tells its port in one line on standard output, as the engine expects, and serves."""
    engine = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # before there are threads, for all of them
    server = grpc.server(
        # One call at a time: handlers share clients, which are not for two threads.
        ThreadPoolExecutor(max_workers=1),
        options=[
            ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
        ],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    while signal.sigtimedwait(_ENDING, _LOOK_EVERY_SECONDS) is None and os.getppid() == engine:
        pass
    server.stop(grace=_LOOK_EVERY_SECONDS).wait()


if __name__ == "__main__":
    main()
