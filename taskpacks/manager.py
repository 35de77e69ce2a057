"""Finds packs and loads the ones that are asked for.

A pack is a folder beside this file, or an installed distribution's entry point in the group
`taskpacks`. Looking for names imports nothing; loading a pack imports its declaration only.
"""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy
from pydantic import ValidationError

from taskpacks import hookspecs
from taskpacks.errors import (
    DuplicatePackError,
    MisspeltHookError,
    RefusedDeclarationError,
    UnknownPackError,
    nearest,
)
from taskpacks.types import (
    Image,
    PackSpec,
    Permissions,
    Queue,
    Resources,
    Scaling,
    refusals,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

ENTRY_POINT_GROUP = "taskpacks"
FOLDER = Path(__file__).parent
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RECORDS = {
    record.__name__: record for record in (PackSpec, Resources, Scaling, Queue, Image, Permissions)
}
"""The records of a spec, each refused under its own name."""


@dataclass(frozen=True)
class Pack:
    """A loaded pack: its name, its validated spec and its hooks."""

    name: str
    spec: PackSpec
    hooks: Any = field(repr=False)
    """pluggy's hook relay with this pack's implementations only."""


def available(folder: Path = FOLDER) -> dict[str, str]:
    """Names every pack that can be loaded, with the module that declares it.

    Raises:
        DuplicatePackError: Two packs have one name.
    """
    found = {
        entry.name: f"{FOLDER.name}.{entry.name}"
        for entry in sorted(folder.iterdir())
        if (entry / "__init__.py").is_file()
    }
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        if found.setdefault(point.name, point.value) != point.value:
            raise DuplicatePackError(
                f"Two packs are named '{point.name}': {found[point.name]} and {point.value}. "
                "A pack's name must be unique; rename the folder or uninstall one distribution."
            )
    return found


def load(name: str, modules: Mapping[str, str] | None = None) -> Pack:
    """Loads one pack's declaration.

    Args:
        name: The pack's name.
        modules: Names and modules to choose from; None means `available()`.

    Raises:
        UnknownPackError: No pack has that name.
        MisspeltHookError: It defines a hook that does not exist, or lacks a required one.
        RefusedDeclarationError: Its module cannot be imported or its spec is refused.
    """
    modules = available() if modules is None else modules
    if not _NAME.fullmatch(name):
        raise UnknownPackError(
            f"'{name}' cannot be a pack's name: it is a Python module, a part of image tags and "
            "the prefix of task names, so it is lower-case letters, digits and '_', beginning "
            "with a letter; rename the folder."
        )
    if name not in modules:
        raise UnknownPackError(
            f"There is no pack '{name}'.{nearest(name, modules)} A pack is a folder "
            f"{FOLDER.name}/NAME/ with an __init__.py, or an installed distribution's entry "
            f"point in the group '{ENTRY_POINT_GROUP}'."
        )
    try:
        module = importlib.import_module(modules[name])
    except Exception as error:  # whatever a pack's import raises, its name must stand beside it
        raise RefusedDeclarationError(
            f"Pack '{name}' cannot be imported from {modules[name]}: "
            f"{type(error).__name__}: {error}. Its __init__.py must import on its own; heavy "
            "imports belong inside the hooks."
        ) from error
    return from_module(name, module)


def from_module(name: str, module: ModuleType) -> Pack:
    """Makes a pack of a module that holds hook implementations.

    Raises:
        MisspeltHookError, RefusedDeclarationError: As `load`.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    implemented = _check_hooks(name, module)
    try:
        manager.register(module, name=name)
    except pluggy.PluginValidationError as error:
        message = " ".join(str(error).split())  # pluggy writes several lines
        raise MisspeltHookError(
            f"Pack '{name}': {message}. A hook takes only the arguments that its specification in "
            "taskpacks/hookspecs.py names."
        ) from error
    _require(name, "taskpack_spec", implemented)
    spec = _spec(name, manager)
    if spec.app is None:  # an application has its tasks already
        _require(name, "taskpack_register_tasks", implemented)
    return Pack(name=name, spec=spec, hooks=manager.hook)


def _require(name: str, hook: str, implemented: set[str]) -> None:
    if hook not in implemented:
        raise MisspeltHookError(
            f"Pack '{name}' lacks the hook '{hook}', which every pack must implement; "
            "see taskpacks/hookspecs.py."
        )


def _check_hooks(name: str, module: ModuleType) -> set[str]:
    """Refuses what looks like a hook and is none; returns the names of those that are."""
    known = {hook for hook, _ in inspect.getmembers(hookspecs, inspect.isfunction)}
    implemented: set[str] = set()
    for hook, function in inspect.getmembers(module, inspect.isfunction):
        marked = hasattr(function, f"{hookspecs.PROJECT}_impl")
        if not marked and not hook.startswith("taskpack_"):
            continue
        if hook not in known:
            raise MisspeltHookError(
                f"Pack '{name}' defines '{hook}', which is no hook.{nearest(hook, known)} "
                "The hooks are documented in taskpacks/hookspecs.py."
            )
        if not marked:
            raise MisspeltHookError(
                f"Pack '{name}' defines '{hook}' without @hookimpl, so it would never be "
                "called. Put @hookimpl (from taskpacks import hookimpl) above it."
            )
        implemented.add(hook)
    return implemented


def _spec(name: str, manager: pluggy.PluginManager) -> PackSpec:
    try:
        spec = manager.hook.taskpack_spec()
    except ValidationError as error:
        model = _RECORDS.get(error.title, PackSpec)
        raise RefusedDeclarationError(refusals(error, model, f"{name}.{error.title}")) from error
    except Exception as error:  # whatever a hook raises, its pack's name must stand beside it
        raise RefusedDeclarationError(f"Pack '{name}': taskpack_spec failed: {error}") from error
    if not isinstance(spec, PackSpec):
        raise RefusedDeclarationError(
            f"Pack '{name}': taskpack_spec returned {type(spec).__name__}; it must return a "
            "PackSpec (from taskpacks import PackSpec)."
        )
    return spec
