"""A stack's settings, read from its configuration and refused before any resource exists."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_origin
from urllib.parse import urlsplit

# Pulumi's own Config reads one known key at a time; unknown ones must be seen to be refused.
from pulumi.runtime.config import (
    CONFIG,
    get_config_env,
    get_config_secret_keys_env,
    is_config_secret,
)
from pydantic import ValidationError

from stack import destinations
from stack.build_context import PINNED, build_files
from stack.documents.registry import ecr_repository_arn
from stack.hardware import pools, shapes
from stack.model import Deployment, StackSettings
from taskpacks import limits, manager
from taskpacks.errors import RefusedSettingsError, TaskpacksError, UnknownPackError, nearest
from taskpacks.types import DEPLOYMENT_NAME, refusals, tupled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


NAMESPACE: Final = "taskpacks"
"""The prefix of our keys in Pulumi.<stack>.yaml."""
REGION: Final = "aws:region"
ENDPOINTS: Final = "aws:endpoints"
"""The provider's own setting: where AWS's services are, if they are not AWS's."""
SECRET: Final = ("notify",)
"""Settings that may be secret: what they hold stays so from the configuration to the state."""
_DEPLOYMENT_NAME = re.compile(DEPLOYMENT_NAME)

KEYS: Final = tuple(field.alias or name for name, field in StackSettings.model_fields.items())


def read(texts: Mapping[str, str], secret_keys: Collection[str] = ()) -> StackSettings:
    """Checks a stack's whole configuration: our keys, and what they must agree with.

    Args:
        texts: The settings by full key ("taskpacks:packs"), each as text, structured ones as JSON.
        secret_keys: The full keys of those that are secret, or hold something secret.

    Raises:
        TaskpacksError: As `parse`; or a setting is secret that could not stay so.
    """
    prefix = f"{NAMESPACE}:"
    secret = {key.removeprefix(prefix) for key in secret_keys if key.startswith(prefix)}
    if exposed := sorted(secret - set(SECRET)):
        raise RefusedSettingsError(
            f"{NAMESPACE}:{exposed[0]} is secret, in whole or in part: what it says goes into job "
            "definitions, policies and tags, where it could be read; set it without --secret, "
            "and have tasks read secret values by reference: name the ARN of each in "
            f"{NAMESPACE}:packs, below the deployment's `secrets`."
        )
    config = {
        key.removeprefix(prefix): _structured(key.removeprefix(prefix), text, secret)
        for key, text in texts.items()
        if key.startswith(prefix)
    }
    return parse(config, endpoints=addresses(texts), region=texts.get(REGION))


def from_pulumi() -> tuple[dict[str, str], set[str]]:
    """Returns what `read` takes, as the engine that runs the program gives it."""
    # An engine in this process sets the first; the CLI hands over the second.
    texts = {**CONFIG.get(), **get_config_env()}
    return texts, {*filter(is_config_secret, texts), *get_config_secret_keys_env()}


def addresses(texts: Mapping[str, str]) -> list[str]:
    """The addresses in `aws:endpoints`."""
    given: list[dict[str, str]] = json.loads(texts.get(ENDPOINTS) or "[]")
    return [address for each in given for address in each.values() if address]


def is_loopback(address: str) -> bool:
    """Whether a URL can lead to this machine only: no name is looked up."""
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse(
    config: Mapping[str, object],
    modules: Mapping[str, str] | None = None,
    *,
    endpoints: Sequence[str] = (),
    region: str | None = None,
) -> StackSettings:
    """Checks the settings of our own namespace.

    Args:
        config: `packs` and the fields of `StackSettings`; a missing or None value takes its
            default.
        modules: The packs to choose from, as `manager.available()` gives them; None asks it.
        endpoints: Where the stack's cloud is; empty is AWS.
        region: The stack's; None leaves out what only holds for one.

    Raises:
        TaskpacksError: Naming the key's path, the value, the rule and the remedy.
    """
    modules = manager.available() if modules is None else modules
    given = {key: value for key, value in config.items() if value is not None}
    try:
        settings = StackSettings.model_validate({**tupled(given), "packs": ()})
    except ValidationError as error:
        raise RefusedSettingsError(refusals(error, StackSettings, f"{NAMESPACE}:")) from error
    deployments = _deployments(given.get("packs"), modules)
    settings = settings.model_copy(update={"deployments": deployments})
    _check_schemes(settings.uri_schemes, endpoints)
    _check_together(settings)
    if region:
        _check_region(settings, region)
    return settings


