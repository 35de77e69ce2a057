"""The base of every resource type's handler: a table of properties and four verbs over boto3."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

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

    def new(self, logical_name: str, suffix: str = "", *, digits: str | None = None) -> str:
        """The logical name (cut to fit), a dash and seven hex digits: random, or those given."""
        random = f"-{(digits or secrets.token_hex(4))[:7]}{suffix}"
        name = logical_name[: self.max_length - len(random)] + random
        return name.lower() if self.lower else name


@dataclass(frozen=True, kw_only=True)
class Update:
    """An update in place: what was recorded, what is wanted, and where they differ."""

    id: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    outputs: Mapping[str, Any]
    changed: frozenset[str]


class Handler(ABC):
    """Manages one resource type. Stateless: one object serves all its resources."""

    resource_type: ClassVar[str]
    """Pulumi's type token."""
    properties: ClassVar[Mapping[str, Property]]
    """All inputs that it understands, by wire name."""
    volatile: ClassVar[frozenset[str]] = frozenset()
    """Outputs that an update in place may change: unknown in a preview of one."""
    auto_name: ClassVar[AutoName | None] = None
    delete_before_replace: ClassVar[bool] = False
    """The id is formed from inputs, so old and new cannot stand side by side."""
    capitalised: ClassVar[bool] = True
    """AWS's names start with a capital: `metricName` is `MetricName`. Not so in Batch and ECR."""

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

    def name_suffix(self, inputs: Mapping[str, Any]) -> str:
        """Returns what an automatic name must end with."""
        del inputs
        return ""

    @abstractmethod
    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the resource, with the one call that brings it into being.

        Returns:
            Its id. It is recorded at once, before `configure`.
        """

    def configure(  # noqa: B027 - most types have nothing left to settle
        self, cloud: Cloud, resource_id: str, inputs: Values
    ) -> None:
        """Settles what the creating call could not. If it fails, `update` takes over."""

    @abstractmethod
    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Asks the cloud how the resource is now.

        Returns:
            Inputs and computed outputs by wire name; None if there is no such resource. An
            input that the cloud does not tell is left out and never counts as drift. Errors
            that say "not found" may be let through: they mean None.
        """

    def update(self, cloud: Cloud, change: Update) -> str:
        """Changes the resource in place.

        Returns:
            Its id, which may be a new one.
        """
        del cloud
        names = ", ".join(sorted(change.changed))
        raise CloudError(f"{self.resource_type} cannot change {names} in place.")

    @abstractmethod
    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the resource. Errors that say "not found" may be let through."""

    def casing(self, name: str) -> str:
        """AWS's name for a wire name, unless the property has one of its own."""
        return name[:1].upper() + name[1:] if self.capitalised else name

    def api(self, inputs: Mapping[str, Any]) -> Values:
        """AWS's parameters for inputs."""
        return to_api(self.properties, inputs, self.casing)

    def wanted(self, inputs: Mapping[str, Any], names: Iterable[str]) -> Values:
        """The named inputs; one that is not given any more goes back to its default.

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
        return found

    def wire(self, answer: Mapping[str, Any]) -> Values:
        """The known properties in AWS's answer, by wire name."""
        return from_api(self.properties, answer, self.casing)


def without(inputs: Mapping[str, Any], *names: str) -> Values:
    """Inputs but for some."""
    return {name: value for name, value in inputs.items() if name not in names}


def tag_list(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    """Tags as most services want them."""
    return [{"Key": key, "Value": value} for key, value in (tags or {}).items()]


def tag_map(tags: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """Tags as most services return them, as a mapping."""
    return {tag["Key"]: tag["Value"] for tag in tags or ()}


def tagged(tags: Mapping[str, str]) -> Values:
    """The two properties that show tags."""
    return {"tags": dict(tags), "tagsAll": dict(tags)}


def dropped_tags(change: Update) -> list[str]:
    """Keys of tags that are not wanted any more."""
    return sorted(set(change.old.get("tags") or {}) - set(change.new.get("tags") or {}))


def ignoring_missing(call: Callable[[], object]) -> None:
    """Makes a call whose subject may be gone already."""
    try:
        call()
    except ClientError as error:
        if not is_missing(error):
            raise
