"""Hooks: functions of the program that run before a resource is deleted.

pulumi's runtime serves them from the program's process for as long as the program has not ended;
a resource names those that it wants, and the state remembers the names, so that they also run
when the resource is not in the program any more.
https://www.pulumi.com/docs/iac/concepts/resources/options/hooks/
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
from pulumi.runtime.proto import callback_pb2, callback_pb2_grpc, resource_pb2

from local.engine import wire
from local.engine.errors import HookError
from local.engine.urns import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.engine.state import Record

_LOGGER: Final = logging.getLogger("local.engine.program")


@dataclass(frozen=True)
class Hook:
    """One function of the program."""

    name: str
    target: str
    """Where the program serves it."""
    token: str
    on_dry_run: bool
    ignore_errors: bool


class Hooks:
    """Those that the running program has registered."""

    def __init__(self) -> None:
        self._known: dict[str, Hook] = {}

    def add(self, hook: Hook) -> None:
        """Makes a hook known.

        Raises:
            HookError: There is one of this name.
        """
        if hook.name in self._known:
            raise HookError(
                f"Two hooks have the name '{hook.name}', by which the state remembers them. Give "
                "one of them another name."
            )
        self._known[hook.name] = hook

    def before_delete(self, record: Record, *, dry_run: bool) -> None:
        """Runs a resource's hooks, in their order.

        Raises:
            HookError: A hook failed, so that the resource must stay; or it is not known.
        """
        for name in record.before_delete:
            hook = self._known.get(name)
            if hook is None:
                raise HookError(
                    f"{record.urn} is not deleted without its hook '{name}', and the program has "
                    "registered none of this name. Register it in every run of the program."
                )
            if dry_run and not hook.on_dry_run:
                continue
            if refusal := _invoke(hook, record):
                if not hook.ignore_errors:
                    raise HookError(f"{record.urn}: before hook '{name}' failed: {refusal}")
                _LOGGER.warning("%s: before hook '%s' failed: %s", record.urn, name, refusal)


def refuse_without_program(records: Iterable[Record]) -> None:
    """Refuses if any record has hooks, as the real CLI does, for they are in the program.

    Raises:
        HookError: Naming the resources and the remedy.
    """
    if hooked := [record.urn for record in records if record.before_delete]:
        raise HookError(
            f"{hooked[0]} (and {len(hooked) - 1} more) has hooks that run before it is deleted. "
            "They are in the program: call destroy(run_program=True), which is `pulumi destroy "
            "--run-program`."
        )


def _invoke(hook: Hook, record: Record) -> str:
    """Calls the program; returns what went wrong, or nothing.

    A hook takes the time that it needs: the real engine sets no limit either
    (`Deployment.RunHooks` in pkg/resource/deploy/deployment.go passes the run's own context).
    """
    request = resource_pb2.ResourceHookRequest(
        urn=record.urn,
        id=record.id,
        name=name_of(record.urn),
        type=record.type,
        old_inputs=wire.encode(record.inputs, ()),
        old_outputs=wire.encode(record.outputs, ()),
    )
    # The program is in this machine: no proxy stands between.
    with grpc.insecure_channel(hook.target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = callback_pb2_grpc.CallbacksStub(channel).Invoke(
                callback_pb2.CallbackInvokeRequest(
                    token=hook.token, request=request.SerializeToString()
                )
            )
        except grpc.RpcError as error:
            return f"the program did not answer: {error}"
    return resource_pb2.ResourceHookResponse.FromString(answer.response).error
