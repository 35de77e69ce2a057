"""Holds what the parts of one worker share; Celery's configuration has it as `taskpacks`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.deadline import Deadline
    from worker.envelope import Envelope
    from worker.identity import Identity
    from worker.leases import Leases
    from worker.locks import Locks
    from worker.memory import OomWatch
    from worker.outcomes import Outcomes
    from worker.policies import DrainPolicy, RetryPolicy
    from worker.prefetch import Prefetched, PrefetchPolicy
    from worker.slots import Slots
    from worker.telemetry import Telemetry

SETTING = "taskpacks"
"""The name in Celery's configuration."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """Made once, before the first message."""

    leases: Leases
    locks: Locks
    slots: Slots
    outcomes: Outcomes
    retry: RetryPolicy
    drain: DrainPolicy
    prefetch: PrefetchPolicy
    prefetched: Prefetched
    telemetry: Telemetry
    memory: OomWatch
    identity: Identity
    receiver: Any
    """A boto3 client of SQS for the main thread, which makes each call once."""
    on_drained: Callable[[], None]
    on_unusable: Callable[[str], None]
    """Called with the reason why the worker cannot go on: it leaves."""
    revoke: Callable[[Envelope], None]
    """Stores that a task was cancelled before it began."""
    running: set[str] = field(default_factory=set[str])
    """Receipt handles of the messages whose tasks were handed to Celery and have not ended."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when a task has ended: the main thread need not wait any longer."""

    @property
    def deadline(self) -> Deadline:
        """That of the task that this process runs, or that this thread of the main one acts for."""
        return self.slots.deadline


def services_of(app: Any) -> Services:
    """The services that an application was made with."""
    return app.conf[SETTING]
