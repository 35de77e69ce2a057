"""Many threads inside one run; several runs and several processes on one state."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.engine import Action, StateError
from local.engine.cloud import Cloud
from local.engine.goal import Goal
from local.engine.locking import exclusive
from local.engine.project import Project
from local.engine.run import Run
from local.engine.state import State

HOLD = """
import sys
from pathlib import Path
from local.engine.locking import exclusive
with exclusive(Path(sys.argv[1]), "up"):
    print("held", flush=True)
    sys.stdin.read()
"""
SIXTY = """
for number in range(60):
    aws.sqs.Queue(f"queue-{number}", delay_seconds=DELAY, tags={"number": str(number)})
"""


def test_sixty_registrations_at_once_leave_a_right_state_again_and_again(project):
    for delay in range(1, 5):
        summary = project.write(SIXTY.replace("DELAY", str(delay))).up()
        assert len(summary.changes) == 61
        state = json.loads(project.state_file.read_text())
        assert {
            record["inputs"]["delaySeconds"] for record in state["resources"] if record["custom"]
        } == {delay}
        assert len(state["resources"]) == 61
    assert len(project.client("sqs").list_queues()["QueueUrls"]) == 60
    assert project.engine().destroy().counts == {Action.DELETED: 61}


def test_registrations_from_sixty_threads_are_all_in_the_file(project):
    file = project.state_file
    settings = Project("shop", "dev", project.folder, {"aws:region": "us-east-1"})
    cloud = Cloud(project.endpoint, "us-east-1")
    run = Run(settings, cloud, State.load(file), dry_run=False)
    barrier = threading.Barrier(60)

    def register(number):
        barrier.wait(10)
        goal = Goal(
            type="aws:sqs/queue:Queue",
            name=f"queue-{number}",
            custom=True,
            parent="",
            inputs={"delaySeconds": number},
            property_dependencies={},
        )
        return run.register(goal).id

    with ThreadPoolExecutor(60) as threads:
        ids = list(threads.map(register, range(60)))
    records = json.loads(file.read_text())["resources"]
    assert {record["id"] for record in records} == set(ids)
    assert len(set(ids)) == 60


def test_a_second_engine_is_told_who_holds_the_state(project):
    engine = project.write("")
    with exclusive(project.state_file, "up"):
        for attempt in (engine.up, engine.refresh, engine.destroy):
            with pytest.raises(StateError, match=r"in use by process \d+ \(up, since 20"):
                attempt()
        assert engine.preview().counts == {Action.CREATED: 1}
    assert engine.up().counts == {Action.CREATED: 1}


def test_the_lock_holds_between_processes_and_goes_with_its_process(project):
    engine = project.write("")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(project.state_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StateError, match=f"in use by process {holder.pid}"):
            engine.up()
    finally:
        holder.kill()
        holder.communicate(timeout=10)
    assert engine.up().counts == {Action.CREATED: 1}


def test_two_stacks_run_one_after_the_other_do_not_know_of_each_other(project, tmp_path_factory):
    other = dataclasses.replace(project, folder=tmp_path_factory.mktemp("other"))
    first = project.write('pulumi.export("a", aws.sqs.Queue("one").name)')
    second = other.write('pulumi.export("b", aws.sqs.Queue("two").name)')
    assert set(first.up().outputs) == {"a"}
    assert set(second.up().outputs) == {"b"}
    assert not first.up().changed
    assert second.destroy().counts == {Action.DELETED: 2}
    assert len(project.client("sqs").list_queues()["QueueUrls"]) == 1
