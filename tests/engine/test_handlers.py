"""Every resource type is made, read back, changed in place and deleted, for real."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from local.engine import Action
from local.engine.handlers import HANDLERS
from tests.engine import service_cases
from tests.engine.cases import (
    GROUP,
    PERMISSION,
    POLICY,
    ROLE,
    SUBNET,
    TABLE,
    TRUST,
    VPC,
    Case,
    described,
)

COMPUTE = """
def compute(name):
    return aws.batch.ComputeEnvironment(name, type="UNMANAGED")
"""
RULE = 'rule = aws.cloudwatch.EventRule("rule", schedule_expression="rate(5 minutes)")\n'


def sqs_attribute(name):
    def ask(project, url):
        answer = project.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return answer["Attributes"].get(name)

    return ask


def alarm_queries(project, name):
    (alarm,) = project.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return alarm["Metrics"][0]["MetricStat"]["Metric"]["Dimensions"]


def target(project, _id):
    (rule,) = project.client("events").list_rules()["Rules"]
    (found,) = project.client("events").list_targets_by_rule(Rule=rule["Name"])["Targets"]
    return found["BatchParameters"]["JobName"], found["DeadLetterConfig"]


def attached(project, _id):
    iam = project.client("iam")
    (role,) = iam.list_roles()["Roles"]
    found = iam.list_attached_role_policies(RoleName=role["RoleName"])["AttachedPolicies"]
    return [policy["PolicyArn"] for policy in found]


def attachment_vpc(project, gateway):
    answer = project.client("ec2").describe_internet_gateways(InternetGatewayIds=[gateway])
    (place,) = answer["InternetGateways"][0]["Attachments"]
    (vpc,) = project.client("ec2").describe_vpcs(VpcIds=[place["VpcId"]])["Vpcs"]
    return vpc["CidrBlock"]


def egress(project, _id):
    groups = project.client("ec2").describe_security_groups()["SecurityGroups"]
    (group,) = (found for found in groups if found["GroupName"] != "default")
    return [
        (rule.get("FromPort"), [item["CidrIp"] for item in rule["IpRanges"]])
        for rule in group["IpPermissionsEgress"]
    ]


def group_tag_and_egress(project, group_id):
    answer = project.client("ec2").describe_security_groups(GroupIds=[group_id])
    (group,) = answer["SecurityGroups"]
    return group["Tags"][0]["Value"], group["IpPermissionsEgress"]


def route_kind(project, _id):
    tables = project.client("ec2").describe_route_tables()["RouteTables"]
    routes = [route for table in tables for route in table["Routes"]]
    (found,) = (route for route in routes if route.get("DestinationCidrBlock") == "0.0.0.0/0")
    gateway = found["GatewayId"]
    answer = project.client("ec2").describe_internet_gateways(InternetGatewayIds=[gateway])
    (tag,) = answer["InternetGateways"][0]["Tags"]
    return tag["Value"]


def associated(project, association):
    tables = project.client("ec2").describe_route_tables()["RouteTables"]
    (table,) = (
        found
        for found in tables
        for item in found["Associations"]
        if item["RouteTableAssociationId"] == association
    )
    return table["Tags"][0]["Value"]


def expiry(project, name):
    dynamodb = project.client("dynamodb")
    return dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"][
        "TimeToLiveStatus"
    ]


def bucket_tags(project, name):
    return project.client("s3").get_bucket_tagging(Bucket=name)["TagSet"]


CASES = [
    Case(
        "aws:sqs/queue:Queue",
        'it = aws.sqs.Queue("it", <V>)',
        'redrive_allow_policy=json.dumps({"redrivePermission": "denyAll"}), delay_seconds=4',
        "max_message_size=2048, receive_wait_time_seconds=20, delay_seconds=5",
        sqs_attribute("DelaySeconds"),
        ("4", "5"),
    ),
    Case(
        "aws:sqs/queuePolicy:QueuePolicy",
        'q = aws.sqs.Queue("q")\nit = aws.sqs.QueuePolicy("it", queue_url=q.url, policy=<V>)',
        POLICY.replace("ACTION", "sqs:SendMessage"),
        POLICY.replace("ACTION", "sqs:ReceiveMessage"),
        lambda project, url: json.loads(sqs_attribute("Policy")(project, url))["Statement"][0][
            "Action"
        ],
        ("sqs:SendMessage", "sqs:ReceiveMessage"),
    ),
    Case(
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        """it = aws.cloudwatch.MetricAlarm("it", comparison_operator="GreaterThanThreshold",
            evaluation_periods=1, threshold=1, tags={"v": "<V>"}, metric_queries=[{"id": "a",
            "return_data": True, "metric": {"metric_name": "M", "namespace": "N", "period": 60,
            "stat": "Sum", "dimensions": {"Queue": "<V>"}}}])""",
        "x",
        "y",
        alarm_queries,
        ([{"Name": "Queue", "Value": "x"}], [{"Name": "Queue", "Value": "y"}]),
    ),
    Case(
        "aws:cloudwatch/eventRule:EventRule",
        'it = aws.cloudwatch.EventRule("it", event_pattern=json.dumps({"source": ["<V>"]}), '
        'state="ENABLED", tags={"v": "<V>"})',
        "x",
        "y",
        described("events", "describe_rule", lambda name: {"Name": name}, "EventPattern"),
        ('{"source": ["x"]}', '{"source": ["y"]}'),
    ),
    Case(
        "aws:cloudwatch/eventTarget:EventTarget",
        RULE
        + """it = aws.cloudwatch.EventTarget("it", rule=rule.name, role_arn="arn:aws:iam::1:role/r",
            arn="arn:aws:batch:us-east-1:123456789012:job-queue/q",
            batch_target={"job_definition": "d", "job_name": "<V>", "array_size": 2},
            dead_letter_config={"arn": "arn:aws:sqs:us-east-1:123456789012:d"})""",
        "x",
        "y",
        target,
        tuple((name, {"Arn": "arn:aws:sqs:us-east-1:123456789012:d"}) for name in "xy"),
    ),
    Case(
        "aws:cloudwatch/logGroup:LogGroup",
        'it = aws.cloudwatch.LogGroup("it", <V>)',
        'retention_in_days=7, tags={"v": "x"}',
        'tags={"v": "y"}',
        lambda project, name: (
            project.client("logs")
            .describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]
            .get("retentionInDays")
        ),
        (7, None),
    ),
    Case(
        "aws:batch/computeEnvironment:ComputeEnvironment",
        SUBNET
        + """group = aws.ec2.SecurityGroup("group", vpc_id=vpc.id)
