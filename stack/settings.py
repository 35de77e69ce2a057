"""A stack's settings, read from its configuration and refused before any resource exists."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast, get_args
from urllib.parse import urlsplit

# Pulumi's own Config reads one known key at a time; unknown ones must be seen to be refused.
from pulumi.runtime.config import (
    CONFIG,
    get_config_env,
    get_config_secret_keys_env,
    is_config_secret,
)

from stack.build_context import PINNED, build_files
from stack.documents.registry import ecr_repository_arn
from stack.hardware import pools, shapes
from stack.model import Data, Deployment, Egress, StackSettings
from taskpacks import limits, manager
from taskpacks.errors import RefusedSettingsError, TaskpacksError, UnknownPackError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


NAMESPACE: Final = "taskpacks"
"""The prefix of our keys in Pulumi.<stack>.yaml."""
URI_SCHEMES: Final = ("s3", "file")
ENDPOINTS: Final = "aws:endpoints"
"""The provider's own setting: where AWS's services are, if they are not AWS's."""
SECRET: Final = ("notify",)
"""Settings that may be secret: what they hold stays so from the configuration to the state."""
DRAIN_SECONDS_MAX: Final = 24 * 60 * 60
"""Whoever waits longer repeats the command."""

_NOTIFIABLE = re.compile(r"https://[^\s/]+\S*|[^\s@/:]+@[^\s@/:]+\.[^\s@/:]+")
_KEY_ARN = re.compile(r"arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/\S+")
# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
_TAG_VALUE = re.compile(r"[\w\s.:/=+@-]{1,256}")
_IMAGE_TAG = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_DEPLOYMENT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


STRUCTURED: Final = (
    "packs",
    "build_images",
    "secret_key_arns",
    "subnet_ids",
    "security_group_ids",
    "assign_public_ip",
    "uri_schemes",
    "notify",
    "share_compute_environments",
    "machine_image_generation",
    "drain_on_delete_seconds",
)
KEYS: Final = (*STRUCTURED, "owner", "image_tag", "egress", "kms_key", "data")


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
    return parse(config, endpoints=addresses(texts))


def from_pulumi() -> tuple[dict[str, str], set[str]]:
    """What `read` takes, as the engine that runs the program gives it."""
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
) -> StackSettings:
    """Checks the settings of our own namespace.

    Args:
        config: The values of the keys in `KEYS`; a missing or None value takes its default.
        modules: The packs to choose from, as `manager.available()` gives them; None asks it.
        endpoints: Where the stack's cloud is; empty is AWS.

    Raises:
        TaskpacksError: Naming the key's path, the value, the rule and the remedy.
    """
    for key in config:
        if key not in KEYS:
            raise RefusedSettingsError(
                f"{NAMESPACE}:{key}: there is no such setting.{nearest(key, KEYS)}"
            )
    modules = manager.available() if modules is None else modules
    given = {key: value for key, value in config.items() if value is not None}
    deployments = _deployments(given.pop("packs", None), modules)
    settings = StackSettings(
        deployments=deployments,
        owner=_optional_text("owner", given),
        image_tag=_text("image_tag", given.get("image_tag", StackSettings.image_tag)),
        build_images=_flag("build_images", given.get("build_images", False)),
        egress=_one_of("egress", given.get("egress", StackSettings.egress), get_args(Egress)),
        kms_key=_optional_text("kms_key", given),
        secret_key_arns=_texts("secret_key_arns", given.get("secret_key_arns", ())),
        subnet_ids=_texts("subnet_ids", given.get("subnet_ids", ())),
        security_group_ids=_texts("security_group_ids", given.get("security_group_ids", ())),
        assign_public_ip=_flag("assign_public_ip", given.get("assign_public_ip", False)),
        uri_schemes=_texts("uri_schemes", given.get("uri_schemes", StackSettings.uri_schemes)),
        notify=_texts("notify", given.get("notify", ())),
        share_compute_environments=_flag(
            "share_compute_environments", given.get("share_compute_environments", False)
        ),
        machine_image_generation=_positive(
            "machine_image_generation",
            given.get("machine_image_generation", StackSettings.machine_image_generation),
        ),
        data=_one_of("data", given.get("data", StackSettings.data), get_args(Data)),
        drain_on_delete_seconds=_whole(
            "drain_on_delete_seconds",
            given.get("drain_on_delete_seconds", StackSettings.drain_on_delete_seconds),
            DRAIN_SECONDS_MAX,
        ),
    )
    _check_forms(settings)
    _check_schemes(settings.uri_schemes, endpoints)
    _check_together(settings)
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
    if refusals := shapes.refusals(spec.resources):
        raise RefusedSettingsError("\n".join(f"{where}.resources: {text}" for text in refusals))
    return Deployment(name=name, pack=pack, spec=spec)


