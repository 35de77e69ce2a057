"""A worker that several threads end at once ends once."""

import sys
import threading
from types import SimpleNamespace

import pytest
from celery.worker import state as celery_state

from taskpacks.manager import Pack
from worker.prefetch import Prefetched
from worker.request import TaskRequest
from worker.routes import Routes
from worker.run import _Worker
from worker.services import SETTING
from worker.settings import WorkerSettings
from worker.shutdown import Shutdown
from worker.slots import Slots
from worker.usage import MeasuredContext


class Interruption:
    """Does something before one line of a function, as a signal's handler or a thread does."""

    def __init__(self, function, line, between):
        self._code = function.__code__
        self._line = line
        self._between = between
        self.came = False

    def _trace(self, frame, event, _):
        if frame.f_code is not self._code or self.came:
            return None
        if event == "line":
            if self._line == 0:
                self.came = True
                self._between()
            self._line -= 1
        return self._trace

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)


@pytest.fixture
def begun(monkeypatch):
    """How often a worker has begun to leave."""
    monkeypatch.setattr(celery_state, "should_stop", None)
    begun = []
    monkeypatch.setattr(Shutdown, "_see_through", lambda _, policy: begun.append(policy))
    return begun


@pytest.mark.parametrize("line", range(4))
def test_a_worker_that_is_asked_to_leave_by_two_at_once_leaves_once_and_in_a_hurry(begun, line):
    shutdown = Shutdown(None, Prefetched(), set(), grace_seconds=20)
    with Interruption(Shutdown.ask, line, lambda: shutdown.ask("SIGTERM", 20)) as interruption:
        shutdown.ask("spot notice", 100)
    assert interruption.came
    for thread in threading.enumerate():
        if thread.name == "shutdown":
            thread.join(5)
    assert len(begun) == 1
    assert shutdown.asked
    assert shutdown._hurry.is_set()


def worker_of(folder, stopping):
    numbers = {
        f"TASKPACKS_{name}": "1"
        for name in (
            "VCPUS",
            "MEMORY_MIB",
            "IDLE_SECONDS",
            "TASK_TIME_LIMIT_SECONDS",
            "MAX_ATTEMPTS",
            "RETRY_BACKOFF_SECONDS",
            "RETRY_BACKOFF_MAX_SECONDS",
            "STOP_GRACE_SECONDS",
        )
    }
    texts = {
        "TASKPACKS_STACK": "test",
        "TASKPACKS_PACK": "probe",
        "TASKPACKS_DEPLOYMENT": "probe",
        "TASKPACKS_QUEUE_URL": "http://127.0.0.1/1/tasks",
        "TASKPACKS_URI_SCHEMES": "s3",
        "AWS_REGION": "us-east-1",
    }
    settings = WorkerSettings.from_environment({**numbers, **texts})
    scratch_root = folder / "own" / "tasks"
    context = MeasuredContext(
        deployment="probe",
        vcpus=1,
        memory_mib=1,
        uri_schemes=settings.uri_schemes,
        scratch_root=scratch_root,
        environment={},
        slots=Slots(1, scratch_root),
    )
    pack = Pack("probe", None, SimpleNamespace(taskpack_worker_stopping=stopping))
    return _Worker(settings, pack, context, 30, Routes(own="probe", patterns={}))


def test_a_worker_is_not_ended_while_its_pack_tidies_up_in_another_thread(tmp_path):
    tidied = []

    def stopping(context):
        tidied.append("begin")
        ending.start()
        ending.join(0.2)  # if it does not wait, it has ended by now
        tidied.append("end")

    def end():
        worker._last_words()  # after which the process ends
        tidied.append("process ends")

    worker = worker_of(tmp_path, stopping)
    ending = threading.Thread(target=end)
    worker._tidy_up()
    ending.join(5)
    assert tidied == ["begin", "end", "process ends"]


def test_the_end_of_a_task_whose_message_is_lost_holds_up_no_heartbeat(monkeypatch):
    ended = threading.Event()
    begun = []

    def end_it():
        begun.append(threading.current_thread())
        ended.wait(10)  # a task takes seconds to clean up

    message = SimpleNamespace(delivery_tag="handle")
    running = SimpleNamespace(message=message, lost=end_it)
    other = SimpleNamespace(message=SimpleNamespace(delivery_tag="other"), lost=ended.set)
    monkeypatch.setattr(celery_state, "active_requests", [running, other])
    shutdown = Shutdown(None, Prefetched(), set(), grace_seconds=20)
    try:
        shutdown.lost(SimpleNamespace(receipt_handle="handle"))
        assert not ended.is_set()
        assert threading.current_thread() not in begun
    finally:
        ended.set()


@pytest.fixture
def request_of():
    """A task's request, without a task, whose slot is freed and which is reported to `told`."""

    def make(told):
        leases = SimpleNamespace(find=lambda _: None)
        telemetry = SimpleNamespace(task=lambda report: told.append(report.outcome))
        services = SimpleNamespace(
            leases=leases,
            telemetry=telemetry,
            running=set(),
            ended=threading.Event(),
        )
        request = TaskRequest.__new__(TaskRequest)
        request._app = SimpleNamespace(conf={SETTING: services})
        request._message = SimpleNamespace(delivery_tag="handle")
        request.id = "id"
        request.name = "probe.add"
        request.time_start = None
        request.acknowledged = False
        request._connection_errors = ()
        request._on_ack = lambda *_: told.append("slot freed")
        request._ending = threading.Lock()
        request.slot = SimpleNamespace(usage=SimpleNamespace(take=lambda _: None))
        request._taken = None
        return request

    return make


def test_a_task_that_ends_while_its_message_is_lost_frees_its_slot(request_of):
    told = []
    request_of(told).acknowledge()
    assert told == ["slot freed"]


@pytest.mark.parametrize("line", range(6))
def test_a_task_that_two_threads_end_at_once_is_reported_once(request_of, line):
    told = []
    request = request_of(told)
    lease = SimpleNamespace(receives=1, sent_at=None)
    interruption = Interruption(TaskRequest._end, line, lambda: request._end(lease))
    with interruption:
        request._end(lease)
    assert interruption.came
    assert told == ["done"]
