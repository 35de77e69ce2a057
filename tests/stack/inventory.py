"""Lists the resources of a cloud, of each type that a stack may consist of."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Listed(NamedTuple):
    """How AWS is asked for all resources of a type."""

    service: str
    method: str
    key: str
    name: str | None
    """The field that identifies one; None where the list holds plain names."""
    arguments: Mapping[str, str] = MappingProxyType({})


# What stands inside another resource and goes with it (a policy of a role, of a queue, of a
# bucket, a target of a rule, a route of a table) is not listed by itself in AWS either.
INSIDE = {
    "aws:cloudwatch/eventTarget:EventTarget": "aws:cloudwatch/eventRule:EventRule",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "aws:ec2/routeTable:RouteTable",
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": "aws:ecr/repository:Repository",
    "aws:iam/rolePolicy:RolePolicy": "aws:iam/role:Role",
    "aws:lambda/permission:Permission": "aws:lambda/function:Function",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": "aws:s3/bucket:Bucket",
    "aws:s3/bucketPolicy:BucketPolicy": "aws:s3/bucket:Bucket",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "aws:s3/bucket:Bucket",
    "aws:sns/topicPolicy:TopicPolicy": "aws:sns/topic:Topic",
    "aws:sqs/queuePolicy:QueuePolicy": "aws:sqs/queue:Queue",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": (
        "aws:ec2/securityGroup:SecurityGroup"
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": (
        "aws:ec2/securityGroup:SecurityGroup"
    ),
}

LISTS = {
    "aws:batch/computeEnvironment:ComputeEnvironment": Listed(
        "batch", "describe_compute_environments", "computeEnvironments", "computeEnvironmentName"
    ),
    "aws:batch/jobDefinition:JobDefinition": Listed(
        "batch",
        "describe_job_definitions",
        "jobDefinitions",
        "jobDefinitionArn",
        {"status": "ACTIVE"},
    ),
    "aws:batch/jobQueue:JobQueue": Listed(
        "batch", "describe_job_queues", "jobQueues", "jobQueueName"
    ),
    "aws:cloudwatch/dashboard:Dashboard": Listed(
        "cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"
    ),
    "aws:cloudwatch/eventBus:EventBus": Listed(
        "events", "list_event_buses", "EventBuses", "Name", {"NamePrefix": "sends-"}
    ),
    "aws:cloudwatch/eventRule:EventRule": Listed("events", "list_rules", "Rules", "Name"),
    "aws:cloudwatch/logGroup:LogGroup": Listed(
        "logs", "describe_log_groups", "logGroups", "logGroupName"
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Listed(
        "cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"
    ),
    "aws:dynamodb/table:Table": Listed("dynamodb", "list_tables", "TableNames", None),
    "aws:ec2/launchTemplate:LaunchTemplate": Listed(
        "ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateName"
    ),
    "aws:ec2/routeTable:RouteTable": Listed(
        "ec2", "describe_route_tables", "RouteTables", "RouteTableId"
    ),
    "aws:ec2/securityGroup:SecurityGroup": Listed(
        "ec2", "describe_security_groups", "SecurityGroups", "GroupId"
    ),
    "aws:ec2/subnet:Subnet": Listed("ec2", "describe_subnets", "Subnets", "SubnetId"),
    "aws:ec2/vpc:Vpc": Listed("ec2", "describe_vpcs", "Vpcs", "VpcId"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Listed(
        "ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"
    ),
    "aws:ecr/repository:Repository": Listed(
        "ecr", "describe_repositories", "repositories", "repositoryName"
    ),
    "aws:iam/instanceProfile:InstanceProfile": Listed(
        "iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"
    ),
    "aws:iam/policy:Policy": Listed(
        "iam", "list_policies", "Policies", "PolicyName", {"Scope": "Local"}
    ),
    "aws:iam/role:Role": Listed("iam", "list_roles", "Roles", "RoleName", {"PathPrefix": "/"}),
    "aws:lambda/function:Function": Listed("lambda", "list_functions", "Functions", "FunctionName"),
    "aws:s3/bucket:Bucket": Listed("s3", "list_buckets", "Buckets", "Name"),
    "aws:sfn/stateMachine:StateMachine": Listed(
        "stepfunctions", "list_state_machines", "stateMachines", "name"
    ),
    "aws:sns/topic:Topic": Listed("sns", "list_topics", "Topics", "TopicArn"),
    "aws:sns/topicSubscription:TopicSubscription": Listed(
        "sns", "list_subscriptions", "Subscriptions", "SubscriptionArn"
    ),
    "aws:sqs/queue:Queue": Listed("sqs", "list_queues", "QueueUrls", None),
    "aws:ssm/parameter:Parameter": Listed("ssm", "describe_parameters", "Parameters", "Name"),
}

STORES = frozenset({"aws:dynamodb/table:Table", "aws:s3/bucket:Bucket"})
"""The types that stay when their stack ends, unless the stack says otherwise."""

# A deleted key is kept by AWS for a while, and says so; so is a VPC endpoint.
KEYS = "aws:kms/key:Key"


def inventory(client):
    """Type and name of everything that there is; `client` gives a boto3 client by its name."""
    found = set()
    for kind, listed in LISTS.items():
        answer = getattr(client(listed.service), listed.method)(**listed.arguments)
        for item in answer.get(listed.key, []):
            if listed.name is None:
                found.add((kind, item))
            elif item.get("State") != "deleted":
                found.add((kind, item[listed.name]))
    kms = client("kms")
    for key in kms.list_keys()["Keys"]:
        state = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]
        if state != "PendingDeletion":
            found.add((KEYS, key["KeyId"]))
    # AWS makes it by itself, once per account, and keeps it.
    return {(kind, name) for kind, name in found if not name.startswith("AWSServiceRoleFor")}
