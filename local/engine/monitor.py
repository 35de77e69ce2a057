"""Serves the engine's side of the protocol of pulumi's runtime, in the same process.

The methods have the names and messages of pulumi's gRPC servicers (`ResourceMonitor` and
`Engine`), so the same object could stand behind a port. Every resource option is honoured or
refused; none is passed over.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NoReturn

from google.protobuf import empty_pb2
from pulumi.runtime.proto import engine_pb2, resource_pb2

from local.engine import wire
from local.engine.cloud import calls_for
from local.engine.errors import UnsupportedError
from local.engine.goal import Goal
from local.engine.hooks import Hook
from local.engine.invokes import invoke
from local.engine.urns import Alias

if TYPE_CHECKING:
    from local.engine.cloud import Cloud
    from local.engine.project import Project
    from local.engine.run import Run

_LOGGER: Final = logging.getLogger("local.engine.program")
_LEVELS: Final = {
    engine_pb2.DEBUG: logging.DEBUG,
    engine_pb2.INFO: logging.INFO,
    engine_pb2.WARNING: logging.WARNING,
    engine_pb2.ERROR: logging.ERROR,
}

# Offered so that the SDK hands the options over. Of these, deletedWith and replaceWith are
# refused below, in better words than the SDK's.
_FEATURES: Final = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACE_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_HOOKS,
)
_LEGACY_FEATURES: Final = frozenset(
    {"secrets", "aliasSpecs", "deletedWith", "replaceWith", "resourceHooks"}
)


class Monitor:
    """Serves one run of a program."""

    def __init__(self, project: Project, cloud: Cloud, run: Run, *, dry_run: bool) -> None:
        self._project = project
        self._cloud = cloud
        self._run = run
        self._dry_run = dry_run

    def GetDeploymentInfo(
        self, request: empty_pb2.Empty, context: Any = None
    ) -> resource_pb2.DeploymentInfo:
        """Says which stack this is and what the engine can do."""
        return resource_pb2.DeploymentInfo(
            project=self._project.name,
            stack=self._project.stack,
            config=dict(self._project.config),
            dryRun=self._dry_run,
            supportedFeatures=_FEATURES,
        )

    def SupportsFeature(
        self, request: resource_pb2.SupportsFeatureRequest, context: Any = None
    ) -> resource_pb2.SupportsFeatureResponse:
        """The older way to ask the same."""
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in _LEGACY_FEATURES)

    def RegisterResource(
        self, request: resource_pb2.RegisterResourceRequest, context: Any = None
    ) -> resource_pb2.RegisterResourceResponse:
        try:
            goal = _goal(request)
        except UnsupportedError as error:
            self._run.error = self._run.error or error
            raise
        done = self._run.register(goal)
        return resource_pb2.RegisterResourceResponse(
            urn=done.urn,
            id=done.id,
            object=wire.encode(done.outputs, done.secrets),
            result=resource_pb2.SUCCESS,
        )

    def RegisterResourceOutputs(
        self, request: resource_pb2.RegisterResourceOutputsRequest, context: Any = None
    ) -> empty_pb2.Empty:
        """Records what a component or the stack shows."""
        values, secrets = wire.decode(request.outputs, subject=request.urn)
        self._run.register_outputs(request.urn, values, secrets)
        return empty_pb2.Empty()

    def Invoke(
        self, request: resource_pb2.ResourceInvokeRequest, context: Any = None
    ) -> resource_pb2.ResourceInvokeResponse:
        if request.provider:
            _refuse(request.tok, "provider", "the local cloud has one default provider")
        values, _ = wire.decode(request.args, subject=request.tok)
        with self._run.lock, calls_for(f"Calling {request.tok}"):
            answer = invoke(self._cloud, request.tok, values)
        response = resource_pb2.ResourceInvokeResponse()
        getattr(response, "return").CopyFrom(wire.encode(answer, ()))
        return response

    def ReadResource(
        self, request: resource_pb2.ReadResourceRequest, context: Any = None
    ) -> NoReturn:
        """Refused: there is nothing in the local cloud that the stack did not make."""
        error = UnsupportedError(
            f"{request.type} '{request.name}' (id {request.id}) cannot be read with get() or "
            "StackReference here: the local cloud holds only what this stack makes. Make the "
            "resource in local stacks, or give its attributes as settings."
        )
        self._run.error = self._run.error or error
        raise error

    def RegisterResourceHook(
        self, request: resource_pb2.RegisterResourceHookRequest, context: Any = None
    ) -> empty_pb2.Empty:
        """Makes a hook known, by its name."""
        self._run.hooks.add(
            Hook(
                request.name,
                request.callback.target,
                request.callback.token,
                on_dry_run=request.on_dry_run,
                ignore_errors=request.ignore_errors,
            )
        )
        return empty_pb2.Empty()

    def SignalAndWaitForShutdown(
        self, request: empty_pb2.Empty, context: Any = None
    ) -> empty_pb2.Empty:
        """The program has ended well: what it did not mention goes, while its hooks can run."""
        self._run.finish()
        return empty_pb2.Empty()

    def Log(self, request: engine_pb2.LogRequest, context: Any = None) -> empty_pb2.Empty:
        """Passes the program's messages on to Python's logging."""
        where = f" ({request.urn})" if request.urn else ""
        _LOGGER.log(_LEVELS.get(request.severity, logging.INFO), "%s%s", request.message, where)
        return empty_pb2.Empty()

    def RequirePulumiVersion(
        self, request: engine_pb2.RequirePulumiVersionRequest, context: Any = None
    ) -> engine_pb2.RequirePulumiVersionResponse:
        """Accepted: the version that counts is the CLI's that deploys for real."""
        return engine_pb2.RequirePulumiVersionResponse()