def _check_together(settings: StackSettings) -> None:
    if bool(settings.subnet_ids) != bool(settings.security_group_ids):
        raise RefusedSettingsError(
            f"{NAMESPACE}:subnet_ids is {list(settings.subnet_ids)} and "
            f"{NAMESPACE}:security_group_ids is {list(settings.security_group_ids)}: workers in "
            "your own network need both; give both, or neither to have a network made."
        )
    if settings.assign_public_ip and not settings.subnet_ids:
        raise RefusedSettingsError(
            f"{NAMESPACE}:assign_public_ip is True and {NAMESPACE}:subnet_ids is []: it is about "
            "public subnets of your own; give subnet_ids and security_group_ids, or set "
            f"{NAMESPACE}:egress: public to have a network with public addresses made."
        )
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
        if scheme not in URI_SCHEMES:
            raise RefusedSettingsError(
                f"{NAMESPACE}:uri_schemes has {scheme!r}: tasks read and write only "
                f"{' and '.join(URI_SCHEMES)}; leave it out."
            )
        if scheme == "file" and not (endpoints and all(map(is_loopback, endpoints))):
            raise RefusedSettingsError(
                f"{NAMESPACE}:uri_schemes has 'file' and {ENDPOINTS} is {list(endpoints)}: whoever "
                "sends a task could read and replace files of its worker, so 'file' is only for "
                "a cloud on this machine, where every address is a loopback one "
                "(http://127.0.0.1:PORT); leave 'file' out."
            )


def _check_forms(settings: StackSettings) -> None:
    for index, endpoint in enumerate(settings.notify):
        if not _NOTIFIABLE.fullmatch(endpoint):
            raise RefusedSettingsError(
                f"{NAMESPACE}:notify[{index}] is {endpoint!r}: notices go to e-mail addresses and "
                "https:// URLs (plain http is refused); write one of these, or leave it out."
            )
    if not _IMAGE_TAG.fullmatch(settings.image_tag):
        raise RefusedSettingsError(
            f"{NAMESPACE}:image_tag is {settings.image_tag!r}: it is 1 to 80 letters, digits, "
            "'.', '_' and '-'; the image's tag is PACK-TAG. Choose another."
        )
    if settings.owner and not _TAG_VALUE.fullmatch(settings.owner):
        raise RefusedSettingsError(
            f"{NAMESPACE}:owner is {settings.owner!r}: it is a tag's value, 1 to 256 letters, "
            "digits, spaces and _.:/=+-@; write it without the others."
        )
    if settings.kms_key:
        _check_key("kms_key", settings.kms_key, "have AWS manage the keys")
    for index, arn in enumerate(settings.secret_key_arns):
        _check_key(
            f"secret_key_arns[{index}]", arn, "read secrets under kms_key and AWS's own only"
        )


def _check_key(where: str, arn: str, without: str) -> None:
    if not _KEY_ARN.fullmatch(arn):
        raise RefusedSettingsError(
            f"{NAMESPACE}:{where} is {arn!r}: it is a key's ARN (no alias: policies name the key "
            f"itself), as arn:aws:kms:REGION:ACCOUNT:key/ID; leave it out to {without}."
        )


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise RefusedSettingsError(f"{NAMESPACE}:{key} is {value!r}: it is a text; quote it.")
    return value


def _optional_text(key: str, given: Mapping[str, object]) -> str | None:
    """Empty is as good as missing: a key with a type in Pulumi.yaml needs some default."""
    return _text(key, given[key]) if given.get(key, "") != "" else None


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise RefusedSettingsError(f"{NAMESPACE}:{key} is {value!r}: it is true or false.")
    return value


def _positive(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RefusedSettingsError(
            f"{NAMESPACE}:{key} is {value!r}: it is a whole number from 1 on; write one."
        )
    return value


def _one_of(key: str, value: object, words: tuple[Any, ...]) -> Any:
    for known in words:
        if value == known:
            return known
    raise RefusedSettingsError(
        f"{NAMESPACE}:{key} is {value!r}: it is one of {', '.join(words)}."
        f"{nearest(str(value), words)}"
    )


def _whole(key: str, value: object, maximum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= maximum:
        raise RefusedSettingsError(
            f"{NAMESPACE}:{key} is {value!r}: it is a whole number from 0 to {maximum}."
        )
    return value


def _texts(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise RefusedSettingsError(f"{NAMESPACE}:{key} is {value!r}: it is a list of texts.")
    return tuple(_text(key, item) for item in value)


class _Concealed(str):
    """A secret text, which shows itself in no message."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "[secret]"


def _structured(name: str, text: str, secret: Collection[str]) -> object:
    """A setting as the YAML has it: structured where it is, else text."""
    if name not in STRUCTURED:
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
