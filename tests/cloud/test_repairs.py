from __future__ import annotations

import inspect
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import moto
import pytest
from moto.awslambda.models import LambdaBackend, LambdaFunction
from moto.batch.models import BatchBackend, Job
from moto.batch.responses import BatchResponse
from moto.cloudwatch.models import CloudWatchBackend, Statistics
from moto.core.responses import BaseResponse
from moto.events.models import Rule
from moto.logs.models import LogsBackend
from moto.sqs.models import Queue, SQSBackend
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service,
)
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import (
    WaitFunction,
)
from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.models import StepFunctionsParserBackend


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (
            SQSBackend.receive_message,
            "self queue_name count wait_seconds_timeout visibility_timeout message_attribute_names",
        ),
        (SQSBackend.change_message_visibility, "self queue_name receipt_handle visibility_timeout"),
        (SQSBackend.purge_queue, "self queue_name"),
        (SQSBackend.get_queue_attributes, "self queue_name attribute_names"),
        (Queue.add_message, "self message"),
        (Queue.delete_message, "self receipt_handle"),
        (Rule.send_to_targets, "self original_event transform_input"),
        (Queue._set_attributes, "self attributes now"),
        (LogsBackend.delete_log_group, "self log_group_name"),
        (CloudWatchBackend.get_metric_data, "self queries start_time end_time scan_by"),
        (Statistics.get_statistics_for_type, "self stat"),
        (BaseResponse.call_action, "self"),
        (LambdaFunction.invoke, "self body request_headers response_headers"),
        (LambdaBackend.create_function, "self spec"),
        (LambdaBackend.update_function_configuration, "self function_name qualifier body"),
        (WaitFunction._wait_interval, "self env wait_seconds"),
        (ExecutionWorker.start, "self"),
        (BaseExecutionWorkerCommunication.terminated, "self"),
        (StepFunctionsParserBackend._validate_definition, "definition"),
        (
            StepFunctionsParserBackend.start_execution,
            "self state_machine_arn name execution_input trace_header",
        ),
        (
            state_task_service.StateTaskService._normalise_parameters,
            "self parameters boto_service_name service_action_name",
        ),
        (
            state_task_service.StateTaskService._normalise_response,
            "self response boto_service_name service_action_name",
        ),
        (BatchResponse.submitjob, "self"),
        (BatchResponse.listjobs, "self"),
        (BatchBackend.describe_jobs, "self jobs"),
        (BatchBackend.list_jobs, "self job_queue_name array_job_id job_status filters"),
        (BatchBackend.terminate_job, "self job_id reason"),
        (BatchBackend.delete_job_queue, "self queue_name"),
        (BatchBackend.delete_compute_environment, "self compute_environment_name"),
        (BatchBackend.describe_compute_environments, "self environments"),
        (BatchBackend.cancel_job, "self job_id reason"),
        (
            BatchBackend.update_compute_environment,
            "self compute_environment_name state compute_resources service_role",
        ),
        (Job.start, "self"),
        (Job.describe, "self"),
        (Job.describe_short, "self"),
    ],
)
def test_motos_functions_that_are_replaced_still_take_the_same_arguments(function, arguments):
    assert " ".join(inspect.signature(function).parameters) == arguments


def test_moto_is_the_version_that_the_repairs_were_written_for():
    assert moto.__version__ == "5.2.5"
    assert "name" in inspect.signature(CloudWatchBackend.put_metric_alarm).parameters


@pytest.fixture(scope="module")
def cloud(shared_cloud):
    return shared_cloud


@pytest.fixture
def sqs(cloud):
    yield cloud.client("sqs")
    for url in cloud.client("sqs").list_queues().get("QueueUrls", []):
        cloud.client("sqs").delete_queue(QueueUrl=url)


def create(sqs, name="tasks", **attributes):
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def receive(sqs, url, count=10, **request):
    return sqs.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=count,
        MessageSystemAttributeNames=["ApproximateReceiveCount"],
        **request,
    ).get("Messages", [])


def counts(sqs, url):
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names))["Attributes"]
    return tuple(int(attributes[name]) for name in names)


def test_eight_threads_receive_each_of_500_messages_once(sqs):
    url = create(sqs, VisibilityTimeout="300")
    for start in range(0, 500, 10):
        sqs.send_message_batch(
            QueueUrl=url,
            Entries=[{"Id": str(n), "MessageBody": str(n)} for n in range(start, start + 10)],
        )
    received, failures = Counter(), []
    lock = threading.Lock()

    def work(delete):
        try:
            while messages := receive(sqs, url, 3):
                with lock:
                    received.update(message["Body"] for message in messages)
                for message in messages if delete else ():
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        except Exception as error:  # noqa: BLE001 - a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n % 2 == 0,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert received == Counter(str(n) for n in range(500))


