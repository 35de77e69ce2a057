"""`make demo` as a newcomer runs it: the command, its log, its outputs, its end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local.demo.progress import Progress, Task
from local.demo.run import what_lasts

ROOT = Path(__file__).resolve().parents[2]
NOT_OF_THE_PROJECT = shutil.ignore_patterns(
    ".git", ".venv*", "demo-output", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis"
)
DEMO_SECONDS = 240
"""Far above what a demo takes; its promise of 120 s is measured by benchmarks, not here."""


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT, folder, ignore=NOT_OF_THE_PROJECT)
    return folder


def start_demo(checkout, *options):
    # As in a terminal: whoever runs the tests may ignore it, and a child would take that over.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "demo", *options],
            cwd=checkout,
            # As in a shell that is set up for AWS: the demo must not care.
            env={**os.environ, "AWS_PROFILE": "work", "AWS_REGION": "eu-west-1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def processes_in(folder):
    """Ids of the processes that work in a folder: the demo and its workers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:
            continue  # it has ended, or is not ours to look at
    return found


def test_a_demo_that_does_not_end_says_what_it_waits_for():
    facts = dict.fromkeys(("queue_url", "queue_name", "dead_letter_url", "job_queue"), "x")
    progress = Progress({"pi": facts})
    for number, outcome in enumerate(("done", "failed", None)):
        progress.sent(str(number), Task(name="pi.calculate", deployment="pi"))
        progress.tasks[str(number)].outcome = outcome
    progress.deployments["pi"].workers["one"] = "RUNNING"
    assert what_lasts(progress) == (
        "1 task without a final report, 1 task failed, 1 worker still there"
    )


def select(checkout, *lines):
    stack = checkout / "Pulumi.local.yaml"
    stack.write_text(stack.read_text() + "".join(f"    {line}\n" for line in lines))


@pytest.mark.demo
@pytest.mark.timeout(DEMO_SECONDS)
def test_the_demo_with_a_new_pack_folder_runs_every_pack_and_tells_the_story(checkout):
    # The pack of the README, word for word, and its name in the stack file: nothing else.
    readme = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"`__init__\.py`:\n\n```python\n(.*?)```", readme, re.DOTALL)
    (checkout / "taskpacks" / "hello").mkdir()
    (checkout / "taskpacks" / "hello" / "__init__.py").write_text(code)
    select(checkout, "hello: {}")

    demo = start_demo(checkout)
    log, _ = demo.communicate(timeout=DEMO_SECONDS)

    assert demo.returncode == 0, log
    assert re.search(r"\d+ tasks done$", log, re.MULTILINE)
    assert "sent to hello: 1 task\n" in log
    assert "hello: not checked (no hook for it), gave 'Hello, world!'" in log
    assert "csv_sort: checked: 2000 digits went from pi.calculate to csv_sort.sort" in log
    assert_told_in_order(CONTROLLER_STORY, "pi", log)
    assert re.search(r"queue pi-tasks-\w+: \d+ visible", log)
    assert_told_in_order(ALARMS_STORY, "video_encoding", log)
    assert not processes_in(checkout)


CONTROLLER_STORY = (
    r"doorman {name}: started execution look-\d+",
    r"launcher {name}: start: start \d+: \d+ messages visible",
    r"job {name}-worker \S+: RUNNING",
    r"worker \S+: drained: nothing came for",
    r"job {name}-worker \S+: SUCCEEDED \(exit code 0",
)
"""Doorman, decision with its reason, workers, drained, exits. The doorman may come before the first
metric: the depth stands outside of the order."""
ALARMS_STORY = (
    r"queue {name}-tasks-\w+: \d+ visible",
    r"alarm {name}-depth-low-\w+: \w+ → ALARM",
    r"rule {name}-depth-low-\w+ matched .* job {name}-depth-low",
    r"job {name}-depth-low \S+: RUNNING",
    r"worker \S+: drained: nothing came for",
    r"job {name}-depth-low \S+: SUCCEEDED \(exit code 0",
)
"""Depth, alarm, rule, worker, drained, exit."""


def assert_told_in_order(story, deployment, log):
    at = 0
    for pattern in story:
        line = pattern.format(name=deployment)
        found = re.search(line, log[at:])
        assert found, f"{line!r} is not in the rest of the log:\n{log[at:]}"
        at += found.start()


@pytest.mark.demo
@pytest.mark.timeout(DEMO_SECONDS)
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_demo_while_workers_run_leaves_no_process(stop, checkout):
    demo = start_demo(checkout)
    for line in demo.stdout:
        if re.search(r"job \S+ \S+: RUNNING", line):
            break
    time.sleep(1)  # into the middle of a task
    assert len(processes_in(checkout)) > 1
    demo.send_signal(stop)
    log, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "interrupted; no worker is left" in log
    assert not processes_in(checkout)


BROKEN = {
    "a pack that cannot be imported where it works": (
        "    import no_such_module",
        "hello.greet",
        "ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "a task that there is not": (
        "    @app.task(name='hello.greet')\n    def greet():\n        return 1",
        "hello.gret",
        "there is no task 'hello.gret' in this pack. Did you mean 'hello.greet'?",
    ),
    "a task that nothing is routed to": (
        "    @app.task(name='other.greet')\n    def greet():\n        return 1",
        "other.greet",
        "registers the task 'other.greet', which no message is routed to",
    ),
    "a task that raises": (
        "    @app.task(name='hello.greet')\n    def greet():\n        raise KeyError('world')",
        "hello.greet",
        "KeyError: 'world'",
    ),
}


@pytest.mark.demo
@pytest.mark.timeout(DEMO_SECONDS)
@pytest.mark.parametrize("case", BROKEN)
def test_a_pack_that_does_not_work_ends_the_demo_soon_and_says_why(case, checkout):
    register, task, text = BROKEN[case]
    (checkout / "taskpacks" / "hello").mkdir()
    (checkout / "taskpacks" / "hello" / "__init__.py").write_text(
        "from taskpacks import PackSpec, Queue, Scaling, hookimpl\n\n"
        "@hookimpl\ndef taskpack_spec():\n"
        "    return PackSpec(scaling=Scaling(low_depth=1, idle_seconds=3),\n"
        "        queue=Queue(max_attempts=1))\n\n"
        f"@hookimpl\ndef taskpack_register_tasks(app):\n{register}\n\n"
        "@hookimpl\ndef taskpack_demo(context):\n"
        "    from celery import signature\n"
        f"    return [signature('{task}')]\n"
    )
    (checkout / "Pulumi.hello.yaml").write_text(
        "config: {aws:region: us-east-1, taskpacks:packs: {hello: {}}}\n"
    )
    demo = start_demo(checkout, "--stack", "hello", "--time-limit", "100")
    log, _ = demo.communicate(timeout=DEMO_SECONDS)
    assert demo.returncode == 1
    assert text in log
    assert "the demo did not end in" not in log
    assert not processes_in(checkout)


@pytest.mark.demo
def test_a_stack_that_is_refused_ends_the_demo_with_one_sentence(checkout):
    select(checkout, "sort-bulk: {pack: csv_srt}")
    demo = start_demo(checkout)
    log, _ = demo.communicate(timeout=DEMO_SECONDS)
    assert demo.returncode == 1
    assert "There is no pack 'csv_srt'." in log
    assert "Traceback" not in log
