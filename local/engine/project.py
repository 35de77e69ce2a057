"""A Pulumi project's YAML files: its name, its program and a stack's settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import yaml

from local.engine.errors import ProjectError
from taskpacks.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Settings of the default AWS provider that mean the same here, or that the endpoint makes idle.
_PROVIDER_SETTINGS = frozenset(
    {
        "accessKey", "allowedAccountIds", "endpoints", "maxRetries", "profile", "region",
        "s3UsePathStyle", "secretKey", "sharedConfigFiles", "sharedCredentialsFiles",
        "skipCredentialsValidation", "skipMetadataApiCheck", "skipRegionValidation",
        "skipRequestingAccountId", "token", "useFipsEndpoint",
    }
)  # fmt: skip

_READ_BY_THE_PROGRAM = ("aws:region", "aws:endpoints")


@dataclass(frozen=True)
class Project:
    """The facts that the engine needs to run a stack's program."""

    name: str
    stack: str
    program: Path
    config: Mapping[str, str]
    """As the real CLI hands it over: every value is text, structured ones are JSON."""
    encrypted: frozenset[str] = frozenset()
    """Keys whose values only the real CLI can read; they are not in `config`."""

    @property
    def region(self) -> str:
        """The AWS region of the default provider."""
        return self.config["aws:region"]


def load_project(folder: Path, stack: str, overrides: Mapping[str, Any]) -> Project:
    """Reads `Pulumi.yaml` and `Pulumi.STACK.yaml`.

    Args:
        folder: The project's folder.
        stack: Short name of the stack.
        overrides: Settings that stand above the stack's own, by full key ("aws:region").

    Raises:
        ProjectError: A file is missing or unreadable, the runtime is not Python, a value is
            encrypted, or the AWS region is not set.
    """
    name, program, defaults = _project(folder)
    stack_file = folder / f"Pulumi.{stack}.yaml"
    settings = {**defaults, **_section(_mapping(stack_file), stack_file), **overrides}
    config = _config(name, stack_file, settings)
    _check_region(stack_file, config)
    _check_provider(stack_file, config)
    return Project(name, stack, program, config)


def load_for_reading(folder: Path, stack_file: Path) -> Project:
    """Reads a stack's own settings, region and endpoints, for whoever does not deploy it.

    Args:
        folder: The project's folder.
        stack_file: The stack's settings, wherever they are: Pulumi.STACK.yaml.

    Raises:
        ProjectError: As `load_project`, but for encrypted values, which are left out, and for
            the provider's other settings, which are not looked at.
    """
    name, program, defaults = _project(folder)
    settings = {**defaults, **_section(_mapping(stack_file), stack_file)}
    ours = {
        key if ":" in key else f"{name}:{key}": value
        for key, value in settings.items()
        if ":" not in key or key in _READ_BY_THE_PROGRAM or key.startswith(f"{name}:")
    }
    encrypted = frozenset(key for key, value in ours.items() if _encrypted(value))
    plain = {key: value for key, value in ours.items() if key not in encrypted}
    config = _config(name, stack_file, plain)
    _check_region(stack_file, config)
    stack = stack_file.stem.removeprefix("Pulumi.")
    return Project(name, stack, program, config, encrypted)


def _project(folder: Path) -> tuple[str, Path, dict[str, Any]]:
    """The project's name, its program and the settings that it gives every stack."""
    project_file = folder / "Pulumi.yaml"
    project = _mapping(project_file)
    name = project.get("name")
    if not isinstance(name, str):
        raise ProjectError(f"{project_file}: a project has a name; add 'name: ...'.")
    runtime = project.get("runtime")
    if isinstance(runtime, dict):
        runtime = cast("dict[str, Any]", runtime).get("name")
    if runtime != "python":
        raise ProjectError(f"{project_file}: only runtime python can be run here, not {runtime}.")
    program = folder / str(project.get("main", "")) / "__main__.py"
    if not program.is_file():
        raise ProjectError(f"{program} is not there: a Python program starts in __main__.py.")
    return name, program, _project_defaults(_section(project, project_file))


def _config(name: str, file: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    return {
        key if ":" in key else f"{name}:{key}": _text(file, key, value)
        for key, value in settings.items()
    }


def _mapping(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ProjectError(f"{file} is not there; a stack needs it.") from None
    except yaml.YAMLError as error:
        raise ProjectError(f"{file} is not YAML: {error}") from error
    if not isinstance(found, dict):
        raise ProjectError(f"{file} must hold a mapping such as 'config: {{...}}'.")
    return cast("dict[str, Any]", found)


def _section(content: dict[str, Any], file: Path) -> dict[str, Any]:
    section = content.get("config") or {}
    if not isinstance(section, dict):
        raise ProjectError(f"{file}: 'config' must be a mapping of keys to values.")
    return cast("dict[str, Any]", section)


def _project_defaults(section: dict[str, Any]) -> dict[str, Any]:
    """`Pulumi.yaml` gives a value plainly, or as `value`, or as the `default` of a typed key."""
    defaults: dict[str, Any] = {}
    for key, declared in section.items():
        if not isinstance(declared, dict):
            defaults[key] = declared
            continue
        fields = cast("dict[str, Any]", declared)
        for word in ("value", "default"):
            if word in fields:
                defaults[key] = fields[word]
                break
    return defaults


def _text(file: Path, key: str, value: Any) -> str:
    if _encrypted(value):
        raise ProjectError(
            f"{file}: '{key}' is encrypted (secure: ...), which only the real CLI can read; "
            "give this stack a plain value for local use."
        )
    return value if isinstance(value, str) else json.dumps(value)


def _encrypted(value: Any) -> bool:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return set(fields) == {"secure"} or any(map(_encrypted, fields.values()))
    return isinstance(value, list) and any(map(_encrypted, cast("list[Any]", value)))


def _check_region(file: Path, config: Mapping[str, str]) -> None:
    if not config.get("aws:region"):
        raise ProjectError(f"{file}: aws:region is not set; add 'aws:region: us-east-1'.")


def _check_provider(file: Path, config: Mapping[str, str]) -> None:
    for key in config:
        namespace, _, setting = key.partition(":")
        if namespace == "aws" and setting not in _PROVIDER_SETTINGS:
            raise ProjectError(
                f"{file}: '{key}' cannot be honoured here; leave it out of a local stack."
                f"{nearest(setting, _PROVIDER_SETTINGS)}"
            )
