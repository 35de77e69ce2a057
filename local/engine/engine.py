"""The engine: runs an unmodified Pulumi program and makes its resources in the local cloud."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import runpy
import sys
from typing import TYPE_CHECKING, Any

from pulumi.runtime import run_in_stack, set_all_config, settings

from local.engine.cloud import Cloud, provider_settings
from local.engine.errors import EngineError, ProgramError
from local.engine.goal import refuse_protected
from local.engine.handlers import HANDLERS
from local.engine.hooks import refuse_without_program
from local.engine.locking import exclusive
from local.engine.monitor import Monitor
from local.engine.project import load_project
from local.engine.properties import drifted
from local.engine.run import Run
from local.engine.state import State, is_hashed
from local.engine.steps import Steps
from local.engine.summary import Action, Change, Operation, Summary
from taskpacks.errors import TaskpacksError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path


class Engine:
    """Deploys one stack of one project to a moto server.

    Every method stands for a command of the real CLI. A method that changes something holds a
    lock on the state file; two at once, in whatever processes, is refused. The program runs in
    this process, as the real CLI would start it: its folder is the current one and comes first
    on `sys.path` while it runs, `__main__.py` is run again each time, and modules that it
    imports are imported once.
    """

    def __init__(
        self,
        project_folder: Path,
        stack: str,
        *,
        endpoint_url: str,
        state_file: Path,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Reads the project's settings; nothing is run yet.

        Args:
            project_folder: Where `Pulumi.yaml` and `Pulumi.STACK.yaml` are.
            stack: Short name of the stack.
            endpoint_url: Of the moto server.
            state_file: Where the stack's state is kept; made when first needed. It belongs to
                one moto server: with a fresh server, start with a fresh file or refresh().
            config: Settings above those of the stack's file, by full key ("aws:region").

        Raises:
            ProjectError: The project's files cannot be used.
        """
        self._folder = project_folder.resolve()
        self._file = state_file.resolve()
        settings = {**provider_settings(endpoint_url), **(config or {})}
        self._project = load_project(self._folder, stack, settings)
        self._cloud = Cloud(endpoint_url, self._project.region)

    def preview(self) -> Summary:
        """Runs the program and says what up() would do; nothing is changed anywhere.

        What only the cloud can tell of new resources is unknown to the program, so its
        `apply` functions on such values are not called.
        """
        state = State.load(self._file)
        run = self._run_program(state, dry_run=True)
        return _summary(run)

    def up(self) -> Summary:
        """Runs the program and makes the cloud as it says.

        Raises:
            ProgramError: The program raised an error of its own, which is the cause.
            EngineError: Something was refused. In both cases the state holds what was done,
                and the next up() goes on from there.
        """
        with exclusive(self._file, "up"):
            state = State.load(self._file)
            run = self._run_program(state, dry_run=False)
            return _summary(run)

    def refresh(self) -> Summary:
        """Asks the cloud how every resource is now and records it; up() then repairs drift.

        A resource that the cloud does not know any more is forgotten. Secret inputs are not
        looked at, because only their hashes are kept.
        """
        with exclusive(self._file, "refresh"):
            state = State.load(self._file)
            steps = Steps(self._cloud, state)
            changes: dict[str, Change] = {}
            for record in list(state.resources.values()):
                if not record.custom:
                    changes[record.urn] = Change(record.urn, Action.UNCHANGED)
                    continue
                found = steps.read(record, record.inputs)
                if found is None:
                    del state.resources[record.urn]
                    state.save()
                    changes[record.urn] = Change(record.urn, Action.DELETED)
                    continue
                specs = HANDLERS[record.type].properties
                drift = sorted(
                    name
                    for name, actual in found.items()
                    if name in specs
                    and not is_hashed(record.inputs.get(name))
                    and drifted(specs[name], record.inputs.get(name), actual)
                )
                outputs = {
                    name: value
                    for name, value in {**found, **record.inputs}.items()
                    if name not in record.secret_outputs and not is_hashed(value)
                }
                outputs |= {name: found[name] for name in drift}
                moved = bool(drift) or outputs != record.outputs
                if moved:
                    record.outputs = outputs
                    record.inputs |= {name: found[name] for name in drift}
                    state.save()
                action = Action.UPDATED if moved else Action.UNCHANGED
                changes[record.urn] = Change(record.urn, action, tuple(drift))
            return Summary(
                changes,
                state.stack_outputs,
                tuple(
                    Operation("delete" if each.action is Action.DELETED else "update", each.urn)
                    for each in changes.values()
                    if each.action is not Action.UNCHANGED
                ),
            )

    def destroy(self, *, run_program: bool = False) -> Summary:
        """Deletes everything that the state knows, dependants first.

        Args:
            run_program: Runs the program first, for its hooks; what it registers is not made.

        Raises:
            ProtectedError: Something is protected; nothing is deleted then.
            HookError: There are hooks and the program was not to be run; or one refused.
        """
        with exclusive(self._file, "destroy"):
            state = State.load(self._file)
            refuse_protected(state.resources.values(), "would be deleted")
            if run_program:
                run = self._run_program(state, dry_run=False, destroying=True)
            else:
                refuse_without_program(state.resources.values())
                run = Run(self._project, self._cloud, state, dry_run=False)
                run.finish()
            return _summary(run)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs as of the last up() that ended well; "[secret]" for secret ones."""
        return State.load(self._file).stack_outputs

    def _run_program(self, state: State, *, dry_run: bool, destroying: bool = False) -> Run:
        """Runs the program, and then deletes what it did not mention."""
        run = Run(self._project, self._cloud, state, dry_run=dry_run, destroying=destroying)
        # To a program that is run for its hooks, what is gone already is unknown.
        preview = dry_run or destroying
        monitor = Monitor(self._project, self._cloud, run, dry_run=preview)
        context = contextvars.copy_context()
        try:
            with self._as_program():
                context.run(self._in_context, monitor, preview)
        except Exception as error:
            if run.error is not None:
                raise run.error from run.error.__cause__
            if isinstance(error, EngineError):
                raise
            if isinstance(error, TaskpacksError):  # a sentence that says all that is needed
                raise ProgramError(str(error)) from error
            raise ProgramError(
                f"The program {self._project.program} raised {type(error).__name__}: {error}"
            ) from error
        return run

    def _in_context(self, monitor: Monitor, dry_run: bool) -> None:
        """Runs the program; pulumi keeps its settings in context variables, which end here."""
        settings.ROOT.set(None)
        settings.configure(
            settings.Settings(
                project=self._project.name,
                stack=self._project.stack,
                monitor=monitor,
                engine=monitor,
                dry_run=dry_run,
                organization="organization",
                root_directory=str(self._folder),
            )
        )
        set_all_config(dict(self._project.config), [])

        def program() -> None:
            runpy.run_path(str(self._project.program), run_name="__main__")

        with asyncio.Runner() as runner:
            # Registrations that fail after the first error have nobody waiting for them.
            runner.get_loop().set_exception_handler(lambda _loop, _details: None)
            runner.run(run_in_stack(program))

    @contextlib.contextmanager
    def _as_program(self) -> Generator[None]:
        """The program's folder is the current one and first on the path, as with the CLI.

        What it changes of this process, which it has for itself there, is put back.
        """
        folder = str(self._project.program.parent)
        path, arguments, collecting = list(sys.path), sys.argv, gc.isenabled()
        sys.path.insert(0, folder)
        sys.argv = [str(self._project.program)]
        try:
            with contextlib.chdir(folder):
                yield
        finally:
            sys.path[:] = path
            sys.argv = arguments
            if collecting:
                gc.enable()


def _summary(run: Run) -> Summary:
    return Summary(run.changes, run.stack_outputs, tuple(run.operations))
