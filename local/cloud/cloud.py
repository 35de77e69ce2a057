"""The cloud on this machine: moto's server, and what moto leaves out."""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from boto3.session import Session
from botocore.config import Config
from moto.moto_api._internal.models import moto_api_backend
from moto.server import ThreadedMotoServer

from local.cloud.alarms import AlarmWatch
from local.cloud.attempts import Runner
from local.cloud.batch_api import batch_runs_locally
from local.cloud.clock import Clock, last_minute, minutes_between
from local.cloud.embedded_metrics import MetricBuffer, data_points
from local.cloud.events import CloudEvent, EventStream
from local.cloud.faults import Faults
from local.cloud.function_targets import FunctionTargets
from local.cloud.functions import Functions
from local.cloud.metrics import QueueMetrics
from local.cloud.repairs import all_repairs
from local.cloud.scheduler import Scheduler
from local.cloud.schedules import Schedules, schedules_checked
from local.cloud.state_machines import StateMachines
from local.cloud.targets import Delivery
from local.isolation import without_aws_settings
from taskpacks import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path
    from types import TracebackType

_LOOPBACK: Final = "127.0.0.1"
_CREDENTIAL: Final = "local"
_MINUTES_MADE_UP: Final = 60
_JOIN_SECONDS: Final = 5
# Nothing is tried again: on the loopback a failure is a defect, and must not be done twice.
_CLIENT_CONFIG: Final = Config(
    max_pool_connections=50, proxies={}, retries={"total_max_attempts": 1, "mode": "standard"}
)
# A function may take that long; ending an array job of 10 000 children takes a minute or two.
_PATIENT_CONFIG: Final = _CLIENT_CONFIG.merge(
    Config(read_timeout=limits.FUNCTION_TIMEOUT_MAX_SECONDS + 10)
)
_one_at_a_time = threading.Lock()


