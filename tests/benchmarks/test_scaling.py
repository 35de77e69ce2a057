from dataclasses import replace
from random import Random

import pytest

from benchmarks.cases import CASES, CHOSEN, REPORTED
from benchmarks.policies import OURS
from benchmarks.scaling import BOUND, MATCHED, Score, goals, verdicts

SCORE = Score(
    drained_seconds=100,
    p50_seconds=50,
    p95_seconds=90,
    p99_seconds=95,
    billed_seconds=1000,
    started=100,
    surplus=0,
    late=0,
    api_calls=10,
    never=0,
)


def figures(ours, peer, tuned=SCORE):
    scores = {BOUND: SCORE, OURS: ours, "buildkite": peer, MATCHED: tuned}
    return {goal.text: (goal.figure, goal.met) for goal in goals(scores)}


def test_better_means_better_on_both_and_by_more_than_a_thousandth():
    assert not SCORE.beats(SCORE)
    assert not replace(SCORE, p95_seconds=10).beats(SCORE)
    assert not replace(SCORE, p95_seconds=10, billed_seconds=999.5).beats(SCORE)
    assert replace(SCORE, p95_seconds=80, billed_seconds=900).beats(SCORE)


def test_a_goal_that_is_missed_says_so():
    slow = replace(SCORE, p95_seconds=173, billed_seconds=1060, surplus=2.1)
    cheap = replace(SCORE, p95_seconds=80, billed_seconds=900)
    assert figures(slow, cheap, tuned=cheap) == {
        "p95 s / goal": ("173 / 172", False),
        "billed / ideal": ("1.06", False),
        "surplus": ("2.1%", False),
        "better with defaults": ("buildkite", False),
        "better when tuned": (MATCHED, False),
    }
    table = verdicts({"1": {BOUND: SCORE, OURS: slow, "buildkite": cheap, MATCHED: SCORE}})
    assert list(table.columns[1].cells) == ["173 / 172 !"]


def test_goals_that_are_met_are_printed_as_met():
    assert all(met for _, met in figures(SCORE, replace(SCORE, billed_seconds=900)).values())


def test_no_load_is_in_both_halves():
    assert len(CHOSEN) == len(REPORTED) == 10
    assert not CHOSEN.keys() & REPORTED.keys()


@pytest.mark.parametrize("name", CASES)
def test_each_load_is_the_same_for_the_same_seed(name):
    first, second = (CASES[name].make(Random(3)) for _ in range(2))
    assert (first.arrivals, first.task_seconds) == (second.arrivals, second.task_seconds)
