"""Cases of the handlers beside queues, jobs and networks: see test_handlers.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from local.engine import Action
from tests.engine.cases import GROUP, PERMISSION, POLICY, ROLE, SUBNET, TABLE, Case, described

if TYPE_CHECKING:
    from tests.engine.conftest import Project

BUCKET = 'b = aws.s3.Bucket("b")\n'
TOPIC = 'topic = aws.sns.Topic("topic")\n'


def attribute(service, method, key, name):
    """A text attribute that holds JSON."""
    ask = described(service, method, key, "Attributes")
    return lambda project, resource_id: ask(project, resource_id)[name]


def action_of(policy):
    (statement,) = json.loads(policy)["Statement"]
    return statement["Action"]


def of_bucket(method, *path):
    return described("s3", method, lambda bucket: {"Bucket": bucket}, *path)


def key_description(project: Project, key):
    found = project.client("kms").describe_key(KeyId=key)["KeyMetadata"]
    if found["KeyState"] == "PendingDeletion":
        raise ValueError(key)
    return found["Description"], project.client("kms").get_key_rotation_status(KeyId=key)[
        "KeyRotationEnabled"
    ]


def policy_action(project: Project, arn):
    iam = project.client("iam")
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    answer = iam.get_policy_version(PolicyArn=arn, VersionId=version)
    return answer["PolicyVersion"]["Document"]["Statement"][0]["Action"]


def latest_volume(project: Project, template):
    answer = project.client("ec2").describe_launch_template_versions(
        LaunchTemplateId=template, Versions=["$Latest"]
    )
    (version,) = answer["LaunchTemplateVersions"]
    (mapping,) = version["LaunchTemplateData"]["BlockDeviceMappings"]
    return mapping["Ebs"]["VolumeSize"], mapping["Ebs"]["Encrypted"]


def gateway_subnet(project: Project, gateway):
    ec2 = project.client("ec2")
    (found,) = ec2.describe_nat_gateways(NatGatewayIds=[gateway])["NatGateways"]
    if found["State"] == "deleted":
        raise ValueError(gateway)
    return found["Tags"]


def endpoint_tables(project: Project, endpoint):
    ec2 = project.client("ec2")
    (found,) = ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint])["VpcEndpoints"]
    made = ec2_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].vpc_end_points[endpoint]
    if made.state == "deleted":  # which moto never shows
        raise ValueError(endpoint)
    return len(found["RouteTableIds"])


def ingress(project: Project, _id):
    groups = project.client("ec2").describe_security_groups()["SecurityGroups"]
    (group,) = (found for found in groups if found["GroupName"] != "default")
    return [rule.get("FromPort") for rule in group["IpPermissions"]]


def bus_of(project, name):
    """Its name, the pattern of its one rule, and how many targets that has."""
    events = project.client("events")
    (rule,) = events.list_rules(EventBusName=name)["Rules"]
    targets = events.list_targets_by_rule(EventBusName=name, Rule=rule["Name"])["Targets"]
    bus = events.describe_event_bus(Name=name)["Name"]
    return bus, json.loads(rule["EventPattern"])["source"], len(targets)


def permitted_rules(project, statement_id):
    client = project.client("lambda")
    (function,) = client.list_functions()["Functions"]
    policy = client.get_policy(FunctionName=function["FunctionName"])["Policy"]
    return [
        statement["Condition"]["ArnLike"]["AWS:SourceArn"].rpartition("/")[2]
        for statement in json.loads(policy)["Statement"]
        if statement["Sid"] == statement_id
    ]


CASES = [
    Case(
        "aws:sfn/stateMachine:StateMachine",
        ROLE
        + """group = aws.cloudwatch.LogGroup("group")