it = aws.batch.ComputeEnvironment("it", type="MANAGED", state="<V>", tags={"v": "<V>"},
            compute_resources={"type": "FARGATE_SPOT", "max_vcpus": 4, "subnets": [subnet.id],
            "security_group_ids": [group.id]})""",
        "ENABLED",
        "DISABLED",
        described(
            "batch",
            "describe_compute_environments",
            lambda arn: {"computeEnvironments": [arn]},
            "computeEnvironments",
            0,
            "state",
        ),
        ("ENABLED", "DISABLED"),
    ),
    Case(
        "aws:batch/jobQueue:JobQueue",
        COMPUTE
        + """one = compute("one")
it = aws.batch.JobQueue("it", priority=<V>, state="ENABLED", tags={"v": "<V>"},
    compute_environment_orders=[{"order": 1, "compute_environment": one.arn}],
    job_state_time_limit_actions=[{"action": "CANCEL", "max_time_seconds": 600,
        "reason": "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", "state": "RUNNABLE"}])""",
        "1",
        "2",
        described(
            "batch",
            "describe_job_queues",
            lambda arn: {"jobQueues": [arn]},
            "jobQueues",
            0,
            "priority",
        ),
        (1, 2),
    ),
    Case(
        "aws:batch/jobDefinition:JobDefinition",
        """it = aws.batch.JobDefinition("it", type="container", propagate_tags=True,
            scheduling_priority=1, timeout={"attempt_duration_seconds": <V>},
            retry_strategy={"attempts": 2, "evaluate_on_exits": [
                {"action": "EXIT", "on_exit_code": "0"}]},
            container_properties=json.dumps({"image": "i", "vcpus": 1, "memory": 64}))""",
        "60",
        "90",
        described(
            "batch",
            "describe_job_definitions",
            lambda arn: {"jobDefinitions": [arn], "status": "ACTIVE"},
            "jobDefinitions",
            0,
            "timeout",
            "attemptDurationSeconds",
        ),
        (60, 90),
    ),
    Case(
        "aws:iam/role:Role",
        f'it = aws.iam.Role("it", description="<V>", assume_role_policy={TRUST}, '
        'tags={"v": "<V>"}, max_session_duration=7200)',
        "x.com",
        "y.com",
        described("iam", "get_role", lambda name: {"RoleName": name}, "Role", "Description"),
        ("x.com", "y.com"),
    ),
    Case(
        "aws:iam/rolePolicy:RolePolicy",
        ROLE + f'it = aws.iam.RolePolicy("it", role=role.name, policy={PERMISSION})',
        "sqs:A",
        "sqs:B",
        lambda project, resource_id: project.client("iam").get_role_policy(
            RoleName=resource_id.split(":")[0], PolicyName=resource_id.split(":")[1]
        )["PolicyDocument"]["Statement"][0]["Action"],
        ("sqs:A", "sqs:B"),
    ),
    Case(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        ROLE + 'it = aws.iam.RolePolicyAttachment("it", role=role.name, '
        'policy_arn="arn:aws:iam::123456789012:policy/<V>")',
        "one",
        "two",
        attached,
        (["arn:aws:iam::123456789012:policy/one"], ["arn:aws:iam::123456789012:policy/two"]),
        Action.REPLACED,
    ),
    Case(
        "aws:iam/instanceProfile:InstanceProfile",
        ROLE
        + ROLE.replace('"role"', '"other"').replace("role =", "other =")
        + 'it = aws.iam.InstanceProfile("it", role=<V>.name, tags={"v": "<V>"})',
        "role",
        "other",
        lambda project, name: (
            project.client("iam")
            .get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"][0][
                "RoleName"
            ]
            .rpartition("-")[0]
        ),
        ("role", "other"),
    ),
    Case(
        "aws:ecr/repository:Repository",
        'it = aws.ecr.Repository("it", image_tag_mutability="<V>", tags={"v": "<V>"}, '
        "image_scanning_configuration={'scan_on_push': '<V>' == 'IMMUTABLE'}, force_delete=True, "
        'encryption_configurations=[{"encryption_type": "AES256"}])',
        "MUTABLE",
        "IMMUTABLE",
        described(
            "ecr",
            "describe_repositories",
            lambda name: {"repositoryNames": [name]},
            "repositories",
            0,
            "imageTagMutability",
        ),
        ("MUTABLE", "IMMUTABLE"),
    ),
    Case(
        "aws:ecr/repository:Repository",
        'it = aws.ecr.Repository("it", image_tag_mutability="IMMUTABLE_WITH_EXCLUSION", '
        'tags={"v": "<V>"}, image_tag_mutability_exclusion_filters='
        '[{"filter": "<V>", "filter_type": "WILDCARD"}])',
        "*-x86_64-*",
        "*-arm64-*",
        described(
            "ecr",
            "describe_repositories",
            lambda name: {"repositoryNames": [name]},
            "repositories",
            0,
            "imageTagMutabilityExclusionFilters",
            0,
            "filter",
        ),
        ("*-x86_64-*", "*-arm64-*"),
    ),
    Case(
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        """r = aws.ecr.Repository("r")
it = aws.ecr.LifecyclePolicy("it", repository=r.name, policy=json.dumps({"rules": [
    {"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan",
     "countNumber": <V>}, "action": {"type": "expire"}}]}))""",
        "3",
        "4",
        lambda project, name: json.loads(
            project.client("ecr").get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"]
        )["rules"][0]["selection"]["countNumber"],
        (3, 4),
    ),
    Case(
        "aws:ec2/vpc:Vpc",
        'it = aws.ec2.Vpc("it", cidr_block="10.0.0.0/16", enable_dns_hostnames=<V>, '
        'tags={"v": "<V>"})',
        "True",
        "False",
        described(
            "ec2",
            "describe_vpc_attribute",
            lambda vpc: {"VpcId": vpc, "Attribute": "enableDnsHostnames"},
            "EnableDnsHostnames",
            "Value",
        ),
        (True, False),
    ),
    Case(
        "aws:ec2/subnet:Subnet",
        VPC + 'it = aws.ec2.Subnet("it", vpc_id=vpc.id, cidr_block="10.0.1.0/24", '
        'availability_zone="us-east-1b", map_public_ip_on_launch=<V>, tags={"v": "<V>"})',
        "True",
        "False",
        described(
            "ec2",
            "describe_subnets",
            lambda subnet: {"SubnetIds": [subnet]},
            "Subnets",
            0,
            "MapPublicIpOnLaunch",
        ),
        (True, False),
    ),
    Case(
        "aws:ec2/internetGateway:InternetGateway",
        VPC
        + 'other = aws.ec2.Vpc("other", cidr_block="10.9.0.0/16")\n'
        + 'it = aws.ec2.InternetGateway("it", vpc_id=<V>.id, tags={"v": "<V>"})',
        "vpc",
        "other",
        attachment_vpc,
        ("10.0.0.0/16", "10.9.0.0/16"),
    ),
    Case(
        "aws:ec2/routeTable:RouteTable",
        VPC + 'it = aws.ec2.RouteTable("it", vpc_id=vpc.id, tags={"v": "<V>"})',
        "x",
        "y",
        described(
            "ec2",
            "describe_route_tables",
            lambda table: {"RouteTableIds": [table]},
            "RouteTables",
            0,
            "Tags",
        ),
        ([{"Key": "v", "Value": "x"}], [{"Key": "v", "Value": "y"}]),
    ),
    Case(
        "aws:ec2/route:Route",
        TABLE
        + """one = aws.ec2.InternetGateway("one", vpc_id=vpc.id, tags={"n": "one"})
