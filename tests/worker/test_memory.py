"""A kill for memory differs from others by the container's own counters."""

import pytest

from worker.memory import OomWatch, oom_kills

EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill {}\noom_group_kill 0\n"
OOM_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
VERSIONS = [("memory.events", EVENTS), ("memory/memory.oom_control", OOM_CONTROL)]


LOST = RuntimeError("Worker exited prematurely: signal 9 (SIGKILL)")
TOLD = "killed for memory: memory_mib is 1024; give the deployment more: resources.memory_mib"


@pytest.mark.parametrize(("name", "text"), VERSIONS)
def test_a_kill_for_memory_is_told_once_with_what_helps(tmp_path, name, text):
    counter = tmp_path / name
    counter.parent.mkdir(exist_ok=True)
    counter.write_text(text.format(2))
    watch = OomWatch(1024, cgroup=tmp_path)
    assert oom_kills(tmp_path) == 2
    assert watch.explained(LOST, since=2) is LOST
    counter.write_text(text.format(3))
    assert str(watch.explained(LOST, since=2)) == TOLD
    assert watch.explained(LOST, since=2) is LOST


def test_each_kill_for_memory_explains_one_of_the_tasks_that_run_at_a_time(tmp_path):
    counter = tmp_path / "memory.events"
    counter.write_text(EVENTS.format(0))
    watch = OomWatch(1024, 4, tmp_path)
    counter.write_text(EVENTS.format(2))
    told = [watch.explained(LOST, since=0) is LOST for _ in range(3)]
    assert told == [False, False, True]


def test_a_kill_before_a_task_began_does_not_explain_its_end(tmp_path):
    counter = tmp_path / "memory.events"
    counter.write_text(EVENTS.format(0))
    watch = OomWatch(1024, 4, tmp_path)
    counter.write_text(EVENTS.format(1))  # a program of an earlier task
    assert watch.explained(LOST, since=watch.kills) is LOST
    assert "which 4 tasks share" in str(watch.explained(LOST, since=0))


def test_where_nothing_counts_them_the_error_stays(tmp_path):
    assert OomWatch(1024, cgroup=tmp_path).explained(LOST, since=0) is LOST
