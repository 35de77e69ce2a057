"""Keeps what a shell says of AWS away from the cloud on this machine. Standard library only."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def without_aws_settings() -> Generator[None]:
    """Takes this process's AWS and proxy settings away, and restores them afterwards.

    A profile, a region or an endpoint of the shell's would lead clients elsewhere: while a
    local cloud is open, it is all that this process can reach. moto asks for a profile as
    soon as it is imported, so enter this before.
    """
    taken = {name: os.environ.pop(name) for name in tuple(os.environ) if is_aws_setting(name)}
    try:
        yield
    finally:
        for name in tuple(os.environ):
            if is_aws_setting(name):
                del os.environ[name]
        os.environ.update(taken)


def is_aws_setting(name: str) -> bool:
    """Says whether an environment variable decides which cloud a client talks to."""
    return name.startswith("AWS_") or name.lower() == "no_proxy"
