"""Records a stack: each registration of the real program, and each call to AWS.

The program runs through the local engine against moto. Registrations are taken where the
engine makes them; calls where botocore is about to check their parameters.
"""

from __future__ import annotations

import copy
import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from local.engine import Engine, handlers, invokes
from local.engine import cloud as engine_cloud
from local.engine.handlers.base import Handler
from local.engine.properties import Property
from local.engine.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Registration:
    """A resource as the program wants it, with the names that the engine gave."""

    type: str
    name: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    urn: str = ""
    """Empty, as the next two, where no engine registered it."""
    parent: str = ""
    """Its URN."""
    dependencies: frozenset[str] = frozenset()
    """URNs, of properties and explicit ones."""


@dataclass(frozen=True)
class Call:
    """An operation of AWS's API, with botocore's model of it and its parameters."""

    model: Any
    params: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.model.service_model.service_name}:{self.model.name}"


@dataclass
class Recorded:
    """All of one stack."""

    region: str
    registrations: list[Registration] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def of_type(self, *types: str) -> list[Registration]:
        return [each for each in self.registrations if each.type in types]


class BuiltImage(Handler):
    """Stands in for docker-build's Image, which the local engine cannot build."""

    resource_type = "docker-build:index:Image"
    properties = MappingProxyType(
        dict.fromkeys(
            ("buildArgs", "buildOnPreview", "cacheFrom", "cacheTo", "context", "dockerfile",
             "network", "platforms", "push", "registries", "tags"),
            Property(),
        )
    )  # fmt: skip

    def create(self, cloud, inputs):  # noqa: ARG002 - the engine's interface
        return f"sha256:{'0' * 64}"

    def read(self, cloud, resource):  # noqa: ARG002 - the engine's interface
        return {"ref": f"{resource.inputs['tags'][0]}@{resource.id}", "digest": resource.id}

    def delete(self, cloud, resource):
        """Nothing was built."""


def _authorization_token(cloud, args):
    """ECR's token, as moto gives it."""
    del args
    found = cloud.client("ecr").get_authorization_token()["authorizationData"][0]
    return {
        "id": cloud.region,
        "userName": "AWS",
        "password": found["authorizationToken"],
        "authorizationToken": found["authorizationToken"],
        "proxyEndpoint": found["proxyEndpoint"],
        "expiresAt": "",
    }


@contextmanager
def _images_can_be_built(monkeypatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        kind = BuiltImage.resource_type
        patch.setattr(handlers, "HANDLERS", {**handlers.HANDLERS, kind: BuiltImage()})
        token = "aws:ecr/getAuthorizationToken:getAuthorizationToken"
        known = {**invokes._ARGUMENTS, token: (_authorization_token, {"id", "registryId"})}
        patch.setattr(invokes, "_ARGUMENTS", known)
        yield


@contextmanager
def _registrations(into: list[Registration], monkeypatch) -> Iterator[None]:
    create = Steps.create

    def recording(self, wanted):
        inputs = copy.copy(wanted.inputs)
        made = create(self, wanted)
        record = wanted.record
        into.append(
            Registration(
                type=wanted.handler.resource_type,
                name=record.urn.rpartition("::")[2],
                inputs=inputs,
                outputs=made.outputs,
                urn=record.urn,
                parent=record.parent,
                dependencies=frozenset(record.dependencies),
            )
        )
        return made

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "create", recording)
        yield


@contextmanager
def _calls(into: list[Call]) -> Iterator[None]:
    def recording(params, model, **_):
        into.append(Call(model, copy.copy(params)))

    events = engine_cloud._session().events
    events.register_first("before-parameter-build", recording)
    try:
        yield
    finally:
        events.unregister("before-parameter-build", recording)


def record(folder: Path, config: Mapping[str, Any], endpoint_url: str, monkeypatch) -> Recorded:
    """Deploys a stack with this configuration, destroys it, and tells what it was made of."""
    for name in ("Pulumi.yaml", "__main__.py"):
        shutil.copy(ROOT / name, folder)
    (folder / "Pulumi.test.yaml").write_text(yaml.safe_dump({"config": dict(config)}))
    recorded = Recorded(region=config["aws:region"])
    state_file = folder / "state.json"
    with (
        _images_can_be_built(monkeypatch),
        _registrations(recorded.registrations, monkeypatch),
        _calls(recorded.calls),
    ):
        engine = Engine(folder, "test", endpoint_url=endpoint_url, state_file=state_file)
        engine.up()
        engine.destroy(run_program=True)
    return recorded


def changed(recorded: Recorded, kind: str, **changes: Any) -> Recorded:
    """The stack with one resource of a type changed."""
    registrations = list(recorded.registrations)
    index = next(i for i, each in enumerate(registrations) if each.type == kind)
    chosen = registrations[index]
    inputs = {**copy.deepcopy(dict(chosen.inputs)), **changes}
    registrations[index] = replace(chosen, inputs=inputs)
    return replace(recorded, registrations=registrations)


def policies(recorded: Recorded) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Resource type, name and document of every policy, wherever it stands."""
    for each in recorded.registrations:
        for value in each.inputs.values():
            if isinstance(value, str) and '"Statement"' in value:
                yield each.type, each.name, json.loads(value)


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value
