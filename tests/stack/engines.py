"""Two engines for one program: Pulumi's own and the local one, with the same commands and answers.

The real one is the Pulumi CLI. The program runs in this process, as an inline program of Pulumi's
Automation API, which needs no language host; the plug-in in `local/provider` stands in the place of
the provider for AWS. The stack's state is in a folder, its secrets under a passphrase.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import runpy
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import yaml
from pulumi import automation

from local.engine import Engine
from local.engine.cloud import provider_settings
from local.engine.steps import Steps
from local.engine.summary import Operation, Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "local" / "provider"
BUILT = ROOT / "build"
"""Below it, in bin/, is the CLI that `make pulumi` built."""
_NOTHING_DONE = ("same", "replace", "refresh")
"""Steps that change nothing; `replace` stands between the two halves of a replacement."""


def command() -> automation.PulumiCommand:
    """Finds the CLI: built by `make pulumi`, else the one on PATH; without both, skips or fails."""
    if (BUILT / "bin" / "pulumi").exists():
        return automation.PulumiCommand(str(BUILT))
    if shutil.which("pulumi"):
        return automation.PulumiCommand()
    if os.environ.get("CI"):
        pytest.fail("CI has no Pulumi CLI; `make pulumi` builds it, with Go", pytrace=False)
    pytest.skip("no Pulumi CLI: `make pulumi` builds it with Go, or install one on PATH")


class Stack:
    """The program in a folder of its own, with settings that lead to the cloud on this machine."""

    def __init__(self, folder: Path, name: str, endpoint_url: str) -> None:
        self.folder = folder
        self.name = name
        self.endpoint_url = endpoint_url
        folder.mkdir(parents=True)
        for file in ("Pulumi.yaml", "__main__.py"):
            shutil.copy(ROOT / file, folder)

    def select(self, config: Mapping[str, Any]) -> None:
        """Writes the settings; what the CLI has put into the file beside them stays."""
        file = self.folder / f"Pulumi.{self.name}.yaml"
        content = yaml.safe_load(file.read_text()) if file.exists() else {}
        content["config"] = {
            **provider_settings(self.endpoint_url),
            **config,
        }
        file.write_text(yaml.safe_dump(content))

    def preview(self) -> list[str]:
        """Returns what an `up` would do."""
        raise NotImplementedError

    def up(self) -> list[str]:
        """Returns what it did, in the order in which it ended; so do the others."""
        raise NotImplementedError

    def up_interrupted(self, after: int) -> list[str]:
        """Interrupts an `up` when so much is done."""
        raise NotImplementedError

    def refresh(self) -> list[str]:
        """Looks for drift."""
        raise NotImplementedError

    def destroy(self, *, run_program: bool = True) -> list[str]:
        """Deletes all that there is."""
        raise NotImplementedError

    def outputs(self) -> dict[str, Any]:
        """Returns what the program exported."""
        raise NotImplementedError

    def client(self, service: str, region: str = "us-east-1") -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


class LocalStack(Stack):
    """Deployed by the local engine."""

    @property
    def _engine(self) -> Engine:
        return Engine(
            self.folder,
            self.name,
            endpoint_url=self.endpoint_url,
            state_file=self.folder / "state.json",
        )

    def preview(self) -> list[str]:
        return _shown(self._engine.preview())

    def up(self) -> list[str]:
        return _shown(self._engine.up())

    def up_interrupted(self, after: int) -> list[str]:
        made = itertools.count()
        original = Steps.create

        def create(*arguments: Any, **named: Any) -> Any:
            if next(made) == after:
                raise KeyboardInterrupt
            return original(*arguments, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Steps, "create", create)
            with pytest.raises(KeyboardInterrupt):
                self.up()
        recorded = json.loads((self.folder / "state.json").read_text())["resources"]
        return [str(Operation("create", each["urn"])) for each in recorded]

    def refresh(self) -> list[str]:
        return _shown(self._engine.refresh())

    def destroy(self, *, run_program: bool = True) -> list[str]:
        return _shown(self._engine.destroy(run_program=run_program))

    def outputs(self) -> dict[str, Any]:
        return self._engine.outputs()


def _shown(summary: Summary) -> list[str]:
    return [str(each) for each in summary.operations]


class RealStack(Stack):
    """Deployed by the Pulumi CLI."""

    def __init__(self, folder: Path, name: str, endpoint_url: str) -> None:
        pulumi_command = command()
        self.log: list[str] = []
        super().__init__(folder / "project", name, endpoint_url)
        backend = folder / "backend"
        backend.mkdir()
        self.select({})
        self.stack = automation.create_stack(
            name,
            project_name="taskpacks",
            program=self._program,
            opts=automation.LocalWorkspaceOptions(
                work_dir=str(self.folder),
                pulumi_command=pulumi_command,
                pulumi_home=str(folder / "home"),
                env_vars={
                    "PATH": f"{PLUGINS}{os.pathsep}{os.environ['PATH']}",
                    "PULUMI_BACKEND_URL": f"file://{backend}",
                    "PULUMI_CONFIG_PASSPHRASE": "of a test",
                    "PULUMI_SKIP_UPDATE_CHECK": "true",
                    "TASKPACKS_PYTHON": sys.executable,
                },
            ),
        )

    def preview(self) -> list[str]:
        return self._done(self.stack.preview)

    def up(self) -> list[str]:
        return self._done(self.stack.up)

    def up_interrupted(self, after: int) -> list[str]:
        done = itertools.count(1)

        def interrupt(_step: str) -> None:
            if next(done) == after:  # as Ctrl-C does: what has begun is ended
                os.kill(_process_of_cli(), signal.SIGINT)

        with pytest.raises(automation.errors.CommandError):
            self._run(self.stack.up, interrupt)
        resources = self.stack.export_stack().deployment["resources"]
        urns = [each["urn"] for each in resources if ":providers:" not in each["urn"]]
        return [str(Operation("create", urn)) for urn in urns]

    def refresh(self) -> list[str]:
        return self._done(self.stack.refresh)

    def destroy(self, *, run_program: bool = True) -> list[str]:
        return self._done(self.stack.destroy, run_program=run_program)

    def outputs(self) -> dict[str, Any]:
        return {name: output.value for name, output in self.stack.outputs().items()}

    def _done(self, command: Callable[..., Any], **options: Any) -> list[str]:
        done: list[str] = []
        self._run(command, done.append, **options)
        return list(dict.fromkeys(done))  # a preview tells of a component twice

    def _run(
        self, command: Callable[..., Any], ended: Callable[[str], None], **options: Any
    ) -> None:
        """Runs a command of the CLI, and tells of each step that ended and changed something."""

        def note(event: automation.EngineEvent) -> None:
            if event.res_outputs_event:
                step = event.res_outputs_event.metadata
                if step.op.value not in _NOTHING_DONE and ":providers:" not in step.urn:
                    ended(str(Operation(step.op.value, step.urn)))

        command(on_output=self.log.append, on_event=note, **options)

    def _program(self) -> None:
        """The program itself; what it changes of this process is put back."""
        collecting = gc.isenabled()
        try:
            with contextlib.chdir(self.folder):
                runpy.run_path("__main__.py", run_name="__main__")
        finally:
            if collecting:
                gc.enable()


def _process_of_cli() -> int:
    """The CLI is the only child of this process with its name."""
    children = [
        int(pid)
        for file in Path("/proc/self/task").glob("*/children")
        for pid in file.read_text().split()
    ]
    (pid,) = [
        each for each in children if Path(f"/proc/{each}/comm").read_text().strip() == "pulumi"
    ]
    return pid
