"""The task's process is killed, and the worker goes on."""

import inspect
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from billiard.pool import Pool

from taskpacks.contract import ExitCode
from worker.pool import OneProcessPool


def test_an_idle_process_that_is_killed_is_replaced_by_one_that_works(site, wait_until):
    # It waits for its next task with a lock held, which dies with it.
    worker = site.start(TASKPACKS_IDLE_SECONDS="5")
    assert site.send("add", left=0, right=0).get(timeout=20) == 0
    for number in range(2):
        (child,) = wait_until(lambda: worker.children)
        os.kill(child, signal.SIGKILL)
        wait_until(lambda gone=child: worker.children and gone not in worker.children)
        assert site.send("add", left=number, right=1).get(timeout=10) == number + 1
    assert worker.wait() == ExitCode.DRAINED
    assert site.depth() == (0, 0)


DIES_ONCE_AFTER_READING = """
import os, signal
from billiard.pool import Worker

make = Worker._make_child_methods

def make_dying(self, *args, **kwargs):
    make(self, *args, **kwargs)
    wait = self.wait_for_job

    def read_and_die():
        read = wait()
        if read is not None and not os.path.exists({mark!r}):
            open({mark!r}, "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return read

    self.wait_for_job = read_and_die

Worker._make_child_methods = make_dying
"""


def test_a_task_whose_process_dies_between_reading_and_accepting_it_is_not_waited_for_in_vain(
    site, tmp_path
):
    mark = tmp_path / "died"
    text = DIES_ONCE_AFTER_READING.format(mark=str(mark))
    (site.folder / "site" / "sitecustomize.py").write_text(text)
    worker = site.start(TASKPACKS_IDLE_SECONDS="4")
    assert site.send("add", left=1, right=2).get(timeout=30) == 3
    assert mark.exists()
    assert worker.wait() == ExitCode.DRAINED
    assert [report["Outcome"] for report in worker.reports if "Outcome" in report] == [
        "lost",
        "done",
    ]
    assert site.depth() == site.depth(site.dead_url) == (0, 0)


NEVER_HANDED_OVER = """
from billiard.reduction import ForkingPickler

dumps = ForkingPickler.dumps

def refusing(work, *args):
    if "not to be written" in repr(work):
        raise RecursionError("told not to write it")
    return dumps(work, *args)

ForkingPickler.dumps = refusing
"""


def test_a_task_that_cannot_be_handed_to_the_process_fails_and_the_next_one_runs(site):
    (site.folder / "site" / "sitecustomize.py").write_text(NEVER_HANDED_OVER)
    refused = site.send("add", left="not to be written", right="")
    worker = site.start(TASKPACKS_IDLE_SECONDS="3", TASKPACKS_MAX_ATTEMPTS="2")
    with pytest.raises(RecursionError, match="told not to write it"):
        refused.get(timeout=30)
    assert site.send("add", left=1, right=2).get(timeout=30) == 3
    assert worker.wait() == ExitCode.DRAINED
    outcomes = [report["Outcome"] for report in worker.reports if "Outcome" in report]
    assert sorted(outcomes) == ["done", "failed", "failed"]
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (1, 0))


WRITTEN_IN_PART = """
import os
from billiard.connection import Connection

send_bytes = Connection._send_bytes

def failing(self, buf, *args):
    if b"not to be written" in bytes(buf) and not os.path.exists({mark!r}):
        open({mark!r}, "x").close()
        os.write(self.fileno(), {part!r})
        raise OSError(5, "told not to write it")
    return send_bytes(self, buf, *args)

Connection._send_bytes = failing
"""


@pytest.mark.parametrize("part", [b"", b"\0\0\4\0half"], ids=["nothing", "half"])
def test_a_task_that_is_not_written_to_the_processs_pipe_comes_back_and_runs(site, tmp_path, part):
    text = WRITTEN_IN_PART.format(mark=str(tmp_path / "failed"), part=part)
    (site.folder / "site" / "sitecustomize.py").write_text(text)
    result = site.send("add", left="not to be written", right="")
    worker = site.start(TASKPACKS_IDLE_SECONDS="4")
    assert result.get(timeout=30) == "not to be written"
    assert site.send("add", left=1, right=2).get(timeout=30) == 3
    assert worker.wait() == ExitCode.DRAINED
    outcomes = [report["Outcome"] for report in worker.reports if "Outcome" in report]
    assert outcomes == ["failed", "done", "done"]
    assert site.depth() == site.depth(site.dead_url) == (0, 0)


DIES_ONCE_WHILE_IT_READS = """
import os, signal
from billiard.connection import Connection

receive = Connection._recv

def dying(self, size, *args):
    if size > 200_000 and not os.path.exists({mark!r}):
        open({mark!r}, "x").close()
        os.read(self.fileno(), 1000)
        os.kill(os.getpid(), signal.SIGKILL)
    return receive(self, size, *args)

Connection._recv = dying
"""


def test_a_task_whose_process_dies_while_it_reads_it_runs_in_the_next(site, tmp_path):
    # The rest of it is still in the pipe, where the next process would take it for a task.
    mark = tmp_path / "died"
    text = DIES_ONCE_WHILE_IT_READS.format(mark=str(mark))
    (site.folder / "site" / "sitecustomize.py").write_text(text)
    result = site.send("add", left="x" * 250_000, right="")
    worker = site.start(TASKPACKS_IDLE_SECONDS="4")
    assert len(result.get(timeout=30)) == 250_000
    assert mark.exists()
    assert worker.wait() == ExitCode.DRAINED
    assert site.depth() == site.depth(site.dead_url) == (0, 0)


def test_a_task_in_a_replaced_process_may_finish_after_a_signal(site, journal, wait_until):
    # The process that replaces another is forked by a thread that ends with the pool.
    worker = site.start(TASKPACKS_STOP_GRACE_SECONDS="10")
    site.send("sleep", seconds=60, journal=str(journal), name="killed")
    (line,) = wait_until(lambda: journal.lines("begin"))
    os.kill(line["pid"], signal.SIGKILL)
    site.send("sleep", seconds=3, journal=str(journal), name="next")
    wait_until(lambda: journal.lines("begin", "next"))
    worker.signal(signal.SIGTERM)
    assert worker.wait() == ExitCode.STOPPED
    assert journal.lines("end", "next")
    assert [report["Outcome"] for report in worker.reports if "Outcome" in report] == [
        "lost",
        "done",
    ]


def test_two_threads_do_not_look_for_ended_processes_at_the_same_time(monkeypatch):
    # billiard's own removes each from a list: the second thread's removal ended the worker.
    inside, most = set(), []

    def look(_self, shutdown):
        inside.add(threading.get_ident())
        most.append(len(inside))
        time.sleep(0.05)
        inside.discard(threading.get_ident())

    monkeypatch.setattr(Pool, "_join_exited_workers", look)
    monkeypatch.setattr(Pool, "__init__", lambda *_, **__: None)
    pool = OneProcessPool()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: pool._join_exited_workers(), range(4)))
    assert most == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("_join_exited_workers", "self, shutdown"),
        ("_repopulate_pool", "self, exitcodes"),
        ("_setup_queues", "self"),
    ],
)
def test_what_is_overridden_of_the_pool_still_has_its_signature(method, parameters):
    assert ", ".join(inspect.signature(getattr(Pool, method)).parameters) == parameters
