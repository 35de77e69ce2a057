"""Runs a Python module that must not ask for the network, and ends it where it does.

    python tests/stack/offline.py MODULE ARGUMENT...

It needs nothing but the standard library, so any environment's Python can run it.
"""

import os
import runpy
import sys
from collections.abc import Sequence

REACHES_OUT = ("socket.getaddrinfo", "socket.connect")
"""https://docs.python.org/3/library/audit_events.html"""
NETWORK_WANTED = 69
"""sysexits.h's EX_UNAVAILABLE."""


def refuse(event: str, details: Sequence[object]) -> None:
    """Ends the process at the first look for an address: an exception could be caught."""
    if event in REACHES_OUT:
        os.write(2, f"{sys.argv[0]} wants the network: {event} {details}\n".encode())
        os._exit(NETWORK_WANTED)


if __name__ == "__main__":
    sys.addaudithook(refuse)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
