"""A worker from its first check to its exit code.

Order: settings, pack, queue, tasks, the pack's own start; then messages; then the pack's own
stopping, scratch. What can be refused is refused before the first message is taken.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import current_app, signals
from celery.app import trace
from celery.app.task import Context
from celery.worker import state as celery_state
from kombu.utils.url import url_to_parts

from taskpacks import manager
from taskpacks.contract import ExitCode
from taskpacks.errors import RefusedSettingsError, TaskpacksError, listed
from taskpacks.parent_death import end_with
from worker import application, logs, results, routes, sqs
from worker.checks import UnusableQueueError, check_queue
from worker.envelope import request_of
from worker.escalation import Escalation
from worker.guards import guard
from worker.identity import identify
from worker.leases import Leases, LeaseState
from worker.locks import Locks
from worker.memory import OomWatch
from worker.outcomes import Outcomes
from worker.policies import DrainPolicy
from worker.prefetch import Prefetched, PrefetchPolicy
from worker.services import Services
from worker.settings import WorkerSettings
from worker.shutdown import Shutdown, running_requests
from worker.slots import Slots
from worker.spot import SpotWatch
from worker.task_table import TaskTable
from worker.telemetry import Telemetry
from worker.usage import MeasuredContext

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from worker.envelope import Envelope
    from worker.leases import Lease
    from worker.locks import TaskLock
    from worker.task_table import Refusal

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 10
"""How long a worker that leaves tries to delete what its tasks have done."""


def run(environment: Mapping[str, str]) -> int:
    """Runs one worker until its task queue is drained or somebody asks it to leave.

    Args:
        environment: The process's environment, as the job definition sets it.

    Returns:
        How it ended: an `ExitCode`, or Celery's own code of a crash.
    """
    try:
        settings = WorkerSettings.from_environment(environment)
        pack = manager.load(settings.pack)
        facts = check_queue(sqs.client(settings, tries=3), settings.queue_url)
        known = routes.read(settings, pack)
    except UnusableQueueError as error:
        return _refused(ExitCode.QUEUE_UNUSABLE, error)
    except TaskpacksError as error:
        return _refused(ExitCode.SETTINGS_REFUSED, error)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(_own_folder(environment.get("TMPDIR") or None))
        except OSError as error:
            return _refused(
                ExitCode.SETTINGS_REFUSED,
                RefusedSettingsError(
                    f"scratch cannot be written: {error}; TMPDIR, or /tmp without it, must be a "
                    "folder with free space where the worker's user may write."
                ),
            )
        slots = Slots(settings.processes, folder / "tasks")
        context = MeasuredContext(
            deployment=settings.deployment,
            vcpus=settings.vcpus,
            memory_mib=settings.memory_mib,
            processes=settings.processes,
            uri_schemes=settings.uri_schemes,
            scratch_root=folder / "tasks",
            environment=dict(environment),
            slots=slots,
        )
        return _Worker(settings, pack, context, facts.lease_seconds, known).run()


def _task_table(settings: WorkerSettings) -> TaskTable | None:
    """The items of the deployment's tasks, where the result table is DynamoDB's."""
    if settings.result_backend is None or not settings.result_backend.startswith(results.SCHEME):
        return None
    parts: Any = url_to_parts(settings.result_backend)
    return TaskTable(parts.path, parts.hostname, settings.deployment)


@contextmanager
def _own_folder(parent: str | None) -> Generator[Path]:
    """A folder for the scratch of tasks and for all other temporary files, removed at the end.

    Args:
        parent: Where to make it; None leaves that to Python.

    Raises:
        OSError: It cannot be made, or holds no file.
    """
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(
        prefix="taskpacks-", dir=parent, ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        for part in ("tasks", "tmp"):
            (folder / part).mkdir()
        with tempfile.TemporaryFile(dir=folder / "tmp") as probe:
            probe.write(b"a file system that is full makes folders all the same")
        tempfile.tempdir = str(folder / "tmp")
        try:
            yield folder
        finally:
            tempfile.tempdir = before


def _refused(code: ExitCode, error: Exception) -> ExitCode:
    logger.error("leaving before the first message: %s", error)
    return code


class _Worker:
    """One worker's parts, joined."""

    def __init__(
        self,
        settings: WorkerSettings,
        pack: manager.Pack,
        context: MeasuredContext,
        lease_seconds: int,
        known: routes.Routes,
    ) -> None:
        self._began_at = time.monotonic()
        self._settings = settings
        self._pack = pack
        self._context = context
        self._routes = known
        self._drained = False
        self._unusable = False
        self._tidied = False
        self._tidying = threading.Lock()
        self._leases = Leases(
            sqs.client(settings),
            settings.queue_url,
            settling=sqs.client(settings),
            lease_seconds=lease_seconds,
            on_lost=self._lost,
            on_deleting=self._note_done,
            on_giving_back=self._unlock,
        )
        prefetched = Prefetched()
        running: set[str] = set()
        self._shutdown = Shutdown(
            self._leases, prefetched, running, grace_seconds=settings.stop_grace_seconds
        )
        self._telemetry = Telemetry(
            stack=settings.stack,
            deployment=settings.deployment,
            pack=settings.pack,
            processes=settings.processes,
        )
        table = _task_table(settings)
        self._locks = Locks(table, self._refused)
        self._services = Services(
            leases=self._leases,
            locks=self._locks,
            slots=context.slots,
            outcomes=Outcomes(
                settings.retry,
                table,
                Escalation(to=settings.escalate_to, on=settings.escalate_on),
            ),
            retry=settings.retry,
            drain=DrainPolicy(idle_seconds=settings.idle_seconds, busy_at=time.monotonic()),
            prefetch=PrefetchPolicy(),
            prefetched=prefetched,
            telemetry=self._telemetry,
            running=running,
            memory=OomWatch(settings.memory_mib, settings.processes),
            identity=identify(context.environment),
            receiver=sqs.client(settings),
            on_drained=self._leave_drained,
            on_unusable=self._leave_unusable,
            revoke=self._revoke,
        )

    def run(self) -> int:
        try:
            app = self._application()
            self._pack.hooks.taskpack_worker_started(context=self._context)
        except TaskpacksError as error:
            return _refused(ExitCode.SETTINGS_REFUSED, error)
        except Exception as error:
            # Whatever a pack's hook raises, the worker must say so and take no message.
            logger.exception(
                "pack '%s' cannot start, leaving before the first message: %s: %s",
                self._pack.name,
                type(error).__name__,
                error,  # noqa: TRY401 -- the message alone must tell, where traces are not shown
            )
            return ExitCode.SETTINGS_REFUSED
        worker = _celery_worker(app)
        self._context.slots.start()
        logger.info(
            "serving task queue %s with pack %s", self._settings.deployment, self._pack.name
        )
        with ExitStack() as stack:
            stack.callback(self._tidy_up)
            self._leases.start()
            stack.callback(self._leases.stop)
            self._locks.start()
            stack.callback(self._locks.stop)
            stack.enter_context(
                self._shutdown.listening(
                    self._last_words, lambda reason: _announce_shutdown(worker, reason)
                )
            )
            self._watch_for_spot_notices(stack)
            worker.start()
            self._settle()
        return self._exit_code(worker)

    def _application(self) -> Any:
        spec = self._pack.spec
        app = application.load(spec.app) if spec.app else application.make(self._pack.name)
        logs.keep()
        self._pack.hooks.taskpack_register_tasks(app=app, context=self._context)
        app.finalize()
        if not spec.app:
            _check_names(self._pack, app.tasks)
        # While the application still has its own settings: what differs from them is a task's word.
        guard(app, self._settings.task_time_limit_seconds)
        application.configure(app, self._settings, self._services, self._routes)
        return app

    def _watch_for_spot_notices(self, stack: ExitStack) -> None:
        if self._settings.spot_endpoint:
            watch = SpotWatch(
                lambda grace_seconds: self._shutdown.ask("spot notice", grace_seconds),
                endpoint=self._settings.spot_endpoint,
            )
            watch.start()
            stack.callback(watch.stop)

    def _leave_drained(self) -> None:
        logger.info("drained: nothing came for %g s, leaving", self._settings.idle_seconds)
        self._drained = True
        celery_state.should_stop = ExitCode.DRAINED.value

    def _leave_unusable(self, reason: str) -> None:
        logger.error("leaving, task queue %s: %s", self._settings.deployment, reason)
        self._unusable = True
        celery_state.should_stop = ExitCode.QUEUE_UNUSABLE.value

    def _lost(self, lease: Lease) -> None:
        self._shutdown.lost(lease)

    def _refused(self, lock: TaskLock, refusal: Refusal) -> None:
        for request in running_requests():
            if request.message.delivery_tag == lock.lease.receipt_handle:
                # In a thread: other locks are renewed meanwhile.
                threading.Thread(
                    target=request.refused, args=(refusal,), name="refused", daemon=True
                ).start()

    def _note_done(self, leases: list[Lease]) -> None:
        self._locks.finish([lease.lock for lease in leases if lease.lock is not None])

    def _unlock(self, lease: Lease) -> None:
        if lease.lock is not None:
            self._locks.release(lease.lock)

    def _revoke(self, message: Envelope) -> None:
        """Tells who waits for a task that was cancelled before it began."""
        context = Context(request_of(message.payload))
        with routes.on_behalf_of(context):
            current_app.backend.mark_as_revoked(message.task_id, "cancelled", request=context)

    def _settle(self) -> None:
        """After the last task: what was done is deleted, what was not is given back."""
        for lease in self._leases.held:
            if lease.state is LeaseState.HELD:
                self._leases.give_back(lease, 0)
        if not self._leases.wait_settled(SETTLE_SECONDS):
            logger.error(
                "%d messages could not be settled: SQS does not answer", len(self._leases.held)
            )

    def _exit_code(self, worker: Any) -> int:
        if self._unusable:
            return ExitCode.QUEUE_UNUSABLE
        if self._drained and not self._shutdown.asked:
            return ExitCode.DRAINED
        if self._shutdown.asked:
            logger.info("%s: left before the task queue was drained", self._shutdown.reason)
            return ExitCode.STOPPED
        return worker.exitcode or 1

    def _left_because(self) -> str:
        if self._shutdown.asked:
            return self._shutdown.reason
        if self._unusable:
            return "unusable"
        return "drained" if self._drained else "crash"

    def _tidy_up(self) -> None:
        """The pack's stopping and the worker's report: once, on whichever way out."""
        with self._tidying:  # the shutdown's thread, which ends the process, waits for the main one
            if not self._tidied:
                self._tidied = True
                self._context.slots.stop()
                self._stop_pack()

    def _stop_pack(self) -> None:
        try:
            self._pack.hooks.taskpack_worker_stopping(context=self._context)
        except Exception:  # the work is settled: a hook that fails now must not call it failed
            logger.exception("pack '%s': taskpack_worker_stopping failed", self._pack.name)
        self._telemetry.worker(
            left_because=self._left_because(), seconds=time.monotonic() - self._began_at
        )

    def _last_words(self) -> None:
        """Before the process ends in the middle of a task: what the `with` blocks would do."""
        self._tidy_up()
        shutil.rmtree(self._context.scratch_root.parent, ignore_errors=True)
        logger.info("%s: left before the task queue was drained", self._shutdown.reason)


