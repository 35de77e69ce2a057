"""Holds every registration against the rules before the first one is sent.

pulumi sends what a program registers when the program's text has been run through: so each
registration waits until then, and is sent only if nothing was found with any of them. (Only a
pack whose own hook asks AWS something and waits for the answer has what was registered before
it sent before it.)
"""

from __future__ import annotations

import copy
import inspect
import re
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

import pulumi

from stack.preflight import rules
from taskpacks.errors import TaskpacksError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

_SNAKE: Final = re.compile(r"_([a-z0-9])")
_BASIC: Final = (str, int, float, bool)
_SWITCHED_OFF: ContextVar[bool] = ContextVar("rules_switched_off", default=False)


class RefusedResourceError(TaskpacksError):
    """The program registers what AWS would refuse."""


def refuse_what_aws_would() -> None:
    """Has every resource that is registered from here on checked, and all refused if one is.

    The error is a `RefusedResourceError` with every broken rule, a line each.
    """
    if not _SWITCHED_OFF.get():
        pulumi.runtime.register_stack_transformation(_Gate().check)


@contextmanager
def switched_off() -> Generator[None]:
    """Nothing is refused within: whoever runs the program checks what it registered."""
    token = _SWITCHED_OFF.set(True)
    try:
        yield
    finally:
        _SWITCHED_OFF.reset(token)


class _Gate:
    """The findings so far, and the place where registrations wait."""

    def __init__(self) -> None:
        self._findings: list[rules.Finding] = []

    def check(self, args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult:
        if args.type_ in rules.RULES:
            inputs = wire(cast("Mapping[str, Any]", args.props))
            self._findings += rules.check(rules.Registration(args.type_, args.name, inputs))
        opts = copy.copy(args.opts)
        opts.depends_on = _Passage(self, args.opts.depends_on)
        return pulumi.ResourceTransformationResult(args.props, opts)

    def pass_through(self) -> None:
        """Lets a registration be sent.

        Raises:
            RefusedResourceError: A rule is broken somewhere in the program.
        """
        if self._findings:
            raise RefusedResourceError("\n".join(map(str, self._findings)))


class _Passage:
    """The dependencies of a resource, known once nothing was found.

    Not an output, of which pulumi would make several for each resource.
    """

    def __init__(self, gate: _Gate, own: Any) -> None:
        self._gate = gate
        self._own = own

    def __await__(self) -> Generator[Any, None, list[pulumi.Input[pulumi.Resource]]]:
        return self._passed().__await__()

    async def _passed(self) -> list[pulumi.Input[pulumi.Resource]]:
        self._gate.pass_through()
        own = self._own
        if isinstance(own, pulumi.Output):
            own = await cast("pulumi.Output[Any]", own).future()
        elif inspect.isawaitable(own):
            own = await own
        if own is None:
            return []
        return [own] if isinstance(own, pulumi.Resource) else list(own)


def wire(props: Mapping[str, Any]) -> dict[str, Any]:
    """A resource's arguments under Pulumi's own names, as far as they are known yet."""
    return {
        _SNAKE.sub(lambda found: found[1].upper(), str(name)): _plain(value)
        for name, value in props.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _BASIC):
        return value
    if isinstance(value, dict):
        return wire(cast("dict[str, Any]", value))
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, pulumi.Output | pulumi.Asset | pulumi.Archive) or inspect.isawaitable(
        value
    ):
        return rules.UNKNOWN
    return wire(vars(value))  # one of pulumi's argument classes
