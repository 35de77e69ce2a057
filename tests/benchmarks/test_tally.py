"""The counts of a long run, and that each broken promise shows."""

import pytest

from benchmarks.tally import Deletion, Kill, Run, Tally

WORKER, CHILD, OTHER = 10, 11, 20


def run(task_id, at, *pids):
    return Run(at=at, task_id=task_id, pids=frozenset(pids or (CHILD, WORKER)))


def tally(runs, deletions, kills=(), dead=0):
    return Tally(
        ids=frozenset("ab"),
        runs=runs,
        deletions=[Deletion(at=at, task_id=task_id) for task_id, at in deletions],
        kills=[Kill(at=at, pid=pid) for at, pid in kills],
        dead=dead,
    )


def missed(found):
    return {what for what, (count, goal) in found.checks.items() if count != goal}


def test_a_line_of_the_journal_is_a_run():
    assert Run.of("a/11/10", 1.5) == run("a", 1.5)


def test_what_ran_and_was_deleted_once_is_in_order():
    found = tally([run("a", 1), run("b", 2)], [("a", 3), ("b", 3)])
    assert not missed(found)
    assert (found.repeats, found.at_risk) == ([], [])


@pytest.mark.parametrize("pid", [WORKER, CHILD])
def test_a_repeat_after_a_kill_of_its_worker_is_explained(pid):
    runs = [run("a", 1), run("b", 2), run("a", 5, OTHER)]
    found = tally(runs, [("b", 2.5), ("a", 6)], kills=[(3, pid)])
    assert not missed(found)
    assert (found.repeats, found.at_risk) == (["a"], [1])


@pytest.mark.parametrize(
    "kill", [(3, OTHER), (0.5, WORKER), (7, WORKER)], ids=["another", "before", "after deletion"]
)
def test_a_repeat_that_no_kill_explains_shows(kill):
    runs = [run("a", 1), run("b", 2), run("a", 5, CHILD)]
    found = tally(runs, [("b", 2.5), ("a", 6)], kills=[kill])
    assert missed(found) == {"repeats of what no kill has cut"}
    assert found.at_risk == [0]


def test_one_kill_explains_one_repeat():
    runs = [run("a", 1), run("b", 2), run("a", 5, OTHER), run("a", 6, OTHER)]
    found = tally(runs, [("b", 2.5), ("a", 7)], kills=[(3, WORKER)])
    assert missed(found) == {"repeats of what no kill has cut"}


def test_what_never_ran_shows_and_so_does_what_is_dead():
    found = tally([run("a", 1)], [("a", 2), ("b", 2)], dead=1)
    assert missed(found) == {
        "done and deleted",
        "never done",
        "deleted without a run",
        "in the dead-letter queue",
    }


def test_what_is_done_and_not_deleted_shows():
    assert missed(tally([run("a", 1), run("b", 1)], [("a", 2)])) == {"done and deleted"}