def _deployments(packs: object, modules: Mapping[str, str]) -> tuple[Deployment, ...]:
    where = f"{NAMESPACE}:packs"
    if not isinstance(packs, Mapping) or not packs:
        raise RefusedSettingsError(
            f"{where} is {packs!r}: a stack must select at least one pack, as a mapping of "
            f"deployment names to overrides; write for example `{where}: {{pi: {{}}}}`."
            f"{nearest('', modules)}"
        )
    if len(packs) > limits.JOB_QUEUES_PER_REGION:
        raise RefusedSettingsError(
            f"{where} has {len(packs)} deployments: AWS Batch allows "
            f"{limits.JOB_QUEUES_PER_REGION} job queues in a region, and each deployment needs "
            "one; spread them over several regions or accounts."
        )
    made: list[Deployment] = []
    refused: list[str] = []
    for name, overrides in packs.items():
        try:
            made.append(_deployment(name, overrides, modules))
        except TaskpacksError as error:
            refused.append(str(error))
    if refused:  # all of them at once: each `up` tells of every mistake
        raise RefusedSettingsError("\n".join(refused))
    return tuple(made)


def _deployment(name: object, overrides: object, modules: Mapping[str, str]) -> Deployment:
    where = f"{NAMESPACE}:packs.{name}"
    if not isinstance(name, str) or not _DEPLOYMENT_NAME.fullmatch(name):
        raise RefusedSettingsError(
            f"{where}: a deployment's name is 1 to 32 lower-case letters, digits, '-' and '_', "
            "beginning with a letter; rename it (`pack:` below it says which pack it is)."
        )
    if overrides is None:
        overrides = {}
    if not isinstance(overrides, Mapping):
        raise RefusedSettingsError(
            f"{where} is {overrides!r}: overrides are a mapping; write {{}} for none."
        )
    settings: dict[str, Any] = {str(key): value for key, value in overrides.items()}
    pack_name = settings.pop("pack", name)
    if not isinstance(pack_name, str):
        raise RefusedSettingsError(f"{where}.pack is {pack_name!r}: it is the name of a pack.")
    image = settings.get("image", {"uri": None})
    if not isinstance(image, Mapping) or set(image) != {"uri"}:
        raise RefusedSettingsError(
            f"{where}.image is {image!r}: an image is built from the pack's own declaration; "
            "change that in the pack. A deployment may only say which image it runs: "
            "{uri: REGISTRY/NAME:TAG}."
        )
    try:
        pack = manager.load(pack_name, modules)
    except UnknownPackError as error:
        raise RefusedSettingsError(f"{where}: {error}") from error
    spec = pack.spec.overlaid(settings, where)
    if unfit := shapes.refusals(spec.resources):
        raise RefusedSettingsError("\n".join(f"{where}.resources: {text}" for text in unfit))
    return Deployment(name=name, pack=pack, spec=spec)