def _check_names(pack: manager.Pack, names: Iterable[str]) -> None:
    """Refuses tasks that no message would be routed to.

    Raises:
        RefusedSettingsError: Naming the task and the patterns.
    """
    patterns = pack.spec.patterns(pack.name)
    for name in names:
        if not name.startswith("celery.") and not any(fnmatch(name, each) for each in patterns):
            raise RefusedSettingsError(
                f"pack '{pack.name}' registers the task '{name}', which no message is routed to: "
                f"its patterns are {listed(patterns)}. Rename the task, or name a pattern for "
                "it in PackSpec(tasks=…)."
            )


def _celery_worker(app: Any) -> Any:
    logs.take_over_from_celery()
    # Celery's own message would hold the task's whole result.
    trace.LOG_SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime)ss"
    main = os.getpid()

    def in_process(**_: Any) -> None:
        end_with(main)

    signals.worker_process_init.connect(in_process, weak=False)
    worker = app.Worker(without_gossip=True, without_mingle=True, without_heartbeat=True)
    # Celery announces itself with a banner on stdout; the log says it in one line.
    worker.emit_banner = lambda: None
    # Signals are the shutdown's: Celery's handlers know no grace.
    worker.install_platform_tweaks = lambda _worker: None
    return worker


def _announce_shutdown(worker: Any, reason: str) -> None:
    """Tells an application's receivers what Celery's own signal handlers would."""
    signals.worker_shutting_down.send(
        sender=worker.hostname, sig=reason, how="Warm", exitcode=ExitCode.STOPPED.value
    )
