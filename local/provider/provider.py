"""Serves the real engine's protocol for providers with the local handlers.

https://pulumi-developer-docs.readthedocs.io/latest/docs/_generated/proto/provider.html
"""

from __future__ import annotations

import functools
import json
from importlib import metadata
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from local.engine import wire
from local.engine.cloud import ASKED_BY_PROGRAMS, Cloud, calls_for
from local.engine.diff import changed_properties, keep_ignored
from local.engine.errors import EngineError, UnsupportedError
from local.engine.handlers import Resource, Update
from local.engine.invokes import invoke
from local.engine.properties import check_known, drifted
from local.provider.subject import Given, Subject, Values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf import struct_pb2

_PROVIDER = "the provider aws"
_Method = TypeVar("_Method", bound="Callable[..., Any]")


def _with_message(method: _Method) -> _Method:
    """Sends our errors' own words to the engine, in place of a trace."""

    @functools.wraps(method)
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except EngineError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))

    return cast("_Method", answer)


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Resources of AWS, in the cloud that the setting `aws:endpoints` names.

    Not for two threads at once. `Handshake` is left unimplemented, which engines take for a
    plug-in of the time before it.
    """

    def __init__(self) -> None:
        self._configured: Cloud | None = None

    @property
    def _cloud(self) -> Cloud:
        if self._configured is None:
            raise UnsupportedError(f"{_PROVIDER} was asked for something before it was configured.")
        return self._configured

    def GetPluginInfo(
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> plugin_pb2.PluginInfo:
        """The version is that of the Python types which programs use."""
        return plugin_pb2.PluginInfo(version=metadata.version("pulumi-aws"))

    def GetSchema(
        self, request: provider_pb2.GetSchemaRequest, context: grpc.ServicerContext
    ) -> provider_pb2.GetSchemaResponse:
        """Only who it is: Python programs bring their types with them."""
        schema = {"name": "aws", "version": metadata.version("pulumi-aws")}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema))

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """Calls are short: there is nothing to break off."""
        return empty_pb2.Empty()

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """Refuses settings without a region, or without a cloud that is not AWS."""
        try:
            _cloud(request.news)
        except UnsupportedError as error:
            failure = provider_pb2.CheckFailure(reason=str(error))
            return provider_pb2.CheckResponse(inputs=request.news, failures=[failure])
        return provider_pb2.CheckResponse(inputs=request.news)

    @_with_message
    def DiffConfig(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        """In another region everything is replaced; the rest only says how to reach the cloud."""
        old = wire.decode(request.olds, subject=_PROVIDER).values
        new = wire.decode(request.news, subject=_PROVIDER).values
        return _difference(
            changed_properties({}, old, new),
            {"region"} if old.get("region") != new.get("region") else set(),
        )

    @_with_message
    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        self._configured = _cloud(request.args)
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    @_with_message
    def Invoke(
        self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.InvokeResponse:
        values, secrets = wire.decode(request.args, subject=request.tok)
        with calls_for(f"Calling {request.tok}"):
            answer = invoke(self._cloud, request.tok, values)
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(wire.encode(answer, secrets & answer.keys()))
        return response

    @_with_message
    def Check(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """Refuses what no handler knows, and fills in the name that the program leaves to us."""
        subject = Subject(request.urn)
        news = subject.given(request.news)
        try:
            check_known(str(subject), subject.handler.properties, news.values)
        except UnsupportedError as error:
            failure = provider_pb2.CheckFailure(reason=str(error))
            return provider_pb2.CheckResponse(inputs=request.news, failures=[failure])
        named = subject.named(news, subject.given(request.olds), request.randomSeed)
        return provider_pb2.CheckResponse(inputs=named.encoded())

    @_with_message
    def Diff(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        """Which inputs do not mean the same any more, and which of them make a new resource."""
        subject, handler = Subject(request.urn), Subject(request.urn).handler
        old, new = subject.given(request.old_inputs), subject.given(request.news)
        wanted = keep_ignored(old.values, new.values, request.ignoreChanges, str(subject))
        changed = changed_properties(handler.properties, old.values, wanted)
        reasons = handler.replaced_by(old.values, wanted, changed)
        key = handler.auto_name.property if handler.auto_name else ""
        same_name = key in wanted and key not in new.defaults and old.values.get(key) == wanted[key]
        return _difference(
            changed, reasons, delete_first=handler.delete_before_replace or same_name
        )

    @_with_message
    def Create(
        self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CreateResponse:
        """Makes a resource; in a preview, says what is known of it before."""
        subject = Subject(request.urn)
        inputs = subject.given(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(
                properties=wire.encode(inputs.values, inputs.secrets)
            )
        cloud = self._cloud.at(inputs.values.get("region"))
        with calls_for(f"Creating {subject}"):
            resource_id = subject.handler.create(cloud, inputs.values)
        try:
            with calls_for(f"Settling the properties of the new {subject}"):
                subject.handler.configure(cloud, Resource(resource_id, inputs.values))
            properties = self._shown(subject, inputs, resource_id)
        except EngineError as error:
            _half_made(context, error, resource_id, inputs)
        return provider_pb2.CreateResponse(id=resource_id, properties=properties)

    @_with_message
    def Read(
        self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ReadResponse:
        """How a resource is now. What drifted stands in its inputs: the next run repairs it."""
        subject = Subject(request.urn)
        inputs = subject.given(request.inputs)
        if not inputs.values:
            raise UnsupportedError(
                f"{subject} (id {request.id}) cannot be imported or read with get() here: the "
                "local cloud holds only what its stacks make. Make it in the program."
            )
        known = wire.decode(request.properties, subject=str(subject)).values
        resource_id = known.get("id", request.id)
        found = self._found(subject, inputs, resource_id)
        if found is None:
            return provider_pb2.ReadResponse()
        specs = subject.handler.properties
        drift = {
            name: actual
            for name, actual in found.items()
            if name in specs and drifted(specs[name], inputs.values.get(name), actual)
        }
        seen = Given({**inputs.values, **drift}, inputs.secrets, inputs.defaults)
        return provider_pb2.ReadResponse(
            id=request.id,
            properties=subject.outputs(seen, found, resource_id),
            inputs=seen.encoded(),
        )

    @_with_message
    def Update(
        self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.UpdateResponse:
        subject, handler = Subject(request.urn), Subject(request.urn).handler
        known, secrets = wire.decode(request.olds, subject=str(subject))
        old, new = subject.given(request.old_inputs), subject.given(request.news)
        resource_id = known.get("id", request.id)
        if request.preview:
            kept = {name: value for name, value in known.items() if name not in handler.volatile}
            values = {**kept, **new.values}
            return provider_pb2.UpdateResponse(
                properties=wire.encode(values, new.secrets | secrets)
            )
        changed = changed_properties(handler.properties, old.values, new.values)
        sent = frozenset(name for name in changed if not handler.properties[name].engine_only)
        if sent:
            change = Update(id=resource_id, old=old.values, new=new.values, changed=sent)
            with calls_for(f"Updating {subject}"):
                resource_id = handler.update(self._cloud.at(new.values.get("region")), change)
        return provider_pb2.UpdateResponse(properties=self._shown(subject, new, resource_id))

    @_with_message
    def Delete(
        self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        """Deletes a resource, if it is there."""
        subject = Subject(request.urn)
        known = wire.decode(request.properties, subject=str(subject)).values
        inputs = subject.given(request.old_inputs).values or known
        resource = Resource(known.get("id", request.id), inputs)
        with calls_for(f"Deleting {subject}"):
            subject.handler.remove(self._cloud, resource)
        return empty_pb2.Empty()

    def _found(self, subject: Subject, inputs: Given, resource_id: str) -> Values | None:
        with calls_for(f"Reading {subject}"):
            return subject.handler.find(self._cloud, Resource(resource_id, inputs.values))

    def _shown(self, subject: Subject, inputs: Given, resource_id: str) -> struct_pb2.Struct:
        """Returns what was made or changed, read back.

        Raises:
            EngineError: It is not there, or cannot be read.
        """
        found = self._found(subject, inputs, resource_id)
        if found is None:
            raise EngineError(
                f"{subject} was made, but the cloud does not find it (id {resource_id}). Is "
                "something else deleting it?"
            )
        return subject.outputs(inputs, found, resource_id)


def _cloud(settings: struct_pb2.Struct) -> Cloud:
    """The cloud that a provider's settings name.

    Raises:
        UnsupportedError: They name no region, or no endpoint: this is not the way to AWS.
    """
    values: Mapping[str, Any] = wire.decode(settings, subject=_PROVIDER).values
    if not values.get("region"):
        raise UnsupportedError("aws:region is not set; `pulumi config set aws:region us-east-1`.")
    endpoints = values.get("endpoints") or []
    if isinstance(endpoints, str):  # so the engine hands over what is structured
        endpoints = json.loads(endpoints)
    urls = [url for entry in endpoints for url in entry.values()]
    if not urls:
        *first, last = ASKED_BY_PROGRAMS
        services = ", ".join(first)
        raise UnsupportedError(
            "aws:endpoints is not set, and this provider speaks to a cloud on this machine only. "
            f"Give it the address, for each of {services} and {last}: `pulumi config set --path "
            "'aws:endpoints[0].sqs' http://127.0.0.1:PORT`; or, for AWS, take local/provider off "
            "PATH."
        )
    return Cloud(urls[0], values["region"])


def _difference(
    changed: frozenset[str], reasons: frozenset[str] | set[str], *, delete_first: bool = False
) -> provider_pb2.DiffResponse:
    kinds = provider_pb2.DiffResponse.DiffChanges
    return provider_pb2.DiffResponse(
        changes=kinds.DIFF_SOME if changed else kinds.DIFF_NONE,
        replaces=sorted(reasons),
        diffs=sorted(changed),
        deleteBeforeReplace=bool(reasons) and delete_first,
    )


def _half_made(
    context: grpc.ServicerContext, error: EngineError, resource_id: str, inputs: Given
) -> NoReturn:
    """Tells the engine of a resource that is there and not finished, so that it is not lost.

    The next run updates it.
    """
    made = provider_pb2.ErrorResourceInitFailed(
        id=resource_id,
        properties=wire.encode({**inputs.values, "id": resource_id}, inputs.secrets),
        inputs=inputs.encoded(),
        reasons=[str(error)],
    )
    code = grpc.StatusCode.UNKNOWN
    status = status_pb2.Status(code=code.value[0], message=str(error))
    status.details.add().Pack(made)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, str(error))
