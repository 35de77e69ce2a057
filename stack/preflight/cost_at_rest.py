"""Calculates the cost of a stack while nothing is done."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from stack.hardware.costs import HOURS_PER_MONTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.hardware.prices import Prices
    from stack.preflight.rules import Registration

PULSE_TRANSITIONS: Final = 3
"""The state transitions of a pulse that finds nothing to do: stack/documents/state_machine.py."""
_MINUTES: Final = {"minute": 1, "hour": 60, "day": 24 * 60}


def at_rest(resources: Sequence[Registration], known: Prices) -> dict[str, float]:
    """Returns the cost of a stack a month while no message comes, by what it is for.

    What is stored (images, results, data, logs) comes on top: nobody knows how much.

    Returns:
        US dollars per month; kinds that cost nothing are left out.
    """
    month: defaultdict[str, float] = defaultdict(float)
    for each in resources:
        match each.type:
            case "aws:cloudwatch/metricAlarm:MetricAlarm":
                metrics = sum("metric" in query for query in each.items("metricQueries")) or 1
                month["alarms"] += metrics * known.usd("cloudwatch_month", "alarm metric")
            case "aws:cloudwatch/dashboard:Dashboard":
                month["dashboard"] += known.usd("cloudwatch_month", "dashboard")
            case "aws:cloudwatch/eventRule:EventRule":
                pulses = runs_per_month(str(each.known("scheduleExpression") or ""))
                transition = known.usd("step_functions", "transition")
                month["pulses"] += pulses * PULSE_TRANSITIONS * transition
            case "aws:ec2/natGateway:NatGateway":
                hour = known.usd("network_hour", "nat gateway")
                month["NAT gateways"] += HOURS_PER_MONTH * hour
            case "aws:ec2/eip:Eip":
                hour = known.usd("network_hour", "public address")
                month["public addresses"] += HOURS_PER_MONTH * hour
            case "aws:ec2/vpcEndpoint:VpcEndpoint" if each.get("vpcEndpointType") == "Interface":
                zones = len(each.known("subnetIds") or ())
                hour = known.usd("network_hour", "interface endpoint")
                month["interface endpoints"] += zones * HOURS_PER_MONTH * hour
            case "aws:kms/key:Key":
                month["keys"] += known.usd("kms_month", "key")
            case _:
                pass
    return {what: dollars for what, dollars in month.items() if dollars}


def runs_per_month(schedule: str) -> float:
    """How often a rule with a schedule of the form rate(N minutes) runs; 0 for other forms."""
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule)
    if not found:
        return 0
    return HOURS_PER_MONTH * 60 / (int(found[1]) * _MINUTES[found[2]])