class LocalCloud:
    """A cloud with an endpoint on the loopback, for as long as its block lasts.

    Deploy into it and talk to it with boto3 alone: it reads back from its own API what was
    deployed. One may be open in a process at a time, since moto keeps its state in globals,
    and each is entered once.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        program_folder: Path,
        pace: float = 60,
        max_running_jobs: int | None = None,
        region: str = "us-east-1",
    ) -> None:
        """Sets it up; entering the block starts it.

        Args:
            workdir: A folder of its own, for what jobs write to their HOME and TMPDIR.
            program_folder: Where jobs run, as in an image's working folder.
            pace: How many seconds pass for the cloud in a real second: for metrics, alarms,
                schedules and state machines. Messages, tasks and jobs live in real time; their
                times are reported in the cloud's time.
            max_running_jobs: Processes that run at once, whatever the compute environments
                allow. None means two for each CPU of this machine.
            region: The region of everything.
        """
        self._workdir = workdir.resolve()
        self._program_folder = program_folder.resolve()
        self._max_running_jobs = max_running_jobs or 2 * (os.cpu_count() or 1)
        self._region = region
        self._clock = Clock(pace)
        self._closing = threading.Event()
        self._stack = ExitStack()
        self._session = Session(
            aws_access_key_id=_CREDENTIAL, aws_secret_access_key=_CREDENTIAL, region_name=region
        )
        self._clients: dict[str, Any] = {}
        self._clients_lock = threading.Lock()
        self._endpoint_url: str | None = None
        self.events = EventStream(self._clock)
        self.faults = Faults(self.events)
        self._metrics = MetricBuffer()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def endpoint_url(self) -> str:
        """http://127.0.0.1:PORT, the endpoint of every service."""
        if self._endpoint_url is None:
            raise RuntimeError("the local cloud has an endpoint inside its `with` block only")
        return self._endpoint_url

    @property
    def environment(self) -> Mapping[str, str]:
        """Returns the variables that point any process's boto3 at this cloud, and away from AWS."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self._region,
            "AWS_DEFAULT_REGION": self._region,
            "AWS_ACCESS_KEY_ID": _CREDENTIAL,
            "AWS_SECRET_ACCESS_KEY": _CREDENTIAL,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": _LOOPBACK,
            "no_proxy": _LOOPBACK,
        }

    def client(self, service: str) -> Any:
        """A boto3 client of one service, the same one each time; threads may share it."""
        with self._clients_lock:
            if service not in self._clients:
                made: Any = self._session.client(
                    service,  # pyright: ignore[reportArgumentType, reportCallIssue] - any service's name
                    endpoint_url=self.endpoint_url,
                    config=_PATIENT_CONFIG if service in {"batch", "lambda"} else _CLIENT_CONFIG,
                )
                made.meta.events.register("after-call", _with_request_id)
                self._clients[service] = made
            return self._clients[service]

    def subscribe(self, callback: Callable[[CloudEvent], None]) -> Callable[[], None]:
        """Calls back for everything that happens from now on; see `EventStream.subscribe`."""
        return self.events.subscribe(callback)

    def _start(self, stack: ExitStack) -> None:
        """Starts the parts; leaving undoes it in the opposite order.

        So the loop stops first, then the jobs, which may still talk to the server while they
        end, then the server, and then moto is put back.
        """
        self._workdir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(_alone())
        stack.enter_context(without_aws_settings())
        stack.callback(moto_api_backend.reset)
        stack.enter_context(all_repairs(self._closing))
        moto_api_backend.reset()  # with the repairs in place, since some act on a fresh state
        self._start_server(stack)
        os.environ.update(self.environment)
        stack.callback(self._close_clients)
        self.events.start()
        stack.callback(self.events.close)
        runner = Runner(
            events=self.events,
            logs=self.client("logs"),
            environment=self.environment,
            program_folder=self._program_folder,
            scratch_folder=self._workdir / "jobs",
            on_line=self._job_line,
        )
        scheduler = Scheduler(runner, self.events, self._max_running_jobs)
        stack.enter_context(batch_runs_locally(scheduler, self.events))
        self._start_serverless(stack)
        targets = FunctionTargets(client=self.client("lambda"), events=self.events)
        stack.enter_context(targets.in_place())
        self._delivery = Delivery(
            batch=self.client("batch"),
            sqs=self.client("sqs"),
            stepfunctions=self.client("stepfunctions"),
            functions=targets,
            events=self.events,
            metrics=self._metrics,
        )
        stack.enter_context(self._delivery.in_place())
        scheduler.start()
        stack.callback(scheduler.close)
        loop = threading.Thread(target=self._tick, name="cloud-minutes", daemon=True)
        loop.start()
        stack.callback(loop.join, _JOIN_SECONDS)
        stack.callback(self._closing.set)

    def _start_serverless(self, stack: ExitStack) -> None:
        """Functions first, so that executions that wait for one end before it does."""
        functions = Functions(
            events=self.events,
            clock=self._clock,
            logs=self.client("logs"),
            environment=self.environment,
            folder=self._workdir / "functions",
            metrics=self._metrics,
            on_line=self._function_line,
        )
        stack.enter_context(functions.in_place())
        machines = StateMachines(
            events=self.events, clock=self._clock, client=self.client, metrics=self._metrics
        )
        stack.enter_context(machines.in_place())
        stack.enter_context(schedules_checked())
        stack.enter_context(self.faults.in_place())

    def _job_line(self, line: str) -> None:
        """Adds a job's metrics: the job lives in real time, its metrics have the cloud's time."""
        clock = self._clock
        self._metrics.add(*data_points(line, moment=clock.cloud_seconds, second=clock.pace))

    def _function_line(self, line: str) -> None:
        """A function has the cloud's time already."""
        self._metrics.add(*data_points(line, moment=lambda seconds: seconds, second=1))

    def _start_server(self, stack: ExitStack) -> None:
        server = ThreadedMotoServer(_LOOPBACK, 0, verbose=False)
        server.start()
        stack.callback(_stop_server, server)
        self._endpoint_url = f"http://{_LOOPBACK}:{server.get_host_and_port()[1]}"

    def _close_clients(self) -> None:
        with self._clients_lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _tick(self) -> None:
        """Publishes metrics and evaluates alarms at every full cloud minute."""
        metrics = QueueMetrics(
            sqs=self.client("sqs"),
            metrics=self._metrics,
            region=self._region,
            pace=self._clock.pace,
            events=self.events,
        )
        alarms = AlarmWatch(
            cloudwatch=self.client("cloudwatch"),
            bus=self.client("events"),
            sns=self.client("sns"),
            events=self.events,
        )
        schedules = Schedules(
            region=self._region, deliver=self._delivery.deliver, events=self.events
        )
        done = last_minute(self._clock.now_seconds())
        while not self._closing.wait(self._clock.real_seconds_until(done + 60)):
            minutes = minutes_between(
                done, last_minute(self._clock.now_seconds()), at_most=_MINUTES_MADE_UP
            )
            if not minutes:
                continue
            done = minutes[-1]
            for step in (
                lambda due=minutes: metrics.publish(due),
                lambda: self._metrics.flush(self.client("cloudwatch")),
                lambda now=done: alarms.evaluate_all(now),
                lambda due=minutes: schedules.fire(due),
            ):
                try:
                    step()
                except Exception as error:  # noqa: BLE001 - it must be seen, and the next minute comes
                    self.events.error(f"a cloud minute failed: {type(error).__name__}: {error}")


def _with_request_id(parsed: dict[str, Any], **_: object) -> None:
    """AWS gives every answer one, and state machines tell it; moto leaves some out."""
    parsed.setdefault("ResponseMetadata", {}).setdefault("RequestId", str(uuid.uuid4()))


@contextmanager
def _alone() -> Generator[None]:
    """Lets one local cloud be open at a time.

    Raises:
        RuntimeError: Another is open in this process.
    """
    if not _one_at_a_time.acquire(blocking=False):
        raise RuntimeError("another local cloud is open in this process; leave its block first")
    try:
        yield
    finally:
        _one_at_a_time.release()


def _stop_server(server: ThreadedMotoServer) -> None:
    server.stop()
    inner: Any = server._server  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - moto leaves its socket open
    inner.server_close()
