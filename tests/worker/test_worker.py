import inspect
import json
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from billiard.pool import TimeoutHandler
from celery.worker.request import Request
from kombu.transport import SQS, virtual

from taskpacks.contract import ExitCode
from worker import transport
from worker.policies import DrainPolicy
from worker.settings import WorkerSettings


def reports(site):
    """Returns what the worker reported about tasks, dead letters and itself; not its log."""
    lines = [json.loads(line) for line in site.log.splitlines() if line.startswith("{")]
    return [line for line in lines if "Deployment" in line]


def task_reports(site):
    return [report for report in reports(site) if "Outcome" in report]


def test_a_worker_drains_its_queue_and_leaves(site):
    results = [site.send("add", left=number, right=1) for number in range(5)]
    with site.worker() as worker:
        assert [result.get(timeout=20) for result in results] == [1, 2, 3, 4, 5]
        assert worker.wait(20) == ExitCode.DRAINED
    assert site.depth() == (0, 0)
    assert "drained: nothing came for 1 s, leaving" in site.log


def test_a_worker_stays_while_messages_come(site):
    with site.worker(TASKPACKS_IDLE_SECONDS="2") as worker:
        for number in range(4):
            assert site.send("add", left=number, right=0).get(timeout=20) == number
            time.sleep(1)  # the pause itself is what is tested: shorter than idle_seconds
            assert worker.poll() is None
        assert worker.wait(20) == ExitCode.DRAINED


def test_bad_input_fails_with_its_sentence_and_the_worker_goes_on(site):
    refused = site.send("refuse", value=3)
    good = site.send("add", left=1, right=1)
    with site.worker() as worker:
        with pytest.raises(Exception, match="value is 3: it is refused; send another"):
            refused.get(timeout=20)
        assert good.get(timeout=20) == 2
        assert worker.wait(20) == ExitCode.DRAINED
    assert "Traceback" not in site.log


def test_a_failing_task_is_tried_again_after_a_growing_pause_and_ends_in_the_dead_letter_queue(
    site,
):
    failed = site.send("fail")
    with site.worker(TASKPACKS_IDLE_SECONDS="4") as worker:
        with pytest.raises(Exception, match="broken on purpose"):
            failed.get(timeout=20)
        assert worker.wait(30) == ExitCode.DRAINED
    assert [report["Receives"] for report in task_reports(site)] == [1, 2, 3]
    assert "attempt 1 of 3 has failed, it is tried again in 1 s" in site.log
    assert "attempt 2 of 3 has failed, it is tried again in 2 s" in site.log
    (letter,) = [line for line in reports(site) if "DeadLetter" in line]
    assert letter["Error"] == "RuntimeError: broken on purpose"
    assert letter["Attempts"] == 3
    assert (site.depth(), site.depth(site.dead_url)) == ((0, 0), (1, 0))


def test_scratch_is_gone_after_the_task_and_after_the_worker(site):
    result = site.send("scratch")
    with site.worker() as worker:
        folder, threads = result.get(timeout=20)
        assert not Path(folder).exists()
        assert threads == 3
        assert worker.wait(20) == ExitCode.DRAINED
    assert not list(site.folder.glob("taskpacks-*"))
    assert "probe stopping" in site.log


