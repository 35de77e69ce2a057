"""Policies and the telemetry's format."""

import json

import pytest

from worker.policies import GracePolicy, Phase, RetryPolicy, time_limits
from worker.telemetry import TaskReport, Telemetry, embedded
from worker.usage import TaskUsage


@pytest.mark.parametrize(
    ("waited", "phase"),
    [
        (0, Phase.FINISH),
        (19.9, Phase.FINISH),
        (20, Phase.CANCEL),
        (23.9, Phase.CANCEL),
        (24, Phase.KILL),
    ],
)
def test_the_grace_is_divided_into_finishing_cancelling_and_killing(waited, phase):
    assert GracePolicy(grace_seconds=20, cleanup_seconds=4).phase(100, 100 + waited) is phase


@pytest.mark.parametrize(
    ("hard", "soft", "within"),
    [
        (None, None, (60, None)),
        (10, 5, (10, 5)),
        (60, 60, (60, 60)),
        (7300, 50, (60, 50)),
        (7300, 7200, (60, 54)),  # time to clean up is left
        (None, 7200, (60, 54)),
        (10, 7200, (10, 10)),  # as in Celery, the hard one comes first
        (10, 10**400, (10, 10)),
        (-1, -1, (60, None)),
        (0, 0, (60, None)),
        (float("nan"), float("nan"), (60, None)),
        (10**400, 10**400, (60, 54)),
    ],
)
def test_a_hard_time_limit_is_within_the_packs_and_takes_the_soft_one_with_it(hard, soft, within):
    assert time_limits(hard, soft, most=60) == within


def test_waits_double_up_to_the_longest():
    policy = RetryPolicy(max_attempts=3, backoff_seconds=10, backoff_max_seconds=600)
    waits = [policy.wait_seconds(attempts) for attempts in (1, 2, 3, 6, 7, 8, 1000, 10**9)]
    assert waits == [10, 20, 40, 320, 600, 600, 600, 600]
    assert [policy.exhausted(attempts) for attempts in (0, 2, 3, 4)] == [False, False, True, True]
    assert RetryPolicy(3, 0, 600).wait_seconds(5) == 0


def test_a_task_is_told_in_the_embedded_metric_format_without_its_arguments(capsys):
    telemetry = Telemetry(stack="stack", deployment="deployment", pack="pack")
    telemetry.task(
        TaskReport(
            task_id="id",
            task_name="name",
            outcome="done",
            receives=2,
            wait_seconds=1.23456,
            run_seconds=None,
            usage=TaskUsage(cpu_seconds=0.12345, peak_memory_bytes=4096),
        )
    )
    told = json.loads(capsys.readouterr().out)
    (metrics,) = told.pop("_aws")["CloudWatchMetrics"]
    assert metrics == {
        "Namespace": "Taskpacks",
        "Dimensions": [["Stack", "Deployment"]],
        "Metrics": [{"Name": "WaitSeconds", "Unit": "Seconds"}],
    }
    assert told == {
        "Stack": "stack",
        "Deployment": "deployment",
        "Pack": "pack",
        "TaskId": "id",
        "TaskName": "name",
        "Outcome": "done",
        "Receives": 2,
        "CpuSeconds": 0.123,
        "PeakMemoryBytes": 4096,
        "WaitSeconds": 1.235,
    }


def test_what_has_no_metrics_is_a_plain_line():
    assert embedded({"RunSeconds": None}, {"Stack": "s"}, {"Pack": "p"}) == {
        "Stack": "s",
        "Pack": "p",
    }