other_vpc = aws.ec2.Vpc("other", cidr_block="10.9.0.0/16")
two = aws.ec2.InternetGateway("two", vpc_id=other_vpc.id, tags={"n": "two"})
it = aws.ec2.Route("it", route_table_id=table.id, destination_cidr_block="0.0.0.0/0",
    gateway_id=<V>.id)""",
        "one",
        "two",
        route_kind,
        ("one", "two"),
    ),
    Case(
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        SUBNET
        + """one = aws.ec2.RouteTable("one", vpc_id=vpc.id, tags={"n": "one"})
two = aws.ec2.RouteTable("two", vpc_id=vpc.id, tags={"n": "two"})
it = aws.ec2.RouteTableAssociation("it", subnet_id=subnet.id, route_table_id=<V>.id)""",
        "one",
        "two",
        associated,
        ("one", "two"),
    ),
    Case(
        "aws:ec2/securityGroup:SecurityGroup",
        VPC + """it = aws.ec2.SecurityGroup("it", vpc_id=vpc.id, tags={"v": "<V>"})""",
        "x",
        "y",
        group_tag_and_egress,
        (("x", []), ("y", [])),
    ),
    Case(
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
        GROUP
        + """it = aws.vpc.SecurityGroupEgressRule("it", security_group_id=group.id,
    ip_protocol="tcp", from_port=<V>, to_port=<V>, cidr_ipv4="0.0.0.0/0", description="out")""",
        "443",
        "80",
        egress,
        ([(443, ["0.0.0.0/0"])], [(80, ["0.0.0.0/0"])]),
        Action.REPLACED,
    ),
    Case(
        "aws:dynamodb/table:Table",
        """it = aws.dynamodb.Table("it", hash_key="a", range_key="b",
    billing_mode="PAY_PER_REQUEST",
    attributes=[{"name": "b", "type": "S"}, {"name": "a", "type": "S"}],
    ttl={"attribute_name": "t", "enabled": <V>},
    server_side_encryption={"enabled": True}, tags={"v": "<V>"})""",
        "True",
        "False",
        expiry,
        ("ENABLED", "DISABLED"),
    ),
    Case(
        "aws:s3/bucket:Bucket",
        'it = aws.s3.Bucket("It", tags={"v": "<V>"}, force_destroy=True)',
        "x",
        "y",
        bucket_tags,
        ([{"Key": "v", "Value": "x"}], [{"Key": "v", "Value": "y"}]),
    ),
    Case(
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        'b = aws.s3.Bucket("b")\n'
        'it = aws.s3.BucketPublicAccessBlock("it", bucket=b.id, block_public_acls=<V>)',
        "True",
        "False",
        described(
            "s3",
            "get_public_access_block",
            lambda bucket: {"Bucket": bucket},
            "PublicAccessBlockConfiguration",
            "BlockPublicAcls",
        ),
        (True, False),
    ),
    *service_cases.CASES,
]


def test_every_handler_has_a_case():
    assert {case.type for case in CASES} == set(HANDLERS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.type)
def test_a_type_is_made_read_changed_and_deleted(project, case):
    if "Attachment" in case.type:
        for name in ("one", "two"):
            project.client("iam").create_policy(
                PolicyName=name,
                PolicyDocument='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", '
                '"Action": "sqs:*", "Resource": "*"}]}',
            )

    def program(version):
        text = case.program.replace("SERVICE", version).replace("<V>", version)
        return text + '\npulumi.export("id", it.id)\n'

    urn_end = case.type + "::" + ("It" if "bucket:" in case.type else "it")
    made = project.write(program(case.first)).up()
    assert case.ask(project, made.outputs["id"]) == case.seen[0]
    assert not project.engine().up().changed
    assert not project.engine().refresh().changed

    preview = project.write(program(case.second)).preview()
    changed = project.engine().up()
    (change,) = (found for urn, found in changed.changes.items() if urn.endswith(urn_end))
    assert change.action is case.changed
    assert preview.changes[change.urn] == change
    assert case.ask(project, changed.outputs["id"]) == case.seen[1]
    assert not project.engine().refresh().changed
    assert not project.engine().up().changed

    project.engine().destroy()
    assert json.loads(project.state_file.read_text())["resources"] == []
    with pytest.raises((ClientError, IndexError, ValueError)):  # the cloud finds none
        case.ask(project, changed.outputs["id"])


def test_an_ec2_compute_environment_comes_with_instances_types_and_a_profile(project):
    engine = project.write(
        SUBNET
        + ROLE
        + """
