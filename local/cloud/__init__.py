"""A cloud on one machine: moto's server, and what moto leaves out.

Metrics of task queues and of log lines, alarms and their notices, rules that start Batch jobs
and state machines, schedules, and Batch jobs and Lambda functions as processes.
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
    ExecutionChanged,
    FunctionFailed,
    FunctionLine,
    JobChanged,
    JobSubmitted,
    LogLine,
    NoticeSent,
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
    "ExecutionChanged",
    "FunctionFailed",
    "FunctionLine",
    "JobChanged",
    "JobSubmitted",
    "LocalCloud",
    "LogLine",
    "NoticeSent",
    "RuleMatched",
    "When",
]
