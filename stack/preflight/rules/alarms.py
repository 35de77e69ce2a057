"""CloudWatch and EventBridge: alarms, rules, targets, logs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from stack.preflight.rules.findings import UNKNOWN
from taskpacks import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.preflight.rules.findings import Finding, Registration

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
_SHORT_PERIODS: Final = (10, 20, 30)
_PERIOD_STEP: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_WEEK: Final = 7 * _DAY
_ACTIONS_MAX: Final = 5
_OPERATORS: Final = (
    "GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold",
    "LessThanOrEqualToThreshold", "LessThanLowerOrGreaterThanUpperThreshold",
    "LessThanLowerThreshold", "GreaterThanUpperThreshold",
)  # fmt: skip
_MISSING: Final = ("breaching", "notBreaching", "ignore", "missing")
_STATISTICS: Final = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")


def metric_alarm(alarm: Registration) -> Iterator[Finding]:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html."""
    yield from alarm.named("name", r"[^\x00-\x1f]+", 255, "an alarm's name")
    yield from alarm.among("comparisonOperator", _OPERATORS, "a comparison operator")
    yield from alarm.among("treatMissingData", _MISSING, "what missing data means")
    yield from alarm.among("statistic", _STATISTICS, "a statistic")
    yield from alarm.required("comparisonOperator", "an alarm compares")
    yield from alarm.within("evaluationPeriods", 1, _WEEK, "a number of periods")
    periods = alarm.known("evaluationPeriods") or 1
    datapoints = alarm.known("datapointsToAlarm")
    if datapoints is not None and not 1 <= datapoints <= periods:
        yield alarm.finding(
            "datapointsToAlarm",
            datapoints,
            f"of {periods:g} evaluation periods at least one and at most all can count",
            "lower it, or raise evaluationPeriods",
        )
    queries = alarm.items("metricQueries")
    if bool(queries) == bool(alarm.get("metricName")) and alarm.get("metricQueries") is not UNKNOWN:
        yield alarm.finding(
            "metricName",
            alarm.get("metricName"),
            "an alarm looks at one metric, or at metric math",
            "give metricName or metricQueries, and not both",
        )
    inner: list[dict[str, Any]] = [query["metric"] for query in queries if query.get("metric")]
    for period in [alarm.known("period"), *(metric.get("period") for metric in inner)]:
        yield from _period(alarm, period, periods)
    if queries and sum(bool(query.get("returnData")) for query in queries) != 1:
        yield alarm.finding(
            "metricQueries", queries, "exactly one query returns data", "set returnData in one"
        )
    for name in ("alarmActions", "okActions", "insufficientDataActions"):
        actions = alarm.known(name)
        if actions and len(actions) > _ACTIONS_MAX:
            yield alarm.finding(
                name, actions, f"an alarm has at most {_ACTIONS_MAX}", "send to one topic"
            )


def _period(alarm: Registration, period: Any, periods: float) -> Iterator[Finding]:
    if not isinstance(period, int | float):
        return
    if period not in _SHORT_PERIODS and (period < _PERIOD_STEP or period % _PERIOD_STEP):
        yield alarm.finding(
            "period", period, "a period is 10, 20, 30 or a multiple of 60 s", "round it up"
        )
    most = _DAY if period < _HOUR else _WEEK
    if period * periods > most:
        yield alarm.finding(
            "evaluationPeriods",
            periods,
            f"all periods together are at most {most:_} s",
            "look at fewer periods",
        )


# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
_EVENT_NAME: Final = r"[\.\-_A-Za-z0-9]+"
_EVENT_NAME_LENGTH: Final = 64
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
_PATTERN_LENGTH: Final = 2048
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rate-expressions.html
_RATE: Final = re.compile(r"rate\((?:1 (?:minute|hour|day)|(?!0|1 )\d+ (?:minutes|hours|days))\)")
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-cron-expressions.html
_CRON: Final = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")


def event_rule(rule: Registration) -> Iterator[Finding]:
    """Checks what EventBridge takes as a rule."""
    yield from rule.named("name", _EVENT_NAME, _EVENT_NAME_LENGTH, "a rule's name")
    yield from rule.json_object("eventPattern", _PATTERN_LENGTH, "an event pattern")
    if rule.get("eventPattern") is None and rule.get("scheduleExpression") is None:
        yield rule.finding(
            "eventPattern", None, "a rule waits for an event or for a time", "give one of them"
        )
    schedule = rule.known("scheduleExpression")
    if schedule is not None and not (_RATE.fullmatch(schedule) or _cron(schedule)):
        yield rule.finding(
            "scheduleExpression",
            schedule,
            "a schedule is rate(1 minute), rate(N minutes|hours|days) or cron(six fields, one of "
            "the days a '?')",
            "write it so",
        )


def _cron(schedule: str) -> bool:
    found = _CRON.fullmatch(schedule)
    return found is not None and "?" in (found[3], found[5])


_JOB_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_JOB_NAME_LENGTH: Final = 128


def event_target(target: Registration) -> Iterator[Finding]:
    """https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_BatchParameters.html."""
    arn = str(target.known("arn") or "")
    batch = target.get("batchTarget")
    if ":job-queue/" in arn and batch is None:
        yield target.finding(
            "batchTarget", None, "a job queue needs to know which job to run", "give batchTarget"
        )
    if batch is not None or target.get("roleArn") is not None:  # it starts work, not a notice
        yield from target.required(
            "deadLetterConfig", "an event that cannot be delivered must be seen by somebody"
        )
    if batch is None or batch is UNKNOWN:
        return
    yield from target.required("roleArn", "EventBridge submits jobs under a role of ours")
    yield from target.absent(
        "batchTarget.jobAttempts", "it would override the job definition's own retry strategy"
    )
    for name in ("jobDefinition", "jobName"):
        yield from target.required(f"batchTarget.{name}", "Batch asks for it")
    yield from target.named("batchTarget.jobName", _JOB_NAME, _JOB_NAME_LENGTH, "a job's name")
    yield from target.within(
        "batchTarget.arraySize",
        limits.ARRAY_SIZE_MIN,
        limits.ARRAY_SIZE_MAX,
        "the size of an array job",
    )


# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
_RETENTION_DAYS: Final = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
)  # fmt: skip


def log_group(group: Registration) -> Iterator[Finding]:
    """A log that is kept for a time that CloudWatch knows, and not for ever."""
    yield from group.named("name", r"[\.\-_/#A-Za-z0-9]+", 512, "a log group's name")
    yield from group.required("retentionInDays", "logs that are kept for ever cost for ever")
    yield from group.among("retentionInDays", _RETENTION_DAYS, "a retention in days")


RULES: Final = {
    "aws:cloudwatch/eventRule:EventRule": event_rule,
    "aws:cloudwatch/eventTarget:EventTarget": event_target,
    "aws:cloudwatch/logGroup:LogGroup": log_group,
    "aws:cloudwatch/metricAlarm:MetricAlarm": metric_alarm,
}