def test_each_task_is_reported_once_with_its_figures(site):
    site.send("add", left=1, right=1)
    site.send("refuse", value="secret")
    with site.worker() as worker:
        assert worker.wait(20) == ExitCode.DRAINED
    done, *refusals = sorted(task_reports(site), key=lambda report: report["TaskName"])
    assert [report["Outcome"] for report in (done, *refusals)] == ["done", "failed"]
    assert done["Receives"] == 1
    assert 0 <= done["WaitSeconds"] < 20
    assert 0 <= done["RunSeconds"] < 20
    assert done["Deployment"] == site.name
    assert done["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Taskpacks"


def test_a_signalled_worker_ends_its_task_and_takes_no_other(site, tmp_path, wait_until):
    journal = str(tmp_path / "journal")
    first = site.send("sleep", seconds=1.5, journal=journal, name="first")
    site.send("sleep", seconds=1.5, journal=journal, name="second")
    with site.worker() as worker:
        wait_until(lambda: Path(journal).exists())
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == ExitCode.STOPPED
    names = [json.loads(line)["name"] for line in Path(journal).read_text().splitlines()]
    assert len(set(names)) == 1
    assert len(names) == 2
    assert first.id
    assert site.depth() == (1, 0)


def test_a_task_that_exceeds_its_time_limit_is_ended_and_the_next_may_finish_after_a_signal(
    site, tmp_path, wait_until
):
    # The process that replaces a killed one is forked by a thread that ends with the pool.
    journal = tmp_path / "journal"
    site.send("sleep", seconds=60, journal=str(tmp_path / "long"), name="long")
    with site.worker(
        TASKPACKS_TASK_TIME_LIMIT_SECONDS="2",
        TASKPACKS_MAX_ATTEMPTS="1",
        TASKPACKS_STOP_GRACE_SECONDS="15",
    ) as worker:
        wait_until(lambda: task_reports(site))
        site.send("sleep", seconds=1.5, journal=str(journal), name="next")
        wait_until(journal.exists)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == ExitCode.STOPPED
    assert [report["Outcome"] for report in task_reports(site)][::-1][0] == "done"
    assert task_reports(site)[0]["Outcome"] == "timed_out"
    assert len(journal.read_text().splitlines()) == 2


def test_a_killed_worker_takes_its_child_with_it(site, tmp_path, wait_until):
    journal = tmp_path / "journal"
    site.send("sleep", seconds=30, journal=str(journal), name="long")
    with site.worker() as worker:
        wait_until(journal.exists)
        children = children_of(worker.pid)
        assert children
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 10)


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("TASKPACKS_PACK", "prob", "There is no pack 'prob'. Did you mean 'probe'?"),
        ("TASKPACKS_QUEUE_URL", None, "TASKPACKS_QUEUE_URL is not set"),
        ("TASKPACKS_VCPUS", "many", "TASKPACKS_VCPUS is 'many': it must be a number"),
        ("TASKPACKS_IDLE_SECONDS", "-1", "TASKPACKS_IDLE_SECONDS is '-1': it must be 0 or more"),
        ("PROBE_REFUSES_TO_START", "1", "told not to start"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_message_is_taken(site, variable, value, text):
    site.send("add", left=1, right=1)
    with site.worker(**{variable: value}) as worker:
        assert worker.wait(20) == ExitCode.SETTINGS_REFUSED
    assert text in site.log
    assert site.depth() == (1, 0)


def test_a_queue_that_would_lose_failed_tasks_is_refused(site):
    bare = site.sqs.create_queue(QueueName=f"{site.name}-bare")["QueueUrl"]
    with site.worker(TASKPACKS_QUEUE_URL=bare) as worker:
        assert worker.wait(20) == ExitCode.QUEUE_UNUSABLE
    assert "has no redrive policy" in site.log


def test_a_queue_that_is_not_there_is_refused(site):
    with site.worker(TASKPACKS_QUEUE_URL=f"{site.url}-gone") as worker:
        assert worker.wait(20) == ExitCode.QUEUE_UNUSABLE
    assert "cannot be read" in site.log


def test_a_worker_is_drained_only_after_a_quiet_time():
    policy = DrainPolicy(idle_seconds=30, busy_at=100)
    assert not policy.drained(129.9)
    assert policy.drained(130)
    policy.busy(120)
    assert not policy.drained(130)


def test_settings_say_every_number_in_its_unit(site):
    settings = WorkerSettings.from_environment(site.environment)
    assert settings.vcpus == 4
    assert settings.memory_mib == 1024
    assert settings.uri_schemes == frozenset({"file"})


@pytest.mark.parametrize(
    ("owner", "method", "parameters"),
    [
        (SQS.Channel, "drain_events", "self, timeout, callback, kwargs"),
        (SQS.Channel, "_receive_message", "self, queue, max_number_of_messages, wait_time_seconds"),
        (SQS.Transport, "drain_events", "self, connection, timeout"),
        (Request, "acknowledge", "self"),
        (Request, "on_failure", "self, exc_info, send_failed_event, return_ok"),
        (Request, "on_timeout", "self, soft, timeout"),
        (Request, "reject", "self, requeue"),
        (Request, "_announce_revoked", "self, reason, terminated, signum, expired"),
        (TimeoutHandler, "on_hard_timeout", "self, job"),
    ],
)
def test_what_is_overridden_still_has_its_signature(owner, method, parameters):
    assert ", ".join(inspect.signature(getattr(owner, method)).parameters) == parameters


def test_a_message_that_is_released_twice_frees_the_slot_of_no_other():
    channel = transport.Channel.__new__(transport.Channel)
    channel._qos = virtual.QoS(channel, prefetch_count=1)
    slots = SimpleNamespace(release=lambda _: None)
    services = SimpleNamespace(running=set(), slots=slots, ended=threading.Event())
    channel.connection = SimpleNamespace(
        client=SimpleNamespace(transport_options={transport.SERVICES_OPTION: services})
    )
    channel.qos.append("a message", "first")
    channel._release("first")
    channel.qos.append("a message", "second")
    channel._release("first")  # its process has ended too
    assert not channel.qos.can_consume()
    channel._release("second")
    assert channel.qos.can_consume()


def test_the_transport_takes_celerys_blocking_loop():
    assert transport.Transport.implements.asynchronous is False
