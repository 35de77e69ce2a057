"""Rules that fire by the clock, at a rate(...), by the cloud's time.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.events.exceptions import ValidationException
from moto.events.models import EventsBackend, events_backends

from local.cloud.clock import MINUTE_SECONDS
from local.cloud.repairs import replaced

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from local.cloud.events import EventStream

_RATE: Final = re.compile(r"rate\((\d+) (minute|hour|day)(s?)\)")
_UNIT_MINUTES: Final = {"minute": 1, "hour": 60, "day": 24 * 60}


class BadScheduleError(Exception):
    """A schedule expression that EventBridge refuses, or that this cloud does not know."""


@dataclass(frozen=True)
class Rate:
    """Every so many minutes, counted from the rule's making."""

    minutes: int

    def due(self, minute: int, made: int) -> bool:
        """Whether it fires at a full minute; both in seconds since 1970."""
        passed = (minute - made) // MINUTE_SECONDS
        return passed > 0 and passed % self.minutes == 0


def rate_of(expression: str) -> Rate:
    """Reads a schedule expression.

    Raises:
        BadScheduleError: EventBridge would refuse it, or it is not a rate.
    """
    found = _RATE.fullmatch(expression)
    if found is None:
        raise BadScheduleError(f"{expression} is not rate(N unit), all that the local cloud knows")
    count = int(found[1])
    if count < 1 or (count == 1) == bool(found[3]):
        raise BadScheduleError(f"{expression}: write 1 {found[2]}, or 2 {found[2]}s and more")
    return Rate(count * _UNIT_MINUTES[found[2]])


def scheduled_event(rule: Any, minute: int) -> dict[str, Any]:
    """The event that a schedule makes.

    https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-scheduled-events.html
    """
    return {
        "version": "0",
        "id": f"{rule.name}-{minute}",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": DEFAULT_ACCOUNT_ID,
        "time": datetime.fromtimestamp(minute, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": rule.region_name,
        "resources": [rule.arn],
        "detail": {},
    }


class Schedules:
    """Fires the rules that are due."""

    def __init__(
        self, *, region: str, deliver: Callable[[Any, Any], None], events: EventStream
    ) -> None:
        """Fires nothing yet.

        Args:
            region: Whose rules.
            deliver: Hands an event to all targets of a rule.
            events: Where it says what is not modelled.
        """
        self._region = region
        self._deliver = deliver
        self._events = events
        self._made: dict[tuple[str, str], int] = {}
        self._refused: set[str] = set()

    def fire(self, minutes: list[int]) -> None:
        """Fires, once each, the enabled rules that are due at one of these full minutes."""
        rules: list[Any] = [
            rule
            for bus in list(events_backends[DEFAULT_ACCOUNT_ID][self._region].event_buses.values())
            for rule in list(bus.rules.values())
            if rule.scheduled_expression
        ]
        keys = {(rule.arn, rule.scheduled_expression) for rule in rules}
        self._made = {key: made for key, made in self._made.items() if key in keys}
        for rule in rules:
            key = rule.arn, rule.scheduled_expression
            try:
                rate = rate_of(rule.scheduled_expression)
            except BadScheduleError as error:
                if rule.arn not in self._refused:
                    self._refused.add(rule.arn)
                    self._events.error(f"rule {rule.name} never fires: {error}")
                continue
            made = self._made.setdefault(key, minutes[0] - MINUTE_SECONDS)
            due = [minute for minute in minutes if rate.due(minute, made)]
            if due and rule.state == "ENABLED":
                self._deliver(rule, scheduled_event(rule, due[-1]))


def schedules_checked() -> AbstractContextManager[None]:
    """Has PutRule refuse what EventBridge refuses, such as rate(1 minutes)."""
    original: Any = EventsBackend.put_rule

    def put_rule(self: Any, *args: Any, **kwargs: Any) -> Any:
        expression = kwargs.get("scheduled_expression")
        if expression:
            try:
                rate_of(expression)
            except BadScheduleError as error:
                message = f"Parameter ScheduleExpression is not valid. {error}"
                raise ValidationException(message) from error
        return original(self, *args, **kwargs)

    return replaced(EventsBackend, "put_rule", put_rule)