it = aws.sfn.StateMachine("it", role_arn=role.arn, tags={"v": "<V>"},
    logging_configuration={"level": "ERROR", "include_execution_data": True,
        "log_destination": group.arn.apply(lambda arn: f"{arn}:*")},
    tracing_configuration={"enabled": False},
    definition=json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": "<V>",
        "End": True}}}))""",
        "x",
        "y",
        lambda project, arn: json.loads(
            project.client("stepfunctions").describe_state_machine(stateMachineArn=arn)[
                "definition"
            ]
        )["States"]["A"]["Result"],
        ("x", "y"),
    ),
    Case(
        "aws:lambda/function:Function",
        ROLE
        + """it = aws.lambda_.Function("it", role=role.arn, runtime="python3.13", timeout=30,
    handler="m.handle", code=pulumi.AssetArchive({"m.py": pulumi.StringAsset("x = 1")}),
    memory_size=256, environment={"variables": {"V": "<V>"}}, tags={"v": "<V>"},
    description="<V>",
    kms_key_arn="arn:aws:kms:us-east-1:123456789012:key/1")""",
        "x",
        "y",
        described(
            "lambda",
            "get_function_configuration",
            lambda name: {"FunctionName": name},
            "Environment",
            "Variables",
            "V",
        ),
        ("x", "y"),
    ),
    Case(
        "aws:sns/topic:Topic",
        'it = aws.sns.Topic("it", display_name="<V>", tags={"v": "<V>"})',
        "x",
        "y",
        attribute("sns", "get_topic_attributes", lambda arn: {"TopicArn": arn}, "DisplayName"),
        ("x", "y"),
    ),
    Case(
        "aws:sns/topicSubscription:TopicSubscription",
        TOPIC
        + """it = aws.sns.TopicSubscription("it", topic=topic.arn, protocol="sqs",
    endpoint="arn:aws:sqs:us-east-1:123456789012:q", filter_policy=json.dumps({"a": ["<V>"]}))""",
        "x",
        "y",
        attribute(
            "sns",
            "get_subscription_attributes",
            lambda arn: {"SubscriptionArn": arn},
            "FilterPolicy",
        ),
        ('{"a": ["x"]}', '{"a": ["y"]}'),
    ),
    Case(
        "aws:sns/topicPolicy:TopicPolicy",
        TOPIC
        + f'it = aws.sns.TopicPolicy("it", arn=topic.arn, policy={POLICY})'.replace(
            "ACTION", "<V>"
        ),
        "sns:Publish",
        "sns:Subscribe",
        lambda project, arn: action_of(
            project.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]["Policy"]
        ),
        ("sns:Publish", "sns:Subscribe"),
    ),
    Case(
        "aws:ssm/parameter:Parameter",
        'it = aws.ssm.Parameter("it", name="/a/it", type="String", value="<V>", tags={"v": "<V>"})',
        "x",
        "y",
        described("ssm", "get_parameter", lambda name: {"Name": name}, "Parameter", "Value"),
        ("x", "y"),
    ),
    Case(
        "aws:kms/key:Key",
        'it = aws.kms.Key("it", description="<V>", enable_key_rotation="<V>" == "x", '
        'deletion_window_in_days=7, tags={"v": "<V>"})',
        "x",
        "y",
        key_description,
        (("x", True), ("y", False)),
    ),
    Case(
        "aws:cloudwatch/dashboard:Dashboard",
        """it = aws.cloudwatch.Dashboard("it", dashboard_name="d",
    dashboard_body=json.dumps({"widgets": [
    {"type": "text", "x": 0, "y": 0, "width": 3, "height": 3,
     "properties": {"markdown": "<V>"}}]}))""",
        "x",
        "y",
        lambda project, name: json.loads(
            project.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"]
        )["widgets"][0]["properties"]["markdown"],
        ("x", "y"),
    ),
    Case(
        "aws:iam/policy:Policy",
        f'it = aws.iam.Policy("it", policy={PERMISSION}, tags={{"v": "<V>"}})',
        "sqs:A",
        "sqs:B",
        policy_action,
        ("sqs:A", "sqs:B"),
    ),
    Case(
        "aws:ec2/launchTemplate:LaunchTemplate",
        """it = aws.ec2.LaunchTemplate("it", tags={"v": "<V>"},
    block_device_mappings=[{"device_name": "/dev/xvda", "ebs": {"volume_size": <V>,
        "encrypted": "true", "delete_on_termination": "true", "volume_type": "gp3"}}],
    metadata_options={"http_tokens": "required", "http_endpoint": "enabled"})""",
        "30",
        "60",
        latest_volume,
        ((30, True), (60, True)),
    ),
    Case(
        "aws:ec2/eip:Eip",
        'it = aws.ec2.Eip("it", domain="vpc", tags={"v": "<V>"})',
        "x",
        "y",
        described(
            "ec2",
            "describe_addresses",
            lambda address: {"AllocationIds": [address]},
            "Addresses",
            0,
            "Tags",
        ),
        ([{"Key": "v", "Value": "x"}], [{"Key": "v", "Value": "y"}]),
    ),
    Case(
        "aws:ec2/natGateway:NatGateway",
        SUBNET
        + """address = aws.ec2.Eip("address", domain="vpc")
