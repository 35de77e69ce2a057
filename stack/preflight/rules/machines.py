"""EC2 launch templates: how instances start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taskpacks import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.preflight.rules.findings import Finding, Registration


def launch_template(template: Registration) -> Iterator[Finding]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RequestLaunchTemplateData.html."""
    yield from template.named("name", r"[A-Za-z0-9(). /_-]{3,}", 128, "a launch template's name")
    tokens = template.get("metadataOptions.httpTokens")
    if tokens != "required":
        yield template.finding(
            "metadataOptions.httpTokens",
            tokens,
            "instances answer IMDSv2 only, so that no task can be led to ask for their role",
            'set it to "required"',
        )
    for device in template.items("blockDeviceMappings"):
        volume = device.get("ebs") or {}
        if str(volume.get("encrypted")).lower() != "true":
            yield template.finding(
                "blockDeviceMappings.ebs.encrypted",
                volume.get("encrypted"),
                "what tasks write is encrypted at rest",
                'set it to "true"',
            )
        size_gib = volume.get("volumeSize")
        if size_gib is not None and not 1 <= size_gib <= limits.EBS_VOLUME_GIB_MAX:
            yield template.finding(
                "blockDeviceMappings.ebs.volumeSize",
                size_gib,
                f"a gp3 volume has 1 to {limits.EBS_VOLUME_GIB_MAX:_} GiB",
                "choose a size in that range",
            )


RULES: Final = {"aws:ec2/launchTemplate:LaunchTemplate": launch_template}
