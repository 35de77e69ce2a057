"""The log never holds up a task, and has what a task printed before it crashed."""

import json
import os
import resource
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from conftest import ROOT
from taskpacks.contract import ExitCode
from worker import output
from worker.output import PATIENCE_SECONDS, Unblocked

WORKER = [sys.executable, "-m", "worker"]


@contextmanager
def running(site, command=WORKER, **options):
    """A worker whose output goes to a pipe."""
    environment = {**site.environment, **options.pop("changes", {})}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.mark.parametrize("task", ["kill", "crash"])
def test_what_a_task_printed_before_it_crashed_is_in_the_log(site, task):
    site.send(task)
    worker = site.start(TASKPACKS_MAX_ATTEMPTS="1")
    assert worker.wait() == ExitCode.DRAINED
    assert f"last words before SIG{'KILL' if task == 'kill' else 'SEGV'}" in worker.log
    if task == "crash":
        assert "Fatal Python error: Segmentation fault" in worker.log
        assert "in crash" in worker.log


def test_a_pipe_that_nobody_reads_blocks_no_task(site):
    results = [site.send("talk", lines=5000) for _ in range(2)]
    with running(site) as process:
        assert [result.get(timeout=40) for result in results] == [5000, 5000]
        assert process.wait(20) == ExitCode.DRAINED
        assert len(process.stdout.read()) <= 2**16
    assert site.depth() == (0, 0)


def test_a_pipe_whose_reader_is_gone_blocks_and_fails_no_task(site):
    with running(site) as process:
        process.stdout.readline()
        process.stdout.close()
        results = [site.send("talk", lines=10), site.send("add", left=1, right=2)]
        assert [result.get(timeout=40) for result in results] == [10, 3]
        assert process.wait(20) == ExitCode.DRAINED
    assert site.depth() == (0, 0)


def test_a_worker_without_output_runs_its_tasks(site):
    closing = ["sh", "-c", f"exec {sys.executable} -m worker <&- >&- 2>&-"]
    results = [site.send("talk", lines=10), site.send("add", left=1, right=2)]
    with running(site, closing) as process:
        assert [result.get(timeout=40) for result in results] == [10, 3]
        assert process.wait(20) == ExitCode.DRAINED


@pytest.mark.parametrize("reopened", [True, False])
def test_a_line_that_is_not_taken_is_dropped_and_the_next_one_that_is_says_so(
    reopened, monkeypatch
):
    if not reopened:  # as where the user of a container may not open its log
        monkeypatch.setattr(output, "_own_description", lambda number: number)
    reader, writer = os.pipe()
    stream = Unblocked(writer)
    began_at = time.monotonic()
    line = b"x" * 1023 + b"\n"
    for _ in range(100):
        assert stream.write(line) == 1024
    assert PATIENCE_SECONDS <= time.monotonic() - began_at < PATIENCE_SECONDS + 1
    assert os.get_blocking(writer), "others wait as before"
    taken = os.read(reader, 2**20)
    assert taken == line * (len(taken) // 1024)
    stream.write(b"at last\n")
    note, last = os.read(reader, 2**20).decode().strip().splitlines()
    assert f"{100 - len(taken) // 1024} lines were dropped" in json.loads(note)["message"]
    assert last == "at last"
    os.close(reader)
    assert stream.write(line) == 1024
    assert (stream.descriptor != writer) is reopened
    for descriptor in {stream.descriptor, writer}:
        os.close(descriptor)


def test_a_slow_reader_gets_every_line_whole():
    reader, writer = os.pipe()
    stream = Unblocked(writer)
    lines = [(str(number) * 50_000)[:50_000] + "\n" for number in range(10)]
    found = []

    def read():
        with os.fdopen(reader, "rb") as pipe:
            while data := pipe.read1(8192):
                found.append(data)
                time.sleep(0.01)

    thread = threading.Thread(target=read)
    thread.start()
    for line in lines:
        stream.write(line.encode())
    os.close(stream.descriptor)
    os.close(writer)
    thread.join()
    assert b"".join(found).decode() == "".join(lines)


@pytest.mark.parametrize("spoilt", ["missing", "no folder", "full"])
def test_scratch_that_cannot_be_written_is_refused_with_a_sentence(site, spoilt):
    site.send("add", left=1, right=1)
    changes, options = {}, {}
    if spoilt == "missing":
        changes["TMPDIR"] = str(site.folder / "nowhere")
    elif spoilt == "no folder":
        (site.folder / "file").touch()
        changes["TMPDIR"] = str(site.folder / "file")
    else:  # no file may grow: a pipe for the log is none
        options["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with running(site, changes=changes, **options) as process:
        log, _ = process.communicate(timeout=30)
        assert process.returncode == ExitCode.SETTINGS_REFUSED
    assert b"leaving before the first message: scratch cannot be written: " in log
    assert b"Traceback" not in log
    assert site.depth() == (1, 0)
