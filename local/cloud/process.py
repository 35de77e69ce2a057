"""A job's container, as a local process."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from taskpacks.parent_death import tied_to_this_process

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_DRAIN_SECONDS: Final = 1.0
_CHUNK_BYTES: Final = 64 * 1024
_PARAMETER: Final = re.compile(r"Ref::([A-Za-z0-9_-]+)")
_REGIONS: Final = frozenset({"AWS_REGION", "AWS_DEFAULT_REGION"})
_SIGNALLED: Final = 128
"""A shell and a container runtime report a death by signal n as exit code 128 + n."""


class CannotStartError(Exception):
    """The container could not be started; its text is the attempt's reason."""


def with_parameters(words: Sequence[str], parameters: Mapping[str, str]) -> list[str]:
    """Puts parameters in the place of their `Ref::name`; an unknown name stays as it is.

    https://docs.aws.amazon.com/batch/latest/userguide/job_definition_parameters.html
    """
    return [
        _PARAMETER.sub(lambda found: parameters.get(found[1], found[0]), word) for word in words
    ]


def merged_environment(*layers: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Makes one environment of lists of name and value; the later list wins."""
    return {pair["name"]: pair["value"] for layer in layers for pair in layer}


def base_environment(scratch: Path) -> dict[str, str]:
    """Returns the variables that an image would set: none of this process's own environment.

    Args:
        scratch: The job's own folder, its HOME and TMPDIR.
    """
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", os.defpath]),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }


def added_by_the_platform(own: Mapping[str, str], platform: Mapping[str, str]) -> dict[str, str]:
    """Returns what the platform adds to a job's own variables.

    It adds the region only where the job names none, in either variable:
    https://github.com/aws/amazon-ecs-agent/pull/4946
    """
    if _REGIONS.isdisjoint(own):
        return dict(platform)
    return {name: value for name, value in platform.items() if name not in _REGIONS}


def container_details(
    definition: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Merges a job definition's container properties with SubmitJob's overrides.

    https://docs.aws.amazon.com/batch/latest/APIReference/API_ContainerOverrides.html
    """
    requirements = {
        each["type"]: each
        for source in (definition, overrides)
        for each in source.get("resourceRequirements") or ()
    }
    environment = merged_environment(
        definition.get("environment") or (), overrides.get("environment") or ()
    )
    return {
        **definition,
        **{name: value for name, value in overrides.items() if value},
        "resourceRequirements": list(requirements.values()),
        "environment": [{"name": name, "value": value} for name, value in environment.items()],
    }


def vcpus_of(container: Mapping[str, Any]) -> float:
    """The vCPUs that a container asks for."""
    for requirement in container.get("resourceRequirements") or ():
        if requirement["type"] == "VCPU":
            return float(requirement["value"])
    return float(container.get("vcpus") or 1)


class JobProcess:
    """A process with a session of its own, whose output is read as it comes."""

    def __init__(
        self, words: Sequence[str], *, folder: Path, environment: Mapping[str, str]
    ) -> None:
        """Starts it.

        Raises:
            CannotStartError: There is no such program.
        """
        program = _program(words, environment["PATH"])
        self._process = subprocess.Popen(
            tied_to_this_process(program, *words[1:]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - PIPE makes it a file
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._finished: int | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)

    def read(self, seconds: float) -> bytes:
        """Waits for output; returns what there is, which may be nothing."""
        if not self._selector.get_map():
            time.sleep(seconds)  # it closed its output and lives on
            return b""
        if not self._selector.select(seconds):
            return b""
        try:
            chunk = os.read(self._output.fileno(), _CHUNK_BYTES)
        except BlockingIOError:
            return b""
        if not chunk:
            self._selector.unregister(self._output)
        return chunk

    def has_ended(self) -> bool:
        """Whether the command itself has ended; what it started may still run."""
        return self._process.poll() is not None

    def ask_to_end(self) -> None:
        """Sends SIGTERM to the command alone, as a container runtime does."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the command and everything in its process group.

        The group's number stays taken while anything in it runs, so nobody else is hit.
        """
        if self._finished is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for zombies
            os.killpg(self._process.pid, signal.SIGKILL)

    def finish(self) -> tuple[int, bytes]:
        """Ends what the command left running, as a container does with its first process.

        Returns:
            The exit code and the rest of the output.
        """
        if self._finished is not None:
            return self._finished, b""
        self.kill()
        code = self._process.wait()
        rest: list[bytes] = []
        until = time.monotonic() + _DRAIN_SECONDS
        while self._selector.get_map() and time.monotonic() < until:
            rest.append(self.read(0.05))
        self._selector.close()
        self._output.close()
        self._finished = code if code >= 0 else _SIGNALLED - code
        return self._finished, b"".join(rest)


def _program(words: Sequence[str], path: str) -> str:
    if not words:
        raise CannotStartError("CannotStartContainerError: no command specified")
    if words[0] in {"python", "python3"}:
        return sys.executable
    program = shutil.which(words[0], path=path)
    if program is None:
        raise CannotStartError(
            f'CannotStartContainerError: exec: "{words[0]}": executable file not found in $PATH'
        )
    return program
