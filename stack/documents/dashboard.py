"""The body of a stack's dashboard: one row of graphs for each deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stack.model import short_digest
from taskpacks.contract import METRICS_NAMESPACE, metric_dimensions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stack.model import StackContext

PERIOD_SECONDS: Final = 300
COLUMNS: Final = 24
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html"""
TITLE_ROWS: Final = 1
GRAPH_ROWS: Final = 6
GRAPHS_PER_LINE: Final = 4


@dataclass(frozen=True, kw_only=True)
class Row:
    """A deployment on the dashboard.

    Attributes:
        stack: The stack that it belongs to.
        deployment: Its name.
        queue_name: Its task queue.
        dead_letter_name: Its dead-letter queue.
        log_group_name: Its workers' log.
        vcpus: Of one worker.
        dollars_per_hour: Of one worker; None where no price is known.
    """

    stack: str
    deployment: str
    queue_name: str
    dead_letter_name: str
    log_group_name: str
    vcpus: float
    dollars_per_hour: float | None


def dashboard_name(context: StackContext) -> str:
    """Returns the name of a stack's dashboard; an account has them for all regions.

    Two projects' stacks of one name in one region would share it; there is no such pair, because
    the second's `up` fails: its parameters (`StackContext.parameter`) are there already.

    It has letters, digits, "-" and "_" only, and a stack's name may have dots:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutDashboard.html
    """
    name = context.stack
    if "." in name:
        name = f"{name.replace('.', '-')}-{short_digest(name)}"
    return f"taskpacks-{name}-{context.region}"


def body(rows: Iterable[Row], region: str) -> dict[str, Any]:
    """The dashboard's body: per deployment a title, and below it eight graphs in two lines."""
    widgets: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        widgets.append(
            {
                "type": "text",
                "properties": {"markdown": f"## {row.deployment}"},
                **_place(0, top, COLUMNS, TITLE_ROWS),
            }
        )
        top += TITLE_ROWS
        width = COLUMNS // GRAPHS_PER_LINE
        for index, graph in enumerate(_graphs(row, region)):
            line, column = divmod(index, GRAPHS_PER_LINE)
            place = _place(column * width, top + line * GRAPH_ROWS, width, GRAPH_ROWS)
            widgets.append({**graph, **place})
        top += 2 * GRAPH_ROWS
    return {"widgets": widgets}


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "width": width, "height": height}


def _graphs(row: Row, region: str) -> list[dict[str, Any]]:
    def graph(title: str, metrics: list[list[Any]]) -> dict[str, Any]:
        return {
            "type": "metric",
            "properties": {
                "title": title,
                "region": region,
                "view": "timeSeries",
                "period": PERIOD_SECONDS,
                "metrics": metrics,
            },
        }

    def sqs(metric: str, queue: str, **more: Any) -> list[Any]:
        return ["AWS/SQS", metric, "QueueName", queue, {"stat": "Maximum", **more}]

    dimensions = [
        text for pair in metric_dimensions(row.stack, row.deployment).items() for text in pair
    ]

    def worker(metric: str, **more: Any) -> list[Any]:
        return [METRICS_NAMESPACE, metric, *dimensions, more]

    spent = worker("WorkerSeconds", stat="Sum", id="seconds", visible=False)
    return [
        graph(
            "Depth: messages",
            [
                sqs("ApproximateNumberOfMessagesVisible", row.queue_name, label="visible"),
                sqs("ApproximateNumberOfMessagesNotVisible", row.queue_name, label="in flight"),
                sqs("ApproximateNumberOfMessagesDelayed", row.queue_name, label="delayed"),
            ],
        ),
        graph(
            "Age of the oldest message, s",
            [sqs("ApproximateAgeOfOldestMessage", row.queue_name, label="age")],
        ),
        graph(
            "Workers",
            [
                # The launcher's, in scaling mode `controller`.
                worker("DesiredWorkers", stat="Maximum", label="wanted"),
                worker("ActiveWorkers", stat="Maximum", label="active"),
                worker("WorkerSeconds", stat="SampleCount", label="left"),
                [{"expression": "seconds / PERIOD(seconds)", "label": "left, on average"}],
                spent,
            ],
        ),
        graph(
            "Dead letters",
            [sqs("ApproximateNumberOfMessagesVisible", row.dead_letter_name, label="messages")],
        ),
        graph(
            "Wait from sending to start, s",
            [worker("WaitSeconds", stat=stat, label=stat) for stat in ("p50", "p95", "Maximum")],
        ),
        graph(
            "Run time of tasks, s",
            [worker("RunSeconds", stat=stat, label=stat) for stat in ("p50", "p95", "Maximum")],
        ),
        {
            "type": "log",
            "properties": {
                "title": "Tasks by outcome",
                "region": region,
                "view": "bar",
                "query": f"SOURCE '{row.log_group_name}' | filter ispresent(Outcome) "
                "| stats count(*) by Outcome",
            },
        },
        graph(*_cost(row, spent)),
    ]


def _cost(row: Row, spent: list[Any]) -> tuple[str, list[list[Any]]]:
    """Dollars where the price is known, else vCPU-hours: both without what AWS rounds up."""
    if row.dollars_per_hour is None:
        title, factor = "vCPU-hours of workers that left", row.vcpus
    else:
        title, factor = "Dollars of workers that left", row.dollars_per_hour
    return title, [
        [{"expression": f"seconds / 3600 * {factor:g}", "label": title.partition(" ")[0]}],
        spent,
    ]