def _check_together(settings: StackSettings) -> None:
    if refused := [
        f"{NAMESPACE}:packs.{text}" for text in destinations.refusals(settings.deployments)
    ]:
        raise RefusedSettingsError("\n".join(refused))
    made = pools.pools(settings.deployments, shared=settings.share_compute_environments)
    environments = sum(len(pool.shape.purchases) for pool in made)
    if environments > limits.COMPUTE_ENVIRONMENTS_PER_REGION:
        remedy = (
            "spread them over several regions or accounts"
            if settings.share_compute_environments
            else f"set {NAMESPACE}:share_compute_environments: true, so that deployments of equal "
            "hardware share them, or spread them over several regions or accounts"
        )
        raise RefusedSettingsError(
            f"{NAMESPACE}:packs needs {environments} compute environments: AWS Batch allows "
            f"{limits.COMPUTE_ENVIRONMENTS_PER_REGION} in a region; {remedy}."
        )
    for deployment in settings.deployments if settings.build_images else ():
        if not deployment.spec.image.uri:
            _check_built(deployment)
    for deployment in settings.deployments:
        uri = deployment.spec.image.uri
        if uri and settings.behind_endpoints and ecr_repository_arn(uri, "aws") is None:
            raise RefusedSettingsError(
                f"{NAMESPACE}:packs.{deployment.name}.image.uri is {uri!r}: workers behind "
                f"{NAMESPACE}:egress 'endpoints' reach no registry but ECR; copy the image to "
                "ECR, or set egress: nat."
            )


def _check_region(settings: StackSettings, region: str) -> None:
    if settings.kms_key and (found := settings.kms_key.split(":")[3]) != region:
        raise RefusedSettingsError(
            f"{NAMESPACE}:kms_key is {settings.kms_key!r}: it is a key of {found}, and {REGION} is "
            f"{region}; AWS encrypts with keys of the same region only. Name a key of {region}."
        )
    for deployment in settings.deployments if settings.behind_endpoints else ():
        uri = deployment.spec.image.uri
        arn = ecr_repository_arn(uri, "aws") if uri else None
        if arn and arn.split(":")[3] != region:
            raise RefusedSettingsError(
                f"{NAMESPACE}:packs.{deployment.name}.image.uri is {uri!r}: workers behind "
                f"{NAMESPACE}:egress 'endpoints' reach ECR in {region} only; copy the image to "
                f"{region} (ECR can replicate it), or set egress: nat."
            )


def _check_built(deployment: Deployment) -> None:
    base, pack = deployment.spec.image.base, deployment.pack.name
    if base and not PINNED.fullmatch(base):
        raise RefusedSettingsError(
            f"{NAMESPACE}:build_images: the pack '{pack}' declares image.base {base!r}: a tag may "
            "lead to another image tomorrow, so an image that the stack builds starts from a "
            "digest. Declare NAME:TAG@sha256:DIGEST; `docker buildx imagetools inspect "
            f"{base.partition('@')[0]}` prints the digest."
        )
    build_files(pack)


def _check_schemes(schemes: Iterable[str], endpoints: Sequence[str]) -> None:
    for scheme in schemes:
        if scheme == "file" and not (endpoints and all(map(is_loopback, endpoints))):
            raise RefusedSettingsError(
                f"{NAMESPACE}:uri_schemes has 'file' and {ENDPOINTS} is {list(endpoints)}: whoever "
                "sends a task could read and replace files of its worker, so 'file' is only for "
                "a cloud on this machine, where every address is a loopback one "
                "(http://127.0.0.1:PORT); leave 'file' out."
            )


class _Concealed(str):
    """A secret text, which shows itself in no message."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "[secret]"


def _is_text(name: str) -> bool:
    if name not in StackSettings.model_fields:
        return name != "packs"  # what there is not is refused later, by its name
    kind = StackSettings.model_fields[name].annotation
    return kind is str or kind == (str | None) or get_origin(kind) is Literal


def _structured(name: str, text: str, secret: Collection[str]) -> object:
    """A setting as the YAML has it: structured where it is, else text."""
    if _is_text(name):
        return text
    try:
        value = json.loads(text)
    except ValueError as error:
        shown = _Concealed(text) if name in secret else text
        raise RefusedSettingsError(
            f"{NAMESPACE}:{name} is {shown!r}: it must be a YAML list, mapping, number or "
            "true/false; see docs/deploying.md for an example."
        ) from (None if name in secret else error)
    return _concealed(value) if name in secret else value


def _concealed(value: object) -> object:
    if isinstance(value, list):
        return [_concealed(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {key: _concealed(item) for key, item in items}
    return _Concealed(value) if isinstance(value, str) else value
