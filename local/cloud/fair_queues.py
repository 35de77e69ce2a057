"""Hands out a queue's messages as SQS's fair queues do: those of quiet tenants first.

A message's tenant is its MessageGroupId; a message without one is a tenant of its own. The rules:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html
SQS follows them approximately, and says neither how long "recent" is nor when it looks; here it is
five minutes, and at every receive.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

NOISY_SHARE: Final = 0.1
"""More than this of all in flight, or of all recent processing time, is too much."""
NOISY_IN_FLIGHT: Final = 30
"""So many in flight at least, for its share of them to count."""
RECENT_SECONDS: Final = 300
"""Processing that ended before counts no more, and a tenant that has sent nothing is quiet."""


def noisy(in_flight: Mapping[str, int], seconds: Mapping[str, float]) -> set[str]:
    """Returns the tenants that take more than their share of the consumers.

    Args:
        in_flight: Messages in flight, by tenant; of all tenants.
        seconds: Recent processing time, by tenant; of all tenants.
    """
    most_in_flight = NOISY_SHARE * sum(in_flight.values())
    most_seconds = NOISY_SHARE * sum(seconds.values())
    return {
        tenant
        for tenant, count in in_flight.items()
        if count >= NOISY_IN_FLIGHT and count > most_in_flight
    } | {tenant for tenant, spent in seconds.items() if spent > most_seconds}


def tenant_of(message: Any) -> str:
    """The tenant of one of moto's messages."""
    return f"group {message.group_id}" if message.group_id else f"message {message.id}"


class Tenants:
    """The tenants of one queue: what they have sent, and how long consumers worked for them.

    All moments are seconds since the epoch; whoever calls holds the queue's lock.
    """

    def __init__(self) -> None:
        self._sent_at: dict[str, float] = {}
        self._began: dict[str, tuple[str, float]] = {}
        """By message in flight: its tenant, and when it was received."""
        self._ended: deque[tuple[float, str, float]] = deque()
        """When the processing of a message ended, whose it was, and how long it took."""
        self._noisy: set[str] = set()

    def sent(self, message: Any, now: float) -> None:
        """Notes a message that was sent."""
        self._sent_at[tenant_of(message)] = now

    def received(self, message: Any, now: float) -> None:
        """Notes a message that is handed out."""
        self._began[message.id] = tenant_of(message), now

    def ended(self, message: Any, now: float) -> None:
        """Notes that nobody processes a message any more."""
        tenant, began = self._began.pop(message.id, ("", now))
        if now > began:
            self._ended.append((now, tenant, now - began))

    def in_order(self, messages: Iterable[Any], now: float) -> Iterator[Any]:
        """Gives the visible messages in the order in which they are handed out."""
        now_ms = now * 1000
        in_flight: Counter[str] = Counter()
        visible: list[Any] = []
        held: set[str] = set()
        for message in messages:
            if message.visible_at >= now_ms:
                in_flight[tenant_of(message)] += 1
                held.add(message.id)
                continue
            self.ended(message, message.visible_at / 1000)  # given back, or its time was over
            if message.delayed_until <= now_ms:
                visible.append(message)
        for gone in self._began.keys() - held:  # purged, or moved to a dead-letter queue
            del self._began[gone]
        self._look(in_flight, {tenant_of(message) for message in visible}, now)
        waiting: dict[str, deque[Any]] = {}
        for message in visible:
            tenant = tenant_of(message)
            if tenant in self._noisy:
                waiting.setdefault(tenant, deque()).append(message)
            else:
                yield message
        while waiting:
            # Among noisy ones, that with the fewest in flight.
            tenant = min(waiting, key=lambda each: in_flight[each])
            yield waiting[tenant].popleft()
            in_flight[tenant] += 1
            if not waiting[tenant]:
                del waiting[tenant]

    def _look(self, in_flight: Mapping[str, int], backlog: set[str], now: float) -> None:
        """Decides who is noisy now, and forgets what a tenant did that has become quiet."""
        while self._ended and self._ended[0][0] < now - RECENT_SECONDS:
            self._ended.popleft()
        seconds: defaultdict[str, float] = defaultdict(float)
        for _, tenant, spent in self._ended:
            seconds[tenant] += spent
        for tenant, began in self._began.values():
            seconds[tenant] += now - began
        wanted = backlog & {
            tenant for tenant, at in self._sent_at.items() if at >= now - RECENT_SECONDS
        }
        quiet = self._noisy - wanted
        if quiet:
            self._ended = deque(each for each in self._ended if each[1] not in quiet)
        self._noisy = (self._noisy | noisy(in_flight, seconds)) & wanted
