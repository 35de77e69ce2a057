"""Observes SQS, Batch and CloudWatch before the launcher decides.

It fails closed: whatever goes wrong with SQS and Batch makes the observation incomplete, with the
problem in words, and nothing is started on an incomplete observation. Metrics may be missing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from launcher import learning
from launcher.jobs import Excuses, JobBook, Runnable, Submitted, Workers
from launcher.policy import Ending, Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from launcher.learning import Points
    from launcher.settings import Settings

OBSERVING_SECONDS_MAX: Final = 40
"""Longer than this and the counts at the beginning say little about the end."""
ENDINGS_MAX: Final = 100
"""More would add nothing."""
NAMESPACE: Final = "Taskpacks"
"""The namespace of the metrics that workers write: see worker/telemetry.py."""
_COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_MINUTE_SECONDS: Final = 60
_NEWS_SECONDS: Final = 5 * _MINUTE_SECONDS
"""A metric of SQS that is older says nothing of now."""


class TooSlowError(Exception):
    """The observation would take longer than it is worth."""


class PartialAnswerError(Exception):
    """A service answered, but not all that was asked."""


class Observer:
    """Observes one deployment; kept in a warm process, it remembers what cannot change."""

    def __init__(
        self,
        settings: Settings,
        clients: Mapping[str, Any],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Observes nothing yet.

        Args:
            settings: The deployment.
            clients: boto3's of "sqs", "batch" and "cloudwatch".
            now: Seconds since 1970.
        """
        self._settings = settings
        self._clients = clients
        self._now = now
        self._deadline = 0.0
        self._runnable: Sequence[Runnable] = ()
        self.active_jobs: Sequence[str] = ()
        """The ids of the jobs and array jobs that had not ended at the last look."""
        self._jobs = JobBook(
            self._batch,
            job_queue=settings.job_queue,
            job_definition=settings.job_definition,
            excuses=Excuses(frozenset(settings.excused_exit_codes), settings.excused_reasons),
        )

    def observe(self, submitted: Iterable[Submitted]) -> Observation:
        """Looks at everything once.

        Args:
            submitted: What earlier rounds submitted.

        Returns:
            The observation; incomplete, with its problem, when any part of it failed.
        """
        began = self._now()
        self._deadline = began + OBSERVING_SECONDS_MAX
        try:
            # The workers first: a message that one of them takes between the two looks is not
            # counted as waiting. The other way round, one that takes the last message and leaves
            # would be missed, and another started for nothing.
            workers = self._jobs.read(submitted, began)
            self._runnable = workers.runnable
            self.active_jobs = workers.active
            counts = self._counts()
            return self._observation(workers, counts, began)
        except Exception as error:  # noqa: BLE001 - whatever it is: nothing is started on half a view
            return Observation(complete=False, problem=f"{type(error).__name__}: {error}")

    def newest_runnable(self) -> str | None:
        """Returns the id of the job that `Observation.runnable` counts and that is the newest."""
        patience = self._settings.limits.patience_seconds
        return self._jobs.newest_runnable(self._runnable, self._now() - patience)

    def _observation(
        self, workers: Workers, counts: tuple[int, int, int], began: float
    ) -> Observation:
        visible, in_flight, delayed = counts
        endings = endings_of(workers, began)
        failing = newest_failures(endings, self._settings.limits.breaker_failures)
        first = began - max((each.seconds_ago for each in failing), default=0)
        last = began - min((each.seconds_ago for each in failing), default=0)
        patience = self._settings.limits.patience_seconds
        # CloudWatch charges for every metric that is asked for, and none of them matters while
        # nothing waits: a look at an empty task queue costs none.
        failing_since = None if not failing or workers.at_work_before(first) else first
        measured = self._measures(workers, began, failing_since) if visible else {}
        return Observation(
            age_seconds=self._now() - began,
            visible=visible,
            in_flight=in_flight,
            delayed=delayed,
            starting=len(workers.starting_since),
            runnable=workers.runnable_since(began - patience),
            running=len(workers.running_since),
            young=workers.younger_than(patience, began),
            endings=endings,
            survived_seconds=began
            - min((s for s in workers.running_since if s > first), default=began),
            probes=workers.started_after(last, patience, began) if failing else 0,
            vcpu_hours_last_day=workers.vcpu_hours_last_day(self._settings.limits.vcpus, began),
            **measured,
        )

    def _measures(
        self, workers: Workers, now: float, failing_since: float | None
    ) -> dict[str, Any]:
        """Returns what metrics say, or that they say nothing: SQS and Batch may answer well."""
        limits = self._settings.limits
        lately = now - limits.start_within_seconds
        try:
            measured = self._measured(now)
            age = newest_age(measured["age"], now)
            late = age is not None and age >= limits.late_after_seconds
            return {
                "oldest_age_seconds": age,
                "waited": self._waited(now) if late else None,
                "task_seconds": learning.mean(measured["run"], measured["tasks"], now),
                "recently_done": since(measured["done"], lately),
                "worked_seconds": workers.worked_between(lately, known_until(measured)),
                "deleted_since_first_of_those_failures": None
                if failing_since is None
                else self._deleted(failing_since, now),
            }
        except Exception as error:  # noqa: BLE001 - whatever it is: what is declared must do
            return {"metrics_problem": f"{type(error).__name__}: {error}"}

    def _counts(self) -> tuple[int, int, int]:
        answer = self._call(
            "sqs",
            "get_queue_attributes",
            QueueUrl=self._settings.queue_url,
            AttributeNames=list(_COUNTS),
        )
        visible, in_flight, delayed = (int(answer["Attributes"][name]) for name in _COUNTS)
        return visible, in_flight, delayed

    def _measured(self, now: float) -> dict[str, Points]:
        """Metrics of the recent past."""
        run = ("RunSeconds", NAMESPACE, self._settings.dimensions)
        queue = {"QueueName": self._settings.queue_name}
        hour, minute = learning.PERIOD_SECONDS, _MINUTE_SECONDS
        return {
            **self._metrics(
                {
                    "run": _query(*run, "Average", hour),
                    "tasks": _query(*run, "SampleCount", hour),
                },
                since=now - learning.SPAN_SECONDS,
                until=now,
            ),
            **self._metrics(
                {
                    "done": _query("NumberOfMessagesDeleted", "AWS/SQS", queue, "Sum", minute),
                    "age": _query(
                        "ApproximateAgeOfOldestMessage", "AWS/SQS", queue, "Maximum", minute
                    ),
                },
                since=now - max(_NEWS_SECONDS, self._settings.limits.start_within_seconds),
                until=now,
            ),
        }

    def _waited(self, now: float) -> int | None:
        """How many messages are late, if the oldest are received first.

        Asked for only where one may be late: two metrics more in each round would cost.
        """
        queue = {"QueueName": self._settings.queue_name}
        visible = ("ApproximateNumberOfMessagesVisible", "AWS/SQS", queue, "Minimum")
        received = ("NumberOfMessagesReceived", "AWS/SQS", queue, "Sum")
        then = now - self._settings.limits.late_after_seconds
        found = self._metrics(
            {
                "visible": _query(*visible, _MINUTE_SECONDS),
                "received": _query(*received, _MINUTE_SECONDS),
            },
            since=then - _NEWS_SECONDS,
            until=now,
        )
        at = max((moment for moment in found["visible"] if moment <= then), default=None)
        if at is None:
            return None
        return max(0, round(found["visible"][at]) - (since(found["received"], at) or 0))

    def _deleted(self, since: float, now: float) -> int:
        """How many messages were done since then."""
        queue = {"QueueName": self._settings.queue_name}
        query = _query("NumberOfMessagesDeleted", "AWS/SQS", queue, "Sum", _MINUTE_SECONDS)
        found = self._metrics({"deleted": query}, since=since, until=now)
        return round(sum(found["deleted"].values()))

    def _metrics(
        self, queries: Mapping[str, Mapping[str, Any]], *, since: float, until: float
    ) -> dict[str, Points]:
        arguments: dict[str, Any] = {
            "MetricDataQueries": [{"Id": name, **query} for name, query in queries.items()],
            "StartTime": since - since % _MINUTE_SECONDS,
            "EndTime": until,
        }
        found: dict[str, Points] = {name: {} for name in queries}
        statuses = dict.fromkeys(queries, "no answer")
        while True:
            answer = self._call("cloudwatch", "get_metric_data", **arguments)
            for result in answer["MetricDataResults"]:
                times = (moment.timestamp() for moment in result["Timestamps"])
                found[result["Id"]].update(zip(times, result["Values"], strict=True))
                # One that goes on says "PartialData" on each page but its last.
                statuses[result["Id"]] = result["StatusCode"]
            if "NextToken" not in answer:
                for name, status in statuses.items():
                    if status != "Complete":
                        raise PartialAnswerError(f"CloudWatch gave {status} for {name}")
                return found
            arguments["NextToken"] = answer["NextToken"]

    def _batch(self, operation: str, **arguments: Any) -> Mapping[str, Any]:
        return self._call("batch", operation, **arguments)

    def _call(self, service: str, operation: str, **arguments: Any) -> Mapping[str, Any]:
        if self._now() > self._deadline:
            raise TooSlowError(
                f"observing took more than {OBSERVING_SECONDS_MAX} s, before {service} "
                f"{operation}: too many jobs, or a slow service"
            )
        return getattr(self._clients[service], operation)(**arguments)


