"""The base of every resource type's handler: a table of properties and four verbs over boto3."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from botocore.exceptions import ClientError

from local.engine.cloud import is_missing
from local.engine.errors import CloudError
from local.engine.properties import Property, from_api, to_api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from local.engine.cloud import Cloud

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class AutoName:
    """How a resource is named whose program does not say."""

    property: str = "name"
    max_length: int = 64
    lower: bool = False

    def new(self, logical_name: str, *, digits: str | None = None) -> str:
        """The logical name (cut to fit), a dash and seven hex digits: random, or those given."""
        random = f"-{(digits or secrets.token_hex(4))[:7]}"
        name = logical_name[: self.max_length - len(random)] + random
        return name.lower() if self.lower else name


class Resource(NamedTuple):
    """A resource that is there."""

    id: str
    inputs: Mapping[str, Any]
    """Those that it was last given."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """An update in place: what was recorded, what is wanted, and where they differ."""

    id: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    changed: frozenset[str]

    @property
    def resource(self) -> Resource:
        """The resource as it is wanted."""
        return Resource(self.id, self.new)

    @property
    def dropped_tags(self) -> list[str]:
        """Keys of tags that are not wanted any more."""
        return sorted(set(self.old.get("tags") or {}) - set(self.new.get("tags") or {}))


def tag_list(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    """Tags as most services want them."""
    return [{"Key": key, "Value": value} for key, value in (tags or {}).items()]


def tag_map(tags: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """Tags as most services return them, as a mapping."""
    return {tag["Key"]: tag["Value"] for tag in tags or ()}


def tagged(tags: Mapping[str, str]) -> Values:
    """The two properties that show tags."""
    return {"tags": dict(tags), "tagsAll": dict(tags)}


@dataclass(frozen=True, kw_only=True)
class Tagging:
    """Names a service's calls for tags: `tag_NOUN(SUBJECT=…, Tags=…)` and `untag_NOUN`."""

    noun: str = "resource"
    subject: str = "resourceArn"
    arn: str = ""
    """The subject is the ARN that ends with this and the id; else it is the id itself."""
    shape: Callable[[Mapping[str, str]], Any] = tag_list


class Handler(ABC):
    """Manages one resource type. Stateless: one object serves all its resources."""

    resource_type: ClassVar[str]
    """Pulumi's type token."""
    service: ClassVar[str]
    """boto3's name for it."""
    properties: ClassVar[Mapping[str, Property]]
    """All inputs that it understands, by wire name."""
    volatile: ClassVar[frozenset[str]] = frozenset()
    """Outputs that an update in place may change: unknown in a preview of one."""
    auto_name: ClassVar[AutoName | None] = None
    delete_before_replace: ClassVar[bool] = False
    """The id is formed from inputs, so old and new cannot stand side by side."""
    capitalised: ClassVar[bool] = True
    """AWS's names start with a capital: `metricName` is `MetricName`. Not so in Batch and ECR."""
    tagging: ClassVar[Tagging] = Tagging()

    @property
    def replaces(self) -> frozenset[str]:
        """Properties whose change makes a new resource."""
        return frozenset(name for name, spec in self.properties.items() if spec.replaces)

    def replaced_by(
        self, old: Mapping[str, Any], new: Mapping[str, Any], changed: frozenset[str]
    ) -> frozenset[str]:
        """Those of the changed properties that make a new resource."""
        del old, new
        return changed & self.replaces

    @abstractmethod
    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        """Makes the resource, with the one call that brings it into being.

        Returns:
            Its id. It is recorded at once, before `configure`.
        """

    def configure(  # noqa: B027 - most types have nothing left to settle
        self, cloud: Cloud, resource: Resource
    ) -> None:
        """Settles what the creating call could not. If it fails, `update` takes over."""

    @abstractmethod
    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        """Asks the cloud how the resource is now.

        Returns:
            Inputs and computed outputs by wire name; None if there is no such resource. An
            input that the cloud does not tell is left out and never counts as drift. Errors
            that say "not found" may be let through: they mean None.
        """

    def update(self, cloud: Cloud, change: Update) -> str:
        """Changes the resource in place: what `modify` takes, and the tags.

        Returns:
            Its id, which may be a new one.
        """
        if settings := change.changed - {"tags"}:
            self.modify(cloud, replace(change, changed=settings))
        if "tags" in change.changed:
            self.retag(cloud, change)
        return change.id

    def modify(self, cloud: Cloud, change: Update) -> None:
        """Changes properties other than tags."""
        del cloud
        names = ", ".join(sorted(change.changed))
        raise CloudError(f"{self.resource_type} cannot change {names} in place.")

    def retag(self, cloud: Cloud, change: Update) -> None:
        """Removes the tags that are not wanted any more, and sets the others."""
        client, how = cloud.client(self.service), self.tagging
        subject = cloud.arn(self.service, how.arn + change.id) if how.arn else change.id
        where = {self.casing(how.subject): subject}
        if dropped := change.dropped_tags:
            untag = getattr(client, f"untag_{how.noun}")
            untag(**where, **{self.casing("tagKeys"): dropped})
        if tags := change.new.get("tags"):
            tag = getattr(client, f"tag_{how.noun}")
            tag(**where, **{self.casing("tags"): how.shape(tags)})

    @abstractmethod
    def delete(self, cloud: Cloud, resource: Resource) -> None:
        """Deletes the resource. Errors that say "not found" may be let through."""

    def find(self, cloud: Cloud, resource: Resource) -> Values | None:
        """Reads the resource in its own region; None if there is no such resource."""
        here = cloud.at(resource.inputs.get("region"))
        try:
            found = self.read(here, resource)
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        return None if found is None else {"region": here.region, **found}

    def remove(self, cloud: Cloud, resource: Resource) -> None:
        """Deletes the resource in its own region, if it is there."""
        here = cloud.at(resource.inputs.get("region"))
        ignoring_missing(lambda: self.delete(here, resource))

    def casing(self, name: str) -> str:
        """AWS's name for a wire name, unless the property has one of its own."""
        return name[:1].upper() + name[1:] if self.capitalised else name

    def api(self, inputs: Mapping[str, Any]) -> Values:
        """AWS's parameters for inputs."""
        return to_api(self.properties, inputs, self.casing)

    def wanted(self, inputs: Mapping[str, Any], names: Iterable[str]) -> Values:
        """AWS's parameters for the named inputs; one that is not given any more has its default.

        Raises:
            CloudError: It has no default.
        """
        found: Values = {}
        for name in names:
            value = inputs.get(name, self.properties[name].default)
            if value is None:
                raise CloudError(
                    f"{self.resource_type}: '{name}' cannot be unset in place. Give the value "
                    "that it should have, or give the resource a new logical name."
                )
            found[name] = value
        return self.api(found)

    def wire(self, answer: Mapping[str, Any]) -> Values:
        """The known properties in AWS's answer, by wire name."""
        return from_api(self.properties, answer, self.casing)


def without(inputs: Mapping[str, Any], *names: str) -> Values:
    """Inputs but for some."""
    return {name: value for name, value in inputs.items() if name not in names}


def only(inputs: Mapping[str, Any], names: Iterable[str]) -> Values:
    """The inputs of these names that are given."""
    return {name: inputs[name] for name in names if name in inputs}


def ignoring_missing(call: Callable[[], object]) -> None:
    """Makes a call whose subject may be gone already."""
    try:
        call()
    except ClientError as error:
        if not is_missing(error):
            raise
