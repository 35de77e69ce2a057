"""Counts a worker's requests to SQS and DynamoDB by how long tasks take, with their price.

    python -m benchmarks.requests

Serves three queues with a real worker, counts its calls between the first and the last deletion,
and prints them per task. Nothing is measured in time.

Prices of us-east-1, on demand, a million of each:
https://aws.amazon.com/sqs/pricing/, https://aws.amazon.com/dynamodb/pricing/on-demand/
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import REGION, Contender, Site, taskpacks
from benchmarks.measures import DELETE, OURS
from benchmarks.sqs_server import running_server

if TYPE_CHECKING:
    from benchmarks.sqs_server import Call

LOADS: Final = ((0.1, 200), (1.0, 30), (60.0, 3))
"""Seconds that a task takes, and how many of them are served."""
SQS_DOLLARS: Final = 0.40
WRITE_DOLLARS: Final = 0.625
READ_DOLLARS: Final = 0.125
RESULTS: Final = "benchmark-results"
READS: Final = frozenset({"GetItem"})
WRITES: Final = frozenset({"PutItem", "UpdateItem", "BatchWriteItem"})


def counted(site: Site, contender: Contender, seconds: float, tasks: int) -> Counter[str]:
    """Serves tasks that take so long; returns calls of SQS, reads and writes, per task."""
    queue = site.queue()
    before = len(site.server.calls(""))
    for _ in range(tasks):
        queue.send("nap", seconds)
    backend = f"dynamodb://@{REGION}/{RESULTS}?ttl_seconds=3600"
    limit = str(int(10 * seconds + 60))
    with contender.on(
        site, queue, TASKPACKS_RESULT_BACKEND=backend, TASKPACKS_TASK_TIME_LIMIT_SECONDS=limit
    ) as worker:
        if worker.left_at(60 + 2 * tasks * seconds) is None:
            raise SystemExit(f"the worker did not leave:\n{worker.log.read_text()[-3000:]}")
    sqs = [call for call in site.server.calls(queue.name) if call.action not in OURS]
    deletions = [call for call in sqs if call.action in DELETE]
    first, last = deletions[1], deletions[-1]  # the first one was the check of a permission

    def between(call: Call) -> bool:
        return first.at < call.at <= last.at

    done = sum(call.messages for call in deletions if between(call))
    found: Counter[str] = Counter(SQS=sum(map(between, sqs)))
    for call in site.server.calls("")[before:]:
        if between(call):
            found["reads"] += call.messages * (call.action in READS)
            found["writes"] += call.messages * (call.action in WRITES)
    return Counter({kind: count / done for kind, count in found.items()})  # type: ignore[arg-type]


def main() -> None:
    """Prints the table."""
    table = Table(title="per task, and per million tasks in dollars")
    for heading in ("a task takes", "SQS calls", "writes", "reads", "SQS $", "DynamoDB $"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as scratch, running_server() as server:
        folder = Path(scratch)
        site = Site(server, folder)
        os.environ.update(site.aws)
        dynamodb: Any = boto3.client("dynamodb")
        dynamodb.create_table(
            TableName=RESULTS,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        contender = taskpacks(folder / "site")
        for seconds, tasks in LOADS:
            of = counted(site, contender, seconds, tasks)
            dollars = of["writes"] * WRITE_DOLLARS + of["reads"] * READ_DOLLARS
            table.add_row(
                f"{seconds:g} s",
                f"{of['SQS']:.2f}",
                f"{of['writes']:.2f}",
                f"{of['reads']:.2f}",
                f"{of['SQS'] * SQS_DOLLARS:.2f}",
                f"{dollars:.2f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
