"""CloudWatch: dashboards, and metrics that are read out of logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.handlers.base import AutoName, Handler, Update, Values
from local.engine.properties import REGION, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class Dashboard(Handler):
    """A dashboard. Its id is its name."""

    resource_type = "aws:cloudwatch/dashboard:Dashboard"
    auto_name = AutoName(property="dashboardName", max_length=255)
    properties: ClassVar[Mapping[str, Property]] = {
        "dashboardName": Property(replaces=True),
        "dashboardBody": Property(json=True, exact=True),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Puts the dashboard."""
        cloud.client("cloudwatch").put_dashboard(**self.api(inputs))
        return inputs["dashboardName"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads the dashboard."""
        del inputs
        found = cloud.client("cloudwatch").get_dashboard(DashboardName=resource_id)
        return {**self.wire(found), "dashboardArn": found["DashboardArn"]}

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces it."""
        return self.create(cloud, dict(change.new))

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the dashboard."""
        del inputs, outputs
        cloud.client("cloudwatch").delete_dashboards(DashboardNames=[resource_id])
