"""A recorded stack as the CloudFormation template that would make the same, for cfn-lint.

Names differ little: pulumi writes `metricName` where CloudFormation writes `MetricName`. What
differs more stands in a function per type.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.stack.synthesized.recording import Recorded, Registration

Values = dict[str, Any]

NOT_TRANSLATED = {
    "docker-build:index:Image": "CloudFormation builds no images",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "part of its bucket",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": "part of its bucket",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        "part of its bucket"
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": "part of its repository",
    "aws:cloudwatch/eventTarget:EventTarget": "part of its rule",
}

WITHOUT_TAGS = {
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::IAM::InstanceProfile",
    "AWS::IAM::ManagedPolicy",
    "AWS::EC2::LaunchTemplate",
}
"""AWS's API takes tags there; CloudFormation's schema has none, or elsewhere."""


def template(recorded: Recorded) -> Values:
    """The whole stack.

    Raises:
        KeyError: A type is neither translated nor in `NOT_TRANSLATED`.
    """
    resources: Values = {}
    for each in recorded.registrations:
        if each.type in NOT_TRANSLATED:
            continue
        kind, properties = _translated(each, recorded)
        logical = re.sub(r"\W|_", "", f"{each.name}-{kind.split('::')[-1]}".title())
        if logical in resources:
            raise KeyError(f"two resources are called {logical}")
        resources[logical] = {"Type": kind, "Properties": properties}
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


def _translated(each: Registration, recorded: Recorded) -> tuple[str, Values]:
    kind, translate = _TYPES[each.type]
    inputs = {name: value for name, value in each.inputs.items() if value is not None}
    tags = inputs.pop("tags", None)
    properties = translate(inputs, recorded)
    if tags and kind not in WITHOUT_TAGS:
        as_map = kind.startswith(("AWS::Batch", "AWS::SSM"))
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        properties["Tags"] = dict(tags) if as_map else listed
    return kind, properties


def pascal(value: Any) -> Any:
    """The same with a capital at the start of every key."""
    if isinstance(value, dict):
        return {name[:1].upper() + name[1:]: pascal(below) for name, below in value.items()}
    return [pascal(below) for below in value] if isinstance(value, list) else value


def renamed(names: Mapping[str, str], *, dropped: tuple[str, ...] = ()) -> Callable[..., Values]:
    """A translation that capitalises, but for some names."""

    def translate(inputs: Values, recorded: Recorded) -> Values:
        del recorded
        plain = {
            name: value
            for name, value in inputs.items()
            if name not in names and name not in dropped
        }
        special = {new: pascal(inputs[old]) for old, new in names.items() if old in inputs}
        return {**pascal(plain), **special}

    return translate


def parsed(translate: Callable[..., Values], *names: str) -> Callable[..., Values]:
    """Another translation, of which some properties are JSON."""

    def with_documents(inputs: Values, recorded: Recorded) -> Values:
        made = translate(inputs, recorded)
        for name in names:
            if made.get(name):
                made[name] = json.loads(made[name])
        return made

    return with_documents


def _inputs_of(recorded: Recorded, kind: str, key: str, value: str) -> list[Values]:
    return [dict(each.inputs) for each in recorded.of_type(kind) if each.inputs[key] == value]


def _bucket(inputs: Values, recorded: Recorded) -> Values:
    name = inputs["bucket"]
    made: Values = {"BucketName": name}
    walls = _inputs_of(
        recorded, "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "bucket", name
    )
    for wall in walls:
        del wall["bucket"]
        made["PublicAccessBlockConfiguration"] = pascal(wall)
    kind = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    for lifecycle in _inputs_of(recorded, kind, "bucket", name):
        made["LifecycleConfiguration"] = {
            "Rules": [_lifecycle_rule(rule) for rule in lifecycle["rules"]]
        }
    kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    for encryption in _inputs_of(recorded, kind, "bucket", name):
        (rule,) = encryption["rules"]
        default = rule["applyServerSideEncryptionByDefault"]
        made["BucketEncryption"] = {
            "ServerSideEncryptionConfiguration": [
                {
                    "BucketKeyEnabled": rule["bucketKeyEnabled"],
                    "ServerSideEncryptionByDefault": {
                        "SSEAlgorithm": default["sseAlgorithm"],
                        "KMSMasterKeyID": default["kmsMasterKeyId"],
                    },
                }
            ]
        }
    return made


def _lifecycle_rule(rule: Values) -> Values:
    made = {"Id": rule["id"], "Status": rule["status"]}
    if prefix := rule["filter"]["prefix"]:
        made["Prefix"] = prefix
    if "expiration" in rule:
        made["ExpirationInDays"] = rule["expiration"]["days"]
    if "abortIncompleteMultipartUpload" in rule:
        made["AbortIncompleteMultipartUpload"] = pascal(rule["abortIncompleteMultipartUpload"])
    return made


def _repository(inputs: Values, recorded: Recorded) -> Values:
    dropped = ("forceDelete", "imageTagMutabilityExclusionFilters")
    made = renamed({"name": "RepositoryName"}, dropped=dropped)(inputs, recorded)
    if filters := inputs.get("imageTagMutabilityExclusionFilters"):
        made["ImageTagMutabilityExclusionFilters"] = [
            {
                "ImageTagMutabilityExclusionFilterType": each["filterType"],
                "ImageTagMutabilityExclusionFilterValue": each["filter"],
            }
            for each in filters
        ]
    kind = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    for lifecycle in _inputs_of(recorded, kind, "repository", inputs["name"]):
        made["LifecyclePolicy"] = {"LifecyclePolicyText": lifecycle["policy"]}
    return made


def _table(inputs: Values, recorded: Recorded) -> Values:
    del recorded
    made = {
        "TableName": inputs["name"],
        "BillingMode": inputs["billingMode"],
        "KeySchema": [{"AttributeName": inputs["hashKey"], "KeyType": "HASH"}],
        "AttributeDefinitions": [
            {"AttributeName": each["name"], "AttributeType": each["type"]}
            for each in inputs["attributes"]
        ],
        "TimeToLiveSpecification": pascal(inputs["ttl"]),
    }
    if encryption := inputs.get("serverSideEncryption"):
        made["SSESpecification"] = {
            "SSEEnabled": encryption["enabled"],
            "SSEType": "KMS",
            "KMSMasterKeyId": encryption["kmsKeyArn"],
        }
    return made


def _dimensions(dimensions: Mapping[str, str]) -> list[Values]:
    return [{"Name": name, "Value": value} for name, value in dimensions.items()]


def _alarm(inputs: Values, recorded: Recorded) -> Values:
    inputs = dict(inputs)
    extra: Values = {}
    if "dimensions" in inputs:
        extra["Dimensions"] = _dimensions(inputs.pop("dimensions"))
    if "metricQueries" in inputs:
        extra["Metrics"] = [_query(query) for query in inputs.pop("metricQueries")]
    names = {"name": "AlarmName", "okActions": "OKActions"}
    return {**renamed(names)(inputs, recorded), **extra}


def _query(query: Values) -> Values:
    made = pascal({name: value for name, value in query.items() if name != "metric"})
    if metric := query.get("metric"):
        made["MetricStat"] = {
            "Metric": {
                "Namespace": metric["namespace"],
                "MetricName": metric["metricName"],
                "Dimensions": _dimensions(metric.get("dimensions", {})),
            },
            "Period": metric["period"],
            "Stat": metric["stat"],
        }
    return made


def _rule(inputs: Values, recorded: Recorded) -> Values:
    made = parsed(renamed({}), "EventPattern")(inputs, recorded)
    kind = "aws:cloudwatch/eventTarget:EventTarget"
    targets = _inputs_of(recorded, kind, "rule", inputs["name"])
    made["Targets"] = [_target(index, each) for index, each in enumerate(targets)]
    return made


def _target(index: int, inputs: Values) -> Values:
    made: Values = {"Id": f"target{index}", "Arn": inputs["arn"]}
    for old, new in (("roleArn", "RoleArn"), ("input", "Input"), ("inputPath", "InputPath")):
        if old in inputs:
            made[new] = inputs[old]
    if letters := inputs.get("deadLetterConfig"):
        made["DeadLetterConfig"] = pascal(letters)
    if retry := inputs.get("retryPolicy"):
        made["RetryPolicy"] = pascal(retry)
    if batch := inputs.get("batchTarget"):
        parameters = {"JobDefinition": batch["jobDefinition"], "JobName": batch["jobName"]}
        if batch.get("arraySize"):
            parameters["ArrayProperties"] = {"Size": batch["arraySize"]}
        made["BatchParameters"] = parameters
    return made


def _job_definition(inputs: Values, recorded: Recorded) -> Values:
    made = parsed(
        renamed({"name": "JobDefinitionName"}, dropped=("deregisterOnNewRevision",)),
        "ContainerProperties",
    )(inputs, recorded)
    container = made["ContainerProperties"]
    options = container["logConfiguration"].pop("options")
    container = pascal(container)
    container["LogConfiguration"]["Options"] = options
    made["ContainerProperties"] = container
    retries = made["RetryStrategy"]
    retries["EvaluateOnExit"] = retries.pop("EvaluateOnExits")
    return made


def _job_queue(inputs: Values, recorded: Recorded) -> Values:
    names = {"name": "JobQueueName", "computeEnvironmentOrders": "ComputeEnvironmentOrder"}
    return renamed(names)(inputs, recorded)


def _compute_environment(inputs: Values, recorded: Recorded) -> Values:
    made = renamed({"name": "ComputeEnvironmentName"})(inputs, recorded)
    resources = made["ComputeResources"]
    for old, new in (
        ("MinVcpus", "MinvCpus"),
        ("MaxVcpus", "MaxvCpus"),
        ("DesiredVcpus", "DesiredvCpus"),
        ("Ec2Configurations", "Ec2Configuration"),
    ):
        if old in resources:
            resources[new] = resources.pop(old)
    if "tags" in inputs["computeResources"]:
        resources["Tags"] = inputs["computeResources"]["tags"]
    return made


def _launch_template(inputs: Values, recorded: Recorded) -> Values:
    del recorded
    outside = {"name", "description", "updateDefaultVersion"}
    data = pascal({name: value for name, value in inputs.items() if name not in outside})
    for each in data.get("TagSpecifications", ()):
        each["Tags"] = [{"Key": key, "Value": value} for key, value in each["Tags"].items()]
    for each in data.get("BlockDeviceMappings", ()):
        for name in ("DeleteOnTermination", "Encrypted"):
            if isinstance(each.get("Ebs", {}).get(name), str):
                each["Ebs"][name] = each["Ebs"][name] == "true"
    return {"LaunchTemplateName": inputs["name"], "LaunchTemplateData": data}


def _group_rule(inputs: Values, recorded: Recorded) -> Values:
    names = {
        "securityGroupId": "GroupId",
        "cidrIpv4": "CidrIp",
        "referencedSecurityGroupId": "SourceSecurityGroupId",
    }
    return renamed(names)(inputs, recorded)


def _function(inputs: Values, recorded: Recorded) -> Values:
    made = renamed(
        {"name": "FunctionName"}, dropped=("code", "environment", "sourceCodeHash", "publish")
    )(inputs, recorded)
    made["Code"] = {"ZipFile": "# the archive itself is not looked at here"}
    if environment := inputs.get("environment"):
        made["Environment"] = {"Variables": dict(environment["variables"])}
    return made


def _state_machine(inputs: Values, recorded: Recorded) -> Values:
    names = {"name": "StateMachineName", "definition": "DefinitionString"}
    made = renamed({**names, "type": "StateMachineType"}, dropped=("publish",))(inputs, recorded)
    if logging := made.get("LoggingConfiguration"):
        group = logging.pop("LogDestination")
        logging["Destinations"] = [{"CloudWatchLogsLogGroup": {"LogGroupArn": group}}]
    return made


_POLICY = "PolicyDocument"
_TYPES: dict[str, tuple[str, Callable[..., Values]]] = {
    "aws:sqs/queue:Queue": (
        "AWS::SQS::Queue",
        parsed(
            renamed(
                {
                    "name": "QueueName",
                    "visibilityTimeoutSeconds": "VisibilityTimeout",
                    "messageRetentionSeconds": "MessageRetentionPeriod",
                }
            ),
            "RedrivePolicy",
        ),
    ),
    "aws:sqs/queuePolicy:QueuePolicy": (
        "AWS::SQS::QueuePolicy",
        lambda inputs, recorded: {
            "Queues": [inputs["queueUrl"]],
            _POLICY: json.loads(inputs["policy"]),
        },
    ),
    "aws:sns/topic:Topic": ("AWS::SNS::Topic", renamed({"name": "TopicName"})),
    "aws:sns/topicPolicy:TopicPolicy": (
        "AWS::SNS::TopicPolicy",
        lambda inputs, recorded: {
            "Topics": [inputs["arn"]],
            _POLICY: json.loads(inputs["policy"]),
        },
    ),
    "aws:sns/topicSubscription:TopicSubscription": (
        "AWS::SNS::Subscription",
        renamed({"topic": "TopicArn"}),
    ),
    "aws:kms/key:Key": (
        "AWS::KMS::Key",
        parsed(
            renamed({"policy": "KeyPolicy", "deletionWindowInDays": "PendingWindowInDays"}),
            "KeyPolicy",
        ),
    ),
    "aws:ssm/parameter:Parameter": ("AWS::SSM::Parameter", renamed({"insecureValue": "Value"})),
    "aws:iam/role:Role": (
        "AWS::IAM::Role",
        parsed(
            renamed({"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"}),
            "AssumeRolePolicyDocument",
        ),
    ),
    # AWS::IAM::RolePolicy says the same, but checkov looks into this one only.
    "aws:iam/rolePolicy:RolePolicy": (
        "AWS::IAM::Policy",
        lambda inputs, recorded: {
            "PolicyName": inputs["name"],
            "Roles": [inputs["role"]],
            _POLICY: json.loads(inputs["policy"]),
        },
    ),
    "aws:iam/policy:Policy": (
        "AWS::IAM::ManagedPolicy",
        parsed(renamed({"name": "ManagedPolicyName", "policy": _POLICY}), _POLICY),
    ),
    "aws:iam/instanceProfile:InstanceProfile": (
        "AWS::IAM::InstanceProfile",
        lambda inputs, recorded: {
            "InstanceProfileName": inputs["name"],
            "Roles": [inputs["role"]],
        },
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": ("AWS::CloudWatch::Alarm", _alarm),
    "aws:cloudwatch/dashboard:Dashboard": ("AWS::CloudWatch::Dashboard", renamed({})),
    "aws:cloudwatch/eventRule:EventRule": ("AWS::Events::Rule", _rule),
    "aws:cloudwatch/logGroup:LogGroup": (
        "AWS::Logs::LogGroup",
        renamed({"name": "LogGroupName"}, dropped=("skipDestroy",)),
    ),
    "aws:dynamodb/table:Table": ("AWS::DynamoDB::Table", _table),
    "aws:s3/bucket:Bucket": ("AWS::S3::Bucket", _bucket),
    "aws:s3/bucketPolicy:BucketPolicy": (
        "AWS::S3::BucketPolicy",
        parsed(renamed({"policy": _POLICY}), _POLICY),
    ),
    "aws:ecr/repository:Repository": ("AWS::ECR::Repository", _repository),
    "aws:batch/jobDefinition:JobDefinition": ("AWS::Batch::JobDefinition", _job_definition),
    "aws:batch/jobQueue:JobQueue": ("AWS::Batch::JobQueue", _job_queue),
    "aws:batch/computeEnvironment:ComputeEnvironment": (
        "AWS::Batch::ComputeEnvironment",
        _compute_environment,
    ),
    "aws:lambda/function:Function": ("AWS::Lambda::Function", _function),
    "aws:cloudwatch/eventBus:EventBus": ("AWS::Events::EventBus", renamed({})),
    "aws:lambda/permission:Permission": (
        "AWS::Lambda::Permission",
        renamed({"function": "FunctionName"}, dropped=("statementId",)),
    ),
    "aws:sfn/stateMachine:StateMachine": ("AWS::StepFunctions::StateMachine", _state_machine),
    "aws:ec2/vpc:Vpc": ("AWS::EC2::VPC", renamed({})),
    "aws:ec2/subnet:Subnet": ("AWS::EC2::Subnet", renamed({})),
    "aws:ec2/internetGateway:InternetGateway": (
        "AWS::EC2::InternetGateway",
        renamed({}, dropped=("vpcId",)),
    ),
    "aws:ec2/routeTable:RouteTable": ("AWS::EC2::RouteTable", renamed({})),
    "aws:ec2/route:Route": ("AWS::EC2::Route", renamed({})),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": (
        "AWS::EC2::SubnetRouteTableAssociation",
        renamed({}),
    ),
    "aws:ec2/securityGroup:SecurityGroup": (
        "AWS::EC2::SecurityGroup",
        renamed({"name": "GroupName", "description": "GroupDescription"}),
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": (
        "AWS::EC2::SecurityGroupEgress",
        _group_rule,
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": (
        "AWS::EC2::SecurityGroupIngress",
        _group_rule,
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": (
        "AWS::EC2::VPCEndpoint",
        parsed(renamed({"policy": _POLICY}), _POLICY),
    ),
    "aws:ec2/eip:Eip": ("AWS::EC2::EIP", renamed({})),
    "aws:ec2/natGateway:NatGateway": ("AWS::EC2::NatGateway", renamed({})),
    "aws:ec2/launchTemplate:LaunchTemplate": ("AWS::EC2::LaunchTemplate", _launch_template),
}  # fmt: skip