def _goal(request: resource_pb2.RegisterResourceRequest) -> Goal:
    subject = f"{request.type} '{request.name}'"
    _refuse_options(request, subject)
    values, secrets = wire.decode(request.object, subject=subject)
    return Goal(
        type=request.type,
        name=request.name,
        custom=request.custom,
        parent=request.parent,
        inputs=values,
        secrets=secrets,
        dependencies=tuple(request.dependencies),
        property_dependencies={
            name: tuple(item.urns) for name, item in request.propertyDependencies.items()
        },
        protect=request.protect,
        retain_on_delete=request.retainOnDelete,
        delete_before_replace=(
            request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None
        ),
        ignore_changes=tuple(request.ignoreChanges),
        replace_on_changes=tuple(request.replaceOnChanges),
        secret_outputs=frozenset(request.additionalSecretOutputs),
        aliases=tuple(
            Alias(
                urn=alias.urn,
                name=alias.spec.name,
                type=alias.spec.type,
                stack=alias.spec.stack,
                project=alias.spec.project,
                parent=alias.spec.parentUrn,
                no_parent=alias.spec.noParent,
            )
            for alias in request.aliases
        ),
        before_delete=tuple(request.hooks.before_delete),
    )


def _refuse_options(request: resource_pb2.RegisterResourceRequest, subject: str) -> None:
    """Refuses what is not honoured. Time-outs and hidden diffs are: nothing waits or is shown."""
    options = {
        "provider": (request.provider, "the local cloud has one default provider"),
        "providers": (request.providers, "the local cloud has one default provider"),
        "import_": (request.importId, "a cloud that was just made has nothing to import"),
        "deleted_with": (request.deletedWith, "every resource is deleted by itself"),
        "replace_with": (request.replace_with, "replacement follows dependencies only"),
        "replacement_trigger": (
            request.HasField("replacement_trigger"),
            "replacement follows properties only",
        ),
        "transforms": (request.transforms, "no callbacks are served"),
        "state_migrations": (request.state_migrations, "no callbacks are served"),
        "hooks": (
            {field.name for field, _ in request.hooks.ListFields()} - {"before_delete"},
            "only hooks before deleting are run",
        ),
        "remote": (request.remote, "component plugins are not run"),
        "env_var_mappings": (request.envVarMappings, "providers are not made"),
    }
    for option, (given, why) in options.items():
        if given:
            _refuse(subject, option, why)


def _refuse(subject: str, option: str, why: str) -> NoReturn:
    raise UnsupportedError(
        f"{subject}: the option '{option}' cannot be honoured here: {why}. Leave it out in "
        "local stacks."
    )
