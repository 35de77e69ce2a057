"""A stack's dashboard: one row of graphs for each deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from stack.components.json_text import as_json
from stack.documents.dashboard import Row, body, dashboard_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.model import StackContext


class Dashboard(pulumi.ComponentResource):
    """How a stack is doing, at one glance.

    Consists of: a CloudWatch dashboard.
    """

    def __init__(
        self,
        name: str,
        *,
        rows: Sequence[pulumi.Output[Row]],
        context: StackContext,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("taskpacks:stack:Dashboard", name, None, opts)
        aws.cloudwatch.Dashboard(
            f"{name}-graphs",
            dashboard_name=dashboard_name(context),
            dashboard_body=as_json(
                pulumi.Output.all(*rows).apply(lambda known: body(known, context.region))
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
