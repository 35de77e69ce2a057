"""CloudWatch: alarms, and log groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Update,
    Values,
    dropped_tags,
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
    auto_name = AutoName(max_length=255)
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="AlarmName", replaces=True),
        "actionsEnabled": Property(default=True),
        "alarmActions": Property(api="AlarmActions", unordered=True, exact=True, default=[]),
        "alarmDescription": Property(default=""),
        "comparisonOperator": Property(),
        "datapointsToAlarm": Property(),
        "dimensions": Property(exact=True, default={}),
        "evaluateLowSampleCountPercentiles": Property(api="EvaluateLowSampleCountPercentile"),
        "evaluationPeriods": Property(),
        "extendedStatistic": Property(),
        "insufficientDataActions": Property(unordered=True, exact=True, default=[]),
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
        "thresholdMetricId": Property(),
        "treatMissingData": Property(default="missing"),
        "unit": Property(),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Puts the alarm."""
        parameters = self._parameters(inputs)
        cloud.client("cloudwatch").put_metric_alarm(**parameters, Tags=tag_list(inputs.get("tags")))
        return inputs["name"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the alarm and lists its tags."""
        del inputs
        cloudwatch = cloud.client("cloudwatch")
        alarms: list[Values] = cloudwatch.describe_alarms(AlarmNames=[resource_id])["MetricAlarms"]
        if not alarms:
            return None
        alarm = alarms[0]
        values = self.wire(without(alarm, "Dimensions", "Metrics"))
        values["dimensions"] = _dimension_map(alarm.get("Dimensions"))
        if metrics := alarm.get("Metrics"):
            values["metricQueries"] = [self._query(metric) for metric in metrics]
        tags = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
        return {**values, **tagged(tag_map(tags)), "arn": alarm["AlarmArn"]}

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces the alarm: what is not given goes back to AWS's default."""
        cloudwatch = cloud.client("cloudwatch")
        if change.changed - {"tags"}:
            cloudwatch.put_metric_alarm(**self._parameters(change.new))
        if "tags" in change.changed:
            arn = change.outputs.get("arn") or cloud.arn("cloudwatch", f"alarm:{change.id}")
            if dropped := dropped_tags(change):
                cloudwatch.untag_resource(ResourceARN=arn, TagKeys=dropped)
            if tags := change.new.get("tags"):
                cloudwatch.tag_resource(ResourceARN=arn, Tags=tag_list(tags))
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the alarm."""
        del inputs, outputs
        cloud.client("cloudwatch").delete_alarms(AlarmNames=[resource_id])

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
    auto_name = AutoName(max_length=512)
    capitalised = False
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="logGroupName", replaces=True),
        # pulumi-aws changes it in place, by AssociateKmsKey, which moto does not have.
        "kmsKeyId": Property(replaces=True),
        "logGroupClass": Property(replaces=True),
        "retentionInDays": Property(default=0),
        "skipDestroy": Property(engine_only=True, default=False),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the group; its retention comes after."""
        parameters = self.api(without(inputs, "retentionInDays", "tags"))
        if tags := inputs.get("tags"):
            parameters["tags"] = tags
        cloud.client("logs").create_log_group(**parameters)
        return inputs["name"]

    def configure(self, cloud: Cloud, resource_id: str, inputs: Values) -> None:
        """Sets the retention, if it is limited."""
        if days := inputs.get("retentionInDays"):
            cloud.client("logs").put_retention_policy(
                logGroupName=resource_id, retentionInDays=days
            )

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Finds the group among those whose name starts with its own."""
        del inputs
        logs = cloud.client("logs")
        groups = logs.describe_log_groups(logGroupNamePrefix=resource_id)["logGroups"]
        for group in groups:
            if group["logGroupName"] == resource_id:
                arn = group["arn"].removesuffix(":*")
                tags = logs.list_tags_for_resource(resourceArn=arn).get("tags", {})
                values = {"retentionInDays": 0, **self.wire(without(group, "logGroupClass"))}
                return {**values, **tagged(tags), "arn": arn}
        return None

    def update(self, cloud: Cloud, change: Update) -> str:
        """Sets retention and tags."""
        logs = cloud.client("logs")
        if "retentionInDays" in change.changed:
            if change.new.get("retentionInDays"):
                self.configure(cloud, change.id, dict(change.new))
            else:
                logs.delete_retention_policy(logGroupName=change.id)
        if "tags" in change.changed:
            arn = change.outputs.get("arn") or cloud.arn("logs", f"log-group:{change.id}")
            if dropped := dropped_tags(change):
                logs.untag_resource(resourceArn=arn, tagKeys=dropped)
            if tags := change.new.get("tags"):
                logs.tag_resource(resourceArn=arn, tags=tags)
        return change.id

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the group with its logs, unless it is to be left."""
        del outputs
        if not inputs.get("skipDestroy"):
            cloud.client("logs").delete_log_group(logGroupName=resource_id)
