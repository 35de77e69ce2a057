"""CloudWatch: alarms, and log groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Resource,
    Tagging,
    Update,
    Values,
    tag_list,
    tag_map,
    tagged,
    without,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud

_METRIC: Final = {
    "dimensions": Property(),
    "metricName": Property(),
    "namespace": Property(),
    "period": Property(),
    "stat": Property(),
    "unit": Property(),
}


class MetricAlarm(Handler):
    """An alarm on one metric or on an expression over several. Its id is its name."""

    resource_type = "aws:cloudwatch/metricAlarm:MetricAlarm"
    service = "cloudwatch"
    tagging = Tagging(subject="resourceARN", arn="alarm:")
    auto_name = AutoName(max_length=255)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="AlarmName", replaces=True),
        "alarmActions": Property(api="AlarmActions", unordered=True, exact=True, default=[]),
        "alarmDescription": Property(default=""),
        "comparisonOperator": Property(),
        "datapointsToAlarm": Property(),
        "dimensions": Property(exact=True, default={}),
        "evaluationPeriods": Property(),
        "metricName": Property(),
        "metricQueries": Property(
            api="Metrics",
            fields={
                "accountId": Property(),
                "expression": Property(),
                "id": Property(),
                "label": Property(),
                "metric": Property(api="MetricStat", fields=_METRIC),
                "period": Property(),
                "returnData": Property(),
            },
        ),
        "namespace": Property(),
        "okActions": Property(api="OKActions", unordered=True, exact=True, default=[]),
        "period": Property(),
        "statistic": Property(),
        "threshold": Property(),
        "treatMissingData": Property(default="missing"),
        "unit": Property(),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        parameters = self._parameters(inputs)
        cloud.client("cloudwatch").put_metric_alarm(**parameters, Tags=tag_list(inputs.get("tags")))
        return inputs["name"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        cloudwatch = cloud.client("cloudwatch")
        alarms: list[Values] = cloudwatch.describe_alarms(AlarmNames=[resource.id])["MetricAlarms"]
        if not alarms:
            return None
        alarm = alarms[0]
        values = self.wire(without(alarm, "Dimensions", "Metrics"))
        values["dimensions"] = _dimension_map(alarm.get("Dimensions"))
        if metrics := alarm.get("Metrics"):
            values["metricQueries"] = [self._query(metric) for metric in metrics]
        tags = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
        return {**values, **tagged(tag_map(tags)), "arn": alarm["AlarmArn"]}

    def modify(self, cloud: Cloud, change: Update) -> None:
        """Replaces the alarm: a property that is not given goes back to AWS's default."""
        cloud.client("cloudwatch").put_metric_alarm(**self._parameters(change.new))

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("cloudwatch").delete_alarms(AlarmNames=[resource.id])

    def _parameters(self, inputs: Mapping[str, Any]) -> Values:
        parameters = self.api(without(inputs, "tags", "dimensions"))
        if dimensions := inputs.get("dimensions"):
            parameters["Dimensions"] = _dimension_list(dimensions)
        for metric in parameters.get("Metrics", ()):
            if stat := metric.get("MetricStat"):
                inner = {
                    "Namespace": stat.get("Namespace"),
                    "MetricName": stat.get("MetricName"),
                    "Dimensions": _dimension_list(stat.get("Dimensions") or {}),
                }
                metric["MetricStat"] = {
                    "Metric": {name: value for name, value in inner.items() if value is not None},
                    **without(stat, "Namespace", "MetricName", "Dimensions"),
                }
        return parameters

    def _query(self, metric: Values) -> Values:
        stat = metric.get("MetricStat")
        flat = without(metric, "MetricStat")
        if stat:
            flat["MetricStat"] = {
                **without(stat, "Metric"),
                **stat["Metric"],
                "Dimensions": _dimension_map(stat["Metric"].get("Dimensions")),
            }
        return self.wire({"Metrics": [flat]})["metricQueries"][0]


def _dimension_list(dimensions: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in dimensions.items()]


def _dimension_map(dimensions: list[dict[str, str]] | None) -> dict[str, str]:
    return {dimension["Name"]: dimension["Value"] for dimension in dimensions or ()}


class LogGroup(Handler):
    """A log group. Its id is its name."""

    resource_type = "aws:cloudwatch/logGroup:LogGroup"
    service = "logs"
    tagging = Tagging(arn="log-group:", shape=dict)
    auto_name = AutoName(max_length=512)
    capitalised = False
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="logGroupName", replaces=True),
        # pulumi-aws changes it in place, by AssociateKmsKey, which moto does not have.
        "kmsKeyId": Property(replaces=True),
        "logGroupClass": Property(replaces=True),
        "retentionInDays": Property(default=0),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        parameters = self.api(without(inputs, "retentionInDays", "tags"))
        cloud.client("logs").create_log_group(**parameters, tags=inputs.get("tags", {}))
        return inputs["name"]

    def configure(self, cloud: Cloud, resource: Resource) -> None:
        if days := resource.inputs.get("retentionInDays"):
            cloud.client("logs").put_retention_policy(
                logGroupName=resource.id, retentionInDays=days
            )

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        logs = cloud.client("logs")
        groups = logs.describe_log_groups(logGroupNamePrefix=resource.id)["logGroups"]
        for group in groups:
            if group["logGroupName"] == resource.id:
                arn = group["arn"].removesuffix(":*")
                tags = logs.list_tags_for_resource(resourceArn=arn).get("tags", {})
                values = {"retentionInDays": 0, **self.wire(without(group, "logGroupClass"))}
                return {**values, **tagged(tags), "arn": arn}
        return None

    def modify(self, cloud: Cloud, change: Update) -> None:
        if not change.new.get("retentionInDays"):
            cloud.client("logs").delete_retention_policy(logGroupName=change.id)
        self.configure(cloud, change.resource)

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("logs").delete_log_group(logGroupName=resource.id)
