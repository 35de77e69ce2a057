"""A cloud on one machine: moto's server, and what moto leaves out.

Metrics of task queues, alarms, rules that start Batch jobs, and Batch jobs as processes.
It reads what was deployed back from its own API.
"""

from local.cloud.cloud import LocalCloud
from local.cloud.events import (
    AlarmChanged,
    CloudError,
    CloudEvent,
    DeliveryFailed,
    DepthChanged,
    EventStream,
    JobChanged,
    JobSubmitted,
    LogLine,
    RuleMatched,
    When,
)

__all__ = [
    "AlarmChanged",
    "CloudError",
    "CloudEvent",
    "DeliveryFailed",
    "DepthChanged",
    "EventStream",
    "JobChanged",
    "JobSubmitted",
    "LocalCloud",
    "LogLine",
    "RuleMatched",
    "When",
]