it = aws.ec2.NatGateway("it", allocation_id=address.id, subnet_id=subnet.id, tags={"v": "<V>"})""",
        "x",
        "y",
        gateway_subnet,
        ([{"Key": "v", "Value": "x"}], [{"Key": "v", "Value": "y"}]),
    ),
    Case(
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        TABLE
        + """it = aws.ec2.VpcEndpoint("it", vpc_id=vpc.id, vpc_endpoint_type="Gateway",
    service_name="com.amazonaws.us-east-1.s3", route_table_ids=[table.id][:<V>],
    tags={"v": "<V>"})""",
        "1",
        "0",
        endpoint_tables,
        (1, 0),
    ),
    Case(
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        GROUP
        + """it = aws.vpc.SecurityGroupIngressRule("it", security_group_id=group.id,
    ip_protocol="tcp", from_port=<V>, to_port=<V>, cidr_ipv4="10.0.0.0/16")""",
        "443",
        "80",
        ingress,
        ([443], [80]),
        Action.REPLACED,
    ),
    Case(
        "aws:s3/bucketPolicy:BucketPolicy",
        BUCKET
        + f'it = aws.s3.BucketPolicy("it", bucket=b.id, policy={POLICY})'.replace("ACTION", "<V>"),
        "s3:GetObject",
        "s3:PutObject",
        lambda project, bucket: action_of(
            project.client("s3").get_bucket_policy(Bucket=bucket)["Policy"]
        ),
        ("s3:GetObject", "s3:PutObject"),
    ),
    Case(
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        BUCKET
        + """it = aws.s3.BucketLifecycleConfiguration("it", bucket=b.id, rules=[
    {"id": "scratch", "status": "Enabled", "filter": {"prefix": "scratch/"},
     "expiration": {"days": <V>}},
    {"id": "parts", "status": "Enabled",
     "abort_incomplete_multipart_upload": {"days_after_initiation": 2}}])""",
        "3",
        "4",
        of_bucket("get_bucket_lifecycle_configuration", "Rules", 0, "Expiration", "Days"),
        (3, 4),
    ),
    Case(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        BUCKET
        + """it = aws.s3.BucketServerSideEncryptionConfiguration("it", bucket=b.id, rules=[
    {"apply_server_side_encryption_by_default": {"sse_algorithm": "<V>"},
     "bucket_key_enabled": True}])""",
        "AES256",
        "aws:kms",
        of_bucket(
            "get_bucket_encryption",
            "ServerSideEncryptionConfiguration",
            "Rules",
            0,
            "ApplyServerSideEncryptionByDefault",
            "SSEAlgorithm",
        ),
        ("AES256", "aws:kms"),
    ),
    Case(
        "aws:cloudwatch/eventBus:EventBus",
        """it = aws.cloudwatch.EventBus("it", name="bus-<V>", tags={"v": "1"})
rule = aws.cloudwatch.EventRule("rule", event_bus_name=it.name, tags={"v": "<V>"},
    event_pattern=json.dumps({"source": ["<V>"]}))
aws.cloudwatch.EventTarget("target", event_bus_name=it.name, rule=rule.name,
    arn="arn:aws:sqs:us-east-1:123456789012:q")""",
        "x",
        "y",
        bus_of,
        (("bus-x", ["x"], 1), ("bus-y", ["y"], 1)),
        Action.REPLACED,
    ),
    Case(
        "aws:lambda/permission:Permission",
        ROLE
        + """function = aws.lambda_.Function("function", role=role.arn, runtime="python3.13",
    handler="m.handle", code=pulumi.AssetArchive({"m.py": pulumi.StringAsset("x = 1")}))
it = aws.lambda_.Permission("it", action="lambda:InvokeFunction", function=function.name,
    principal="events.amazonaws.com",
    source_arn="arn:aws:events:us-east-1:123456789012:rule/<V>")""",
        "x",
        "y",
        permitted_rules,
        (["x"], ["y"]),
        Action.REPLACED,
    ),
]
