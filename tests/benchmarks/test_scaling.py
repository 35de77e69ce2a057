from dataclasses import replace

from benchmarks.policies import OURS
from benchmarks.scaling import BOUND, CASES, MATCHED, Score, goals

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


def verdicts(ours, peer, load="1000"):
    table = goals({load: {BOUND: SCORE, OURS: ours, "peer": peer, MATCHED: SCORE}})
    columns = [list(column.cells) for column in table.columns]
    return {goal: (figure, verdict) for goal, figure, verdict in zip(*columns[1:], strict=True)}


def test_better_means_better_on_both_and_by_more_than_a_thousandth():
    assert not SCORE.beats(SCORE)
    assert not replace(SCORE, p95_seconds=10).beats(SCORE)
    assert not replace(SCORE, p95_seconds=10, billed_seconds=999.5).beats(SCORE)
    assert replace(SCORE, p95_seconds=80, billed_seconds=900).beats(SCORE)


def test_a_goal_that_is_missed_is_printed_as_missed():
    slow = replace(SCORE, drained_seconds=126, billed_seconds=1160, surplus=2.1)
    missed = verdicts(slow, replace(SCORE, p95_seconds=80, billed_seconds=900))
    assert missed["no policy is better on both"] == ("peer", "MISSED")
    assert {verdict for _, verdict in missed.values()} == {"MISSED"}


def test_goals_that_are_met_are_printed_as_met():
    met = verdicts(SCORE, replace(SCORE, billed_seconds=900))
    assert {verdict for _, verdict in met.values()} == {"met"}
    two = verdicts(replace(SCORE, started=2), SCORE, load="1")
    assert two["one message starts one worker"] == ("2", "MISSED")


def test_at_least_eight_loads_are_run():
    assert len(CASES) >= 8
