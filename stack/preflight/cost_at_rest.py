"""Calculates the cost of a stack while nothing is done."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from stack.components.python_function import MEMORY_MIB
from stack.hardware.costs import HOURS_PER_MONTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.hardware.prices import Prices
    from stack.preflight.rules import Registration

DOORMAN_SECONDS: Final = 0.3
DOORMAN_SECONDS_PER_DEPLOYMENT: Final = 0.03
"""How long a look of the doorman that finds nothing is billed. Assumed: not measured in AWS."""
_MINUTES: Final = {"minute": 1, "hour": 60, "day": 24 * 60}


def at_rest(resources: Sequence[Registration], known: Prices) -> dict[str, float]:
    """Returns the cost of a stack a month while no message comes, by what it is for.

    What is stored (images, results, data, logs) comes on top: nobody knows how much.

    Returns:
        US dollars per month; kinds that cost nothing are left out.
    """
    month: defaultdict[str, float] = defaultdict(float)
    deployments = sum(each.type == "aws:batch/jobQueue:JobQueue" for each in resources)
    for each in resources:
        match each.type:
            case "aws:cloudwatch/metricAlarm:MetricAlarm":
                metrics = sum("metric" in query for query in each.items("metricQueries")) or 1
                month["alarms"] += metrics * known.usd("cloudwatch_month", "alarm metric")
            case "aws:cloudwatch/dashboard:Dashboard":
                month["dashboard"] += known.usd("cloudwatch_month", "dashboard")
            case "aws:cloudwatch/eventRule:EventRule":
                looks = runs_per_month(str(each.known("scheduleExpression") or ""))
                month["doorman"] += looks * a_look(deployments, known)
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


def a_look(deployments: int, known: Prices) -> float:
    """Returns the cost in US dollars of one look of the doorman that finds nothing.

    Args:
        deployments: How many there are: each is asked for its count with one request.
        known: AWS's prices.
    """
    seconds = DOORMAN_SECONDS + DOORMAN_SECONDS_PER_DEPLOYMENT * deployments
    gib_seconds = seconds * MEMORY_MIB / 1024
    return (
        known.usd("lambda", "request")
        + gib_seconds * known.usd("lambda", "arm64 gib second")
        + deployments * known.usd("sqs", "request")
    )


def runs_per_month(schedule: str) -> float:
    """How often a rule with a schedule of the form rate(N minutes) runs; 0 for other forms."""
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule)
    if not found:
        return 0
    return HOURS_PER_MONTH * 60 / (int(found[1]) * _MINUTES[found[2]])
