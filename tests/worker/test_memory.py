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
    watch = OomWatch(1024, tmp_path)
    assert oom_kills(tmp_path) == 2
    assert watch.explained(LOST) is LOST
    counter.write_text(text.format(3))
    assert str(watch.explained(LOST)) == TOLD
    assert watch.explained(LOST) is LOST


def test_where_nothing_counts_them_the_error_stays(tmp_path):
    assert OomWatch(1024, tmp_path).explained(LOST) is LOST
