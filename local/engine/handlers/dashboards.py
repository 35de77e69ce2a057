"""CloudWatch: dashboards, and metrics that are read out of logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.handlers.base import AutoName, Handler, Update, Values, without
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


class LogMetricFilter(Handler):
    """A filter of a log group's lines that makes data points. Its id is its name."""

    resource_type = "aws:cloudwatch/logMetricFilter:LogMetricFilter"
    auto_name = AutoName(max_length=512)
    capitalised = False
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="filterName", replaces=True),
        "logGroupName": Property(replaces=True),
        "metricTransformation": Property(
            api="metricTransformations",
            fields={
                "defaultValue": Property(),
                "dimensions": Property(exact=True),
                "name": Property(api="metricName"),
                "namespace": Property(api="metricNamespace"),
                "unit": Property(),
                "value": Property(api="metricValue"),
            },
        ),
        "pattern": Property(api="filterPattern"),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Puts the filter."""
        parameters = self.api(inputs)
        transformation = parameters["metricTransformations"]
        if "defaultValue" in transformation:
            transformation["defaultValue"] = float(transformation["defaultValue"])
        parameters["metricTransformations"] = [transformation]
        cloud.client("logs").put_metric_filter(**parameters)
        return inputs["name"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Finds the filter among its log group's."""
        found = cloud.client("logs").describe_metric_filters(logGroupName=inputs["logGroupName"])
        for each in found["metricFilters"]:
            if each["filterName"] == resource_id:
                transformation = each["metricTransformations"][0]
                if "defaultValue" in transformation:
                    transformation["defaultValue"] = f"{transformation['defaultValue']:g}"
                return self.wire(
                    {
                        **without(each, "metricTransformations"),
                        "metricTransformations": transformation,
                    }
                )
        return None

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces it; it is deleted before, because moto would keep both."""
        self.delete(cloud, change.id, change.old, change.outputs)
        return self.create(cloud, dict(change.new))

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the filter."""
        del outputs
        cloud.client("logs").delete_metric_filter(
            logGroupName=inputs["logGroupName"], filterName=resource_id
        )


class LogResourcePolicy(Handler):
    """Which services may write logs. Its id is its name."""

    resource_type = "aws:cloudwatch/logResourcePolicy:LogResourcePolicy"
    delete_before_replace = True
    capitalised = False
    properties: ClassVar[Mapping[str, Property]] = {
        "policyName": Property(replaces=True),
        "policyDocument": Property(json=True, exact=True),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Puts the policy."""
        cloud.client("logs").put_resource_policy(**self.api(inputs))
        return inputs["policyName"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Finds the policy among all."""
        del inputs
        for page in cloud.client("logs").get_paginator("describe_resource_policies").paginate():
            for policy in page["resourcePolicies"]:
                if policy["policyName"] == resource_id:
                    return self.wire(policy)
        return None

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces it."""
        return self.create(cloud, dict(change.new))

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the policy."""
        del inputs, outputs
        cloud.client("logs").delete_resource_policy(policyName=resource_id)