profile = aws.iam.InstanceProfile("profile", role=role.name)
group = aws.ec2.SecurityGroup("group", vpc_id=vpc.id)
it = aws.batch.ComputeEnvironment("it", type="MANAGED", compute_resources={
    "type": "SPOT", "allocation_strategy": "SPOT_PRICE_CAPACITY_OPTIMIZED", "min_vcpus": 0,
    "max_vcpus": 16, "instance_types": ["c5.large"], "subnets": [subnet.id],
    "security_group_ids": [group.id], "instance_role": profile.arn,
    "ec2_configurations": [{"image_type": "ECS_AL2023"}]})
"""
    )
    engine.up()
    (found,) = project.client("batch").describe_compute_environments()["computeEnvironments"]
    assert found["computeResources"]["ec2Configuration"] == [{"imageType": "ECS_AL2023"}]
    assert found["computeResources"]["maxvCpus"] == 16
    assert not engine.refresh().changed
    assert not engine.up().changed
    engine.destroy()


def test_a_repository_may_exclude_tags_from_its_rule_and_take_that_back(project):
    def repository(arguments):
        return project.write(f'aws.ecr.Repository("it", image_tag_mutability={arguments})')

    def mutability():
        (found,) = project.client("ecr").describe_repositories()["repositories"]
        return found["imageTagMutability"], found.get("imageTagMutabilityExclusionFilters")

    filters = [{"filter": "*-cache", "filter_type": "WILDCARD"}]
    excluding = f'"IMMUTABLE_WITH_EXCLUSION", image_tag_mutability_exclusion_filters={filters}'
    repository('"IMMUTABLE"').up()
    assert repository(excluding).up().counts[Action.UPDATED] == 1
    assert mutability() == (
        "IMMUTABLE_WITH_EXCLUSION",
        [{"filter": "*-cache", "filterType": "WILDCARD"}],
    )
    assert not project.engine().refresh().changed
    assert repository('"IMMUTABLE"').up().counts[Action.UPDATED] == 1
    assert mutability()[0] == "IMMUTABLE"
    assert not project.engine().refresh().changed
    assert not project.engine().up().changed


def test_a_bucket_with_objects_goes_only_if_it_says_so(project):
    engine = project.write('b = aws.s3.Bucket("b", force_destroy=True)\npulumi.export("b", b.id)')
    bucket = engine.up().outputs["b"]
    project.client("s3").put_object(Bucket=bucket, Key="a", Body=b"a")
    engine.destroy()
    assert project.client("s3").list_buckets()["Buckets"] == []


def test_empty_variables_and_their_order_in_a_container_are_no_drift(project):
    engine = project.write(
        """
        aws.batch.JobDefinition("it", type="container", container_properties=json.dumps({
            "image": "i", "vcpus": 1, "memory": 64, "environment": [
                {"name": "B", "value": "1"}, {"name": "A", "value": ""}]}))
        """
    )
    engine.up()
    assert not engine.refresh().changed
    assert not engine.up().changed


def test_two_compute_environments_without_a_role_share_the_service_linked_one(project):
    engine = project.write(COMPUTE + 'compute("one")\ncompute("two")')
    engine.up()
    found = project.client("batch").describe_compute_environments()["computeEnvironments"]
    (role,) = {environment["serviceRole"] for environment in found}
    assert ":role/aws-service-role/batch.amazonaws.com/AWSServiceRoleFor" in role
    assert not engine.up().changed


def test_a_table_without_encryption_makes_no_key(project):
    project.write(
        """aws.dynamodb.Table("it", hash_key="a", billing_mode="PAY_PER_REQUEST",
    attributes=[{"name": "a", "type": "S"}])"""
    ).up()
    assert project.client("kms").list_keys()["Keys"] == []
