"""The provider functions that a program may call: what it asks about where it runs."""

from __future__ import annotations

from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from local.engine.cloud import ACCOUNT_ID, PARTITION
from local.engine.errors import UnsupportedError
from taskpacks.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.engine.cloud import Cloud

Values = dict[str, Any]


def _region(cloud: Cloud, args: Mapping[str, Any]) -> Values:
    name = args.get("region") or args.get("name") or cloud.region
    return {
        "id": name,
        "name": name,
        "region": name,
        "description": name,
        "endpoint": f"ec2.{name}.amazonaws.com",
    }


def _caller_identity(cloud: Cloud, args: Mapping[str, Any]) -> Values:
    del args
    answer = cloud.client("sts").get_caller_identity()
    return {
        "id": ACCOUNT_ID,
        "accountId": answer["Account"],
        "arn": answer["Arn"],
        "userId": answer["UserId"],
    }


def _partition(cloud: Cloud, args: Mapping[str, Any]) -> Values:
    del cloud, args
    return {
        "id": PARTITION,
        "partition": PARTITION,
        "dnsSuffix": "amazonaws.com",
        "reverseDnsPrefix": "com.amazonaws",
    }


def _zone_matches(zone: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """EC2's filter on opt-in status, the only one that tells moto's zones apart.

    Raises:
        UnsupportedError: It is another filter.
    """
    if wanted["name"] != "opt-in-status":
        raise UnsupportedError(
            f"getAvailabilityZones has the filter {wanted['name']!r}: this engine knows "
            "opt-in-status only; filter the names in the program, or use the real CLI."
        )
    return zone.get("OptInStatus", "opt-in-not-required") in wanted["values"]


def _availability_zones(cloud: Cloud, args: Mapping[str, Any]) -> Values:
    zones = cloud.client("ec2").describe_availability_zones()["AvailabilityZones"]
    wanted = [
        zone
        for zone in zones
        if args.get("state", zone["State"]) == zone["State"]
        and all(_zone_matches(zone, each) for each in args.get("filters", ()))
        and zone["ZoneName"] not in args.get("excludeNames", ())
        and zone["ZoneId"] not in args.get("excludeZoneIds", ())
    ]
    return {
        "id": cloud.region,
        "names": sorted(zone["ZoneName"] for zone in wanted),
        "zoneIds": [zone["ZoneId"] for zone in sorted(wanted, key=lambda zone: zone["ZoneName"])],
        "groupNames": sorted({cloud.region}),
        **args,
    }


def _instance_type_offerings(cloud: Cloud, args: Mapping[str, Any]) -> Values:
    """Returns what a region offers; the names in a filter may have stars, as in EC2's own."""
    patterns: list[str] = []
    for wanted in args.get("filters", ()):
        if wanted["name"] != "instance-type":
            raise UnsupportedError(
                f"getInstanceTypeOfferings has the filter {wanted['name']!r}: this engine knows "
                "instance-type only; filter in the program, or use the real CLI."
            )
        patterns += wanted["values"]
    pages = cloud.client("ec2").get_paginator("describe_instance_type_offerings").paginate()
    offered = sorted(
        each["InstanceType"] for page in pages for each in page["InstanceTypeOfferings"]
    )
    found = [
        name
        for name in offered
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    return {
        "id": cloud.region,
        "instanceTypes": found,
        "locations": [cloud.region] * len(found),
        "locationTypes": ["region"] * len(found),
        **args,
    }


_ARGUMENTS: Final = MappingProxyType(
    {
        "aws:index/getRegion:getRegion": (_region, {"id", "name", "region"}),
        "aws:index/getCallerIdentity:getCallerIdentity": (_caller_identity, {"id"}),
        "aws:index/getPartition:getPartition": (_partition, {"id"}),
        "aws:index/getAvailabilityZones:getAvailabilityZones": (
            _availability_zones,
            {"excludeNames", "excludeZoneIds", "filters", "id", "region", "state"},
        ),
        "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": (
            _instance_type_offerings,
            {"filters", "id", "region"},
        ),
    }
)


def invoke(cloud: Cloud, token: str, args: Mapping[str, Any]) -> Values:
    """Answers a provider function.

    Raises:
        UnsupportedError: The function or one of its arguments is not known here.
    """
    if token not in _ARGUMENTS:
        raise UnsupportedError(
            f"The function {token} is not known to the local cloud."
            f"{nearest(token, _ARGUMENTS)} All known: {', '.join(_ARGUMENTS)}."
        )
    function: Callable[[Cloud, Mapping[str, Any]], Values]
    function, known = _ARGUMENTS[token]
    if unknown := sorted(args.keys() - known):
        raise UnsupportedError(
            f"{token} has no argument '{unknown[0]}' here.{nearest(unknown[0], known)}"
        )
    return function(cloud.at(args.get("region")), args)
