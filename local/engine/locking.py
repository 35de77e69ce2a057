"""One process at a time changes a stack."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from local.engine.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@contextmanager
def exclusive(state_file: Path, purpose: str) -> Generator[None]:
    """Holds the state file's lock, or refuses at once, naming the holder.

    The lock is the kernel's, on a file beside the state file: it goes when its process does,
    however that ends. The file itself stays; removing it would let two processes hold two
    locks of one name.

    Raises:
        StateError: Another process, or another engine in this one, holds the lock.
    """
    lock_file = state_file.with_name(f"{state_file.name}.lock")
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "a process that has not written its name yet"
            raise StateError(
                f"{state_file} is in use by {holder}. Wait until it ends, or end that process."
            ) from None
        lock.truncate(0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lock.write(f"process {os.getpid()} ({purpose}, since {now})")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)
