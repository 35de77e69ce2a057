"""Where applications say that they have sent a task."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from stack.components.python_function import invoked_by
from taskpacks.contract import SENT_DETAIL_TYPE, sent_source

if TYPE_CHECKING:
    from stack.components.doorman import Doorman

PATTERN = {"source": [{"prefix": sent_source("")}], "detail-type": [SENT_DETAIL_TYPE]}
"""Matches the events of applications, of whatever deployment: the doorman knows which are woken."""


class SendEvents(pulumi.ComponentResource):
    """A bus of the stack's own, whose events have the doorman start an execution at once.

    Consists of: an event bus, which only this account may write to; a rule, its target, and the
    doorman's leave for it.
    """

    bus_name: pulumi.Output[str]
    bus_arn: pulumi.Output[str]

    def __init__(
        self, name: str, *, doorman: Doorman, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:SendEvents", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        bus = aws.cloudwatch.EventBus(f"{name}-bus", opts=child)
        rule = aws.cloudwatch.EventRule(
            name,
            description="Tells the doorman that a task was sent",
            event_bus_name=bus.name,
            event_pattern=json.dumps(PATTERN),
            opts=child,
        )
        invoked_by(name, rule, doorman.function, parent=self)
        self.bus_name = bus.name
        self.bus_arn = bus.arn
        self.register_outputs({"bus": bus.name})
