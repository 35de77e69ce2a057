"""Reads AWS's prices from prices.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import yaml

from stack.hardware import instances
from taskpacks.errors import RefusedSettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = Path(__file__).with_name("prices.yaml")


@dataclass(frozen=True)
class Group:
    """Prices that stand on one page of AWS's."""

    source: str
    date: date
    usd: Mapping[str, float]


@dataclass(frozen=True)
class Prices:
    """All prices, and the region whose they are."""

    region: str
    groups: Mapping[str, Group]

    def usd(self, group: str, name: str) -> float:
        """A price that is always there.

        Raises:
            RefusedSettingsError: It is not.
        """
        found = self.groups[group].usd.get(name) if group in self.groups else None
        if found is None:
            raise RefusedSettingsError(
                f"There is no price '{name}' in the group '{group}'; add it to {FILE.name}."
            )
        return found

    def instance_hour(self, name: str) -> float | None:
        """An instance type on demand; None where it is not known."""
        exact = self.groups["ec2_instance_hour"].usd.get(name)
        by_vcpu = self.groups["ec2_vcpu_hour"].usd.get(instances.family(name))
        if exact is None and by_vcpu is not None and name in instances.KNOWN:
            return by_vcpu * instances.KNOWN[name].vcpus
        return exact

    @property
    def dates(self) -> tuple[date, date]:
        """The oldest and the newest day as of which a price was found."""
        days = [group.date for group in self.groups.values()]
        return min(days), max(days)


@cache
def load(overrides: Path | None = None) -> Prices:
    """Reads the prices.

    Args:
        overrides: A file of the same form with what is different, say for another region; None
            takes the prices as they are.

    Raises:
        RefusedSettingsError: The file cannot be used.
    """
    content = _mapping(FILE)
    groups: dict[str, Any] = dict(content["groups"])
    if overrides is not None:
        own = _mapping(overrides)
        content["region"] = own.get("region", content["region"])
        for name, group in (own.get("groups") or {}).items():
            if name not in groups:
                raise RefusedSettingsError(
                    f"{overrides}: there is no group of prices '{name}'.{nearest(name, groups)}"
                )
            try:
                usd = {**groups[name]["usd"], **group.get("usd", {})}
                groups[name] = {**groups[name], **group, "usd": usd}
            except (AttributeError, TypeError) as error:
                raise RefusedSettingsError(
                    f"{overrides}: the group '{name}' is {group!r}: it is a mapping with source, "
                    f"date and usd, as in {FILE.name}."
                ) from error
    return Prices(
        region=str(content["region"]),
        groups={name: _group(name, group) for name, group in groups.items()},
    )


def _group(name: str, group: Mapping[str, Any]) -> Group:
    for what, price in group["usd"].items():
        if not isinstance(price, int | float) or isinstance(price, bool) or price < 0:
            raise RefusedSettingsError(
                f"The price '{what}' in the group '{name}' is {price!r}: it is US dollars, as a "
                "number."
            )
    if not isinstance(group["date"], date):
        raise RefusedSettingsError(
            f"The date of the group '{name}' is {group['date']!r}: write YYYY-MM-DD."
        )
    return Group(source=str(group["source"]), date=group["date"], usd=dict(group["usd"]))


def _mapping(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RefusedSettingsError(f"{file} cannot be read as prices: {error}") from error
    if not isinstance(found, dict):
        raise RefusedSettingsError(f"{file} holds no prices: see {FILE.name} for its form.")
    return cast("dict[str, Any]", found)
