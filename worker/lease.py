"""The lease on one message: how far it has got, and until when nobody else may get the message."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from worker.locks import TaskLock


def boot_seconds() -> float:
    """Seconds since the machine booted, also while it was suspended: the clock of leases.

    CLOCK_BOOTTIME, which every process of the machine reads alike; where a system has none, the
    monotonic clock.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class LeaseState(Enum):
    """How far a held message has got."""

    HELD = "its task runs, or waits to: the heartbeat extends the lease"
    GIVING_BACK = "it is being made visible"
    DELETING = "its task has ended well: it is being deleted"
    GIVEN_BACK = "visible, or left to the end of its lease"
    DELETED = "deleted, or gone"
    LOST = "somebody else may have it: it must be neither deleted nor given back"


NEXT: Final[dict[LeaseState, tuple[LeaseState, ...]]] = {
    LeaseState.HELD: (LeaseState.GIVING_BACK, LeaseState.DELETING, LeaseState.LOST),
    # GIVING_BACK again when asked again; and finished work is deleted even then.
    LeaseState.GIVING_BACK: (
        LeaseState.GIVING_BACK,
        LeaseState.GIVEN_BACK,
        LeaseState.DELETING,
        LeaseState.LOST,
    ),
    LeaseState.DELETING: (LeaseState.DELETED,),
    LeaseState.GIVEN_BACK: (),
    LeaseState.DELETED: (),
    LeaseState.LOST: (),
}
"""The states that each state may change to."""


@dataclass(eq=False)
class Lease:
    """A message that this worker holds.

    Attributes:
        receipt_handle: SQS's name for this receive of the message.
        message_id: SQS's name for the message.
        receives: How often the message was received, this time included.
        sent_at: When it was sent, in seconds since the epoch; None when SQS did not say.
        received_at: When its receive was asked for, by `boot_seconds`.
        ends_at: Until when SQS hides it at least, by `boot_seconds`; each extension moves it.
        return_after_seconds: How long the message stays hidden when it is given back.
        lock: The task, and its lock in the result table; None when the message is not to run.
        state: How far it has got; `Leases` alone changes it.
    """

    receipt_handle: str
    message_id: str
    receives: int
    sent_at: float | None
    received_at: float
    ends_at: float = 0
    return_after_seconds: float = 0
    lock: TaskLock | None = field(default=None, repr=False)
    state: LeaseState = LeaseState.HELD
    extend_at: float = field(default=0, repr=False)
    hide_seconds: int = field(default=0, repr=False)
    """The visibility timeout that `GIVING_BACK` asks SQS for."""
    settle_at: float = field(default=0, repr=False)
    failures: int = field(default=0, repr=False)
    noted: bool = field(default=False, repr=False)
    """Its task was noted as done, before its deletion was first tried."""
    calling: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """One call about a message at a time: an extension must not overtake its giving back."""


def lease_of(message: dict[str, Any], now: float) -> Lease:
    """The lease on a message that was just received."""
    attributes = message.get("Attributes", {})
    sent = attributes.get("SentTimestamp")
    return Lease(
        receipt_handle=message["ReceiptHandle"],
        message_id=message["MessageId"],
        receives=int(attributes.get("ApproximateReceiveCount", 1)),
        sent_at=int(sent) / 1000 if sent else None,
        received_at=now,
    )