def endings_of(workers: Workers, now: float) -> tuple[Ending, ...]:
    """The ends of the workers that started last, and the newest end, without excused ones."""
    ended = sorted(
        (each for each in workers.ended if each.failed is not None),
        key=lambda each: (each.began_at, each.stopped_at),
        reverse=True,
    )
    kept = ended[:ENDINGS_MAX]
    if ended and (newest := max(ended, key=lambda each: each.stopped_at)) not in kept:
        kept.append(newest)
    return tuple(
        Ending(
            seconds_ago=max(0.0, now - each.stopped_at),
            failed=bool(each.failed),
            lasted_seconds=max(0.0, each.stopped_at - each.began_at),
        )
        for each in kept
    )


def newest_failures(endings: Sequence[Ending], count: int) -> Sequence[Ending]:
    """Returns so many of the last to start, or none where one of them has not failed."""
    last = endings[:count]
    return last if len(last) == count and all(each.failed for each in last) else ()


def since(points: Points, moment: float) -> int | None:
    """The sum from a moment on; None when there is no value at all."""
    return round(sum(value for at, value in points.items() if at >= moment)) if points else None


def known_until(measured: Mapping[str, Points]) -> float:
    """Returns up to which moment SQS's metrics say what happened; 0 when they say nothing."""
    moments = [*measured["done"], *measured["age"]]
    return max(moments) + _MINUTE_SECONDS if moments else 0.0


def newest_age(points: Points, now: float) -> float | None:
    """The newest age, as it is now; None when it is too old to be of use, or there is none."""
    moment = max(points, default=0.0)
    return points[moment] + now - moment if now - moment < _NEWS_SECONDS else None


def _query(
    metric: str, namespace: str, dimensions: Mapping[str, str], stat: str, period_seconds: int
) -> dict[str, Any]:
    return {
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": metric,
                "Dimensions": [
                    {"Name": name, "Value": value} for name, value in dimensions.items()
                ],
            },
            "Period": period_seconds,
            "Stat": stat,
        },
        "ReturnData": True,
    }