def test_messages_sent_while_others_are_deleted_are_not_lost(sqs):
    url = create(sqs)
    for _ in range(100):
        sqs.send_message(QueueUrl=url, MessageBody="old")
    old = [message for _ in range(10) for message in receive(sqs, url)]

    def send():
        for _ in range(100):
            sqs.send_message(QueueUrl=url, MessageBody="new")

    sender = threading.Thread(target=send)
    sender.start()
    for message in old:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    sender.join()
    assert counts(sqs, url) == (100, 0)


def test_a_long_poll_returns_as_soon_as_a_message_comes(sqs):
    url = create(sqs)
    timer = threading.Timer(0.3, lambda: sqs.send_message(QueueUrl=url, MessageBody="x"))
    began = time.monotonic()
    timer.start()
    assert len(receive(sqs, url, WaitTimeSeconds=20)) == 1
    assert time.monotonic() - began < 15  # well before the poll's own end
    timer.join()


def test_a_long_poll_sees_a_message_whose_visibility_timeout_ends(sqs):
    url = create(sqs, VisibilityTimeout="1")
    sqs.send_message(QueueUrl=url, MessageBody="x")
    assert receive(sqs, url)
    assert counts(sqs, url) == (0, 1)
    [again] = receive(sqs, url, WaitTimeSeconds=10)
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"


def test_a_visibility_timeout_of_zero_gives_a_message_back(sqs):
    url = create(sqs, VisibilityTimeout="300")
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(sqs, url)
    sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
    )
    assert receive(sqs, url, WaitTimeSeconds=5)


def test_a_message_received_too_often_goes_to_the_dead_letter_queue(sqs):
    dead = create(sqs, "dead")
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    url = create(
        sqs,
        VisibilityTimeout="0",
        RedrivePolicy=f'{{"deadLetterTargetArn": "{arn["QueueArn"]}", "maxReceiveCount": 2}}',
    )
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    assert [len(receive(sqs, url)) for _ in range(3)] == [1, 1, 0]
    assert counts(sqs, url) == (0, 0)
    assert receive(sqs, dead)[0]["Body"] == "poison"


def test_setting_one_attribute_leaves_the_policy_as_it_is(sqs):
    policy = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", '
        '"Action": "sqs:*", "Resource": "*"}]}'
    )
    url = create(sqs, Policy=policy)
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "5"})
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
    assert answer["Attributes"]["Policy"] == policy


def test_asking_for_an_attribute_that_does_not_exist_is_refused(sqs):
    url = create(sqs)
    with pytest.raises(sqs.exceptions.InvalidAttributeName):
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Depth"])


def test_a_new_alarm_has_insufficient_data_and_an_updated_one_keeps_its_state(cloud):
    cloudwatch = cloud.client("cloudwatch")
    alarm = {
        "AlarmName": "a",
        "Namespace": "N",
        "MetricName": "M",
        "Statistic": "Maximum",
        "Period": 86400,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "ignore",
    }

    def state():
        return cloudwatch.describe_alarms()["MetricAlarms"][0]["StateValue"]

    cloudwatch.put_metric_alarm(**alarm)
    assert state() == "INSUFFICIENT_DATA"
    cloudwatch.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="test")
    cloudwatch.put_metric_alarm(**alarm | {"Threshold": 2})
    assert state() == "ALARM"


def test_a_metrics_percentiles_sums_and_counts_are_told_period_by_period(cloud):
    cloudwatch = cloud.client("cloudwatch")
    began = datetime(2026, 1, 1, tzinfo=UTC)
    cloudwatch.put_metric_data(
        Namespace="P",
        MetricData=[
            {
                "MetricName": "M",
                "Dimensions": [{"Name": "D", "Value": "d"}],
                "Timestamp": began + timedelta(seconds=second),
                "Value": value,
            }
            for second, value in ((0, 1), (1, 2), (2, 9), (60, 5))
        ],
    )

    def told(stat, dimension="d", minutes=2):
        metric = {
            "Namespace": "P",
            "MetricName": "M",
            "Dimensions": [{"Name": "D", "Value": dimension}],
        }
        query = {"Id": "q", "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}}
        [result] = cloudwatch.get_metric_data(
            MetricDataQueries=[query],
            StartTime=began,
            EndTime=began + timedelta(minutes=minutes),
        )["MetricDataResults"]
        return result["Values"]

    assert told("p50") == [5, 2]  # the newest first
    assert told("p100") == [5, 9]
    assert told("Sum") == [5, 12]
    assert told("SampleCount") == [1, 3]
    assert told("Average", minutes=1) == [4]
    assert told("Sum", dimension="other") == []


def test_aws_managed_policies_can_be_attached(cloud):
    iam = cloud.client("iam")
    iam.create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    iam.attach_role_policy(
        RoleName="r",
        PolicyArn="arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy",
    )


def test_a_log_group_of_a_name_that_was_deleted_has_none_of_its_tags(cloud):
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="/again", tags={"owner": "them", "stack": "old"})
    arn = logs.describe_log_groups(logGroupNamePrefix="/again")["logGroups"][0]["logGroupArn"]
    logs.delete_log_group(logGroupName="/again")
    logs.create_log_group(logGroupName="/again", tags={"stack": "new"})
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"stack": "new"}
