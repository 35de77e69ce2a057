"""Runs the program without an engine, an account or a network, and says what it registers.

What only AWS could tell (ARNs, names with random ends) is made up, of AWS's form and length.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import runpy
from typing import TYPE_CHECKING, Any, Final, cast

from google.protobuf import empty_pb2, struct_pb2
from google.protobuf.json_format import MessageToDict
from pulumi.runtime import run_in_stack, set_all_config, settings
from pulumi.runtime.proto import engine_pb2, resource_pb2

from stack.preflight import enforcement
from stack.preflight.rules import Registration
from stack.preflight.rules.findings import AUTOMATIC_END

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ACCOUNT: Final = "111122223333"
"""AWS's own example account."""
_ARN_SERVICES: Final = {"cloudwatch": "events", "ec2": "ec2", "sfn": "states"}
_OFFERINGS: Final = "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings"
_IMAGE: Final = "docker-build:index:Image"
_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
"""Pulumi's key in values that are more than JSON; ours are secrets only."""


def synthesize(
    program: Path, config: Mapping[str, str], *, project: str, stack: str
) -> list[Registration]:
    """Runs a program as `pulumi up` would, and makes nothing.

    Args:
        program: Its `__main__.py`.
        config: The stack's settings by full key, each as text, structured ones as JSON.
        project: The project's name.
        stack: The stack's name.

    Returns:
        Every resource of AWS, in the order of registration, with all inputs known. They are
        not held against the rules.

    Raises:
        TaskpacksError: The program refuses its settings.
    """
    recorder = _Recorder(config.get("aws:region", "us-east-1"))

    def main() -> None:
        runpy.run_path(str(program), run_name="__main__")

    def run() -> None:
        settings.ROOT.set(None)
        settings.configure(
            settings.Settings(
                project=project,
                stack=stack,
                monitor=recorder,
                engine=recorder,
                dry_run=False,
                organization="organization",
            )
        )
        set_all_config(dict(config), [])
        with enforcement.switched_off(), asyncio.Runner() as runner:
            # Registrations that fail after the first error have nobody waiting for them.
            runner.get_loop().set_exception_handler(lambda _loop, _details: None)
            runner.run(run_in_stack(main))

    collecting = gc.isenabled()
    try:
        # pulumi keeps its settings in context variables, which end with this one.
        contextvars.copy_context().run(run)
    finally:
        if collecting:  # the program, which has a process for itself elsewhere, switches it off
            gc.enable()
    return recorder.found


class _Recorder:
    """Answers pulumi's runtime as AWS would, and records what it is asked."""

    def __init__(self, region: str) -> None:
        self.found: list[Registration] = []
        self._region = region
        self._answers: dict[str, dict[str, Any]] = {
            "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT},
            "aws:index/getPartition:getPartition": {"partition": "aws"},
            "aws:index/getRegion:getRegion": {"region": region},
            "aws:index/getAvailabilityZones:getAvailabilityZones": {
                "names": [f"{region}{zone}" for zone in "abc"]
            },
        }

    def GetDeploymentInfo(  # noqa: N802 - the protocol's name
        self, request: empty_pb2.Empty, context: Any = None
    ) -> resource_pb2.DeploymentInfo:
        """Secrets come marked, which is all that is needed here."""
        del request, context
        return resource_pb2.DeploymentInfo(
            supportedFeatures=(
                resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
                resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_HOOKS,
            )
        )

    def RegisterResource(  # noqa: N802 - the protocol's name
        self, request: resource_pb2.RegisterResourceRequest, context: Any = None
    ) -> resource_pb2.RegisterResourceResponse:
        """A resource comes into being, on paper."""
        del context
        inputs = _plain(MessageToDict(request.object))
        outputs = dict(inputs)
        if request.type.startswith("aws:"):
            self.found.append(Registration(request.type, request.name, inputs))
            outputs = {**self._computed(request.type, request.name, inputs), **inputs}
        elif request.type == _IMAGE:
            outputs["digest"] = f"sha256:{'0' * 64}"
        made = struct_pb2.Struct()
        made.update(outputs)
        return resource_pb2.RegisterResourceResponse(
            urn=f"urn:pulumi:stack::project::{request.type}::{request.name}",
            # Where packs use an id (a bucket's, a role's) it is the name.
            id=str(outputs.get("name", request.name)) if request.custom else "",
            object=made,
            result=resource_pb2.SUCCESS,
        )

    def _computed(self, token: str, logical_name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        service = token.removeprefix("aws:").partition("/")[0]
        service = _ARN_SERVICES.get(service, service)
        name = str(inputs.get("name") or f"{logical_name}{AUTOMATIC_END}")
        kind = token.rpartition(":")[2].lower()
        arn = f"arn:aws:{service}:{self._region}:{ACCOUNT}:{kind}/{name}"
        return {
            "arn": arn,
            "arnPrefix": arn,
            "bucket": name,
            "latestVersion": 1,
            "name": name,
            "repositoryUrl": f"{ACCOUNT}.dkr.ecr.{self._region}.amazonaws.com/{name}",
            "revision": 1,
            "url": f"https://{service}.{self._region}.amazonaws.com/{ACCOUNT}/{name}",
        }

    def RegisterResourceOutputs(  # noqa: N802 - the protocol's name
        self, request: resource_pb2.RegisterResourceOutputsRequest, context: Any = None
    ) -> empty_pb2.Empty:
        """Ignores what a component shows."""
        del request, context
        return empty_pb2.Empty()

    def RegisterResourceHook(  # noqa: N802 - the protocol's name
        self, request: resource_pb2.RegisterResourceHookRequest, context: Any = None
    ) -> empty_pb2.Empty:
        """Nothing is deleted here, so no hook is asked."""
        del request, context
        return empty_pb2.Empty()

    def Invoke(  # noqa: N802 - the protocol's name
        self, request: resource_pb2.ResourceInvokeRequest, context: Any = None
    ) -> resource_pb2.ResourceInvokeResponse:
        """Answers a question about the account."""
        del context
        response = resource_pb2.ResourceInvokeResponse()
        answer = self._answers.get(request.tok, {})
        if request.tok == _OFFERINGS:  # a region that has all that the program could use
            filters = MessageToDict(request.args)["filters"]
            answer = {"instanceTypes": [name for each in filters for name in each["values"]]}
        getattr(response, "return").update(answer)
        return response

    def SignalAndWaitForShutdown(  # noqa: N802 - the protocol's name
        self, request: empty_pb2.Empty, context: Any = None
    ) -> empty_pb2.Empty:
        """The program has ended well."""
        del request, context
        return empty_pb2.Empty()

    def Log(  # noqa: N802 - the protocol's name
        self, request: engine_pb2.LogRequest, context: Any = None
    ) -> empty_pb2.Empty:
        """The program's messages are for those who deploy."""
        del request, context
        return empty_pb2.Empty()

    def RequirePulumiVersion(  # noqa: N802 - the protocol's name
        self, request: engine_pb2.RequirePulumiVersionRequest, context: Any = None
    ) -> engine_pb2.RequirePulumiVersionResponse:
        """Accepted: no CLI takes part."""
        del request, context
        return engine_pb2.RequirePulumiVersionResponse()


def _plain(value: Any) -> Any:
    """Secrets without their mark; whole numbers, which the protocol made floats, as integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        if _SIGNATURE in items:
            return _plain(items.get("value"))
        return {name: _plain(item) for name, item in items.items()}
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[Any]", value)]
    return value
