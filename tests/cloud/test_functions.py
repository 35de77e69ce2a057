"""Lambda functions run from their deployed code, in processes of their own."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local.cloud import FunctionFailed, FunctionLine
from tests.cloud.serverless import invoke, make_function, role, seconds_of, zipped


@pytest.fixture(scope="module")
def cloud(shared_cloud):
    return shared_cloud


def test_a_function_gets_its_event_and_its_variables_and_answers(cloud):
    make_function(
        cloud,
        "echo",
        """
        import os
        def handle(event, context):
            return {"event": event, "who": os.environ["WHO"], "named": context.function_name}
        """,
        Environment={"Variables": {"WHO": "me"}},
    )
    assert invoke(cloud, "echo", {"a": [1, 2.5]}) == (
        {"event": {"a": [1, 2.5]}, "who": "me", "named": "echo"},
        None,
    )


def test_a_process_stays_warm_until_its_code_changes(cloud):
    code = "import os\ncount = VERSION\ndef handle(event, context):\n    global count\n"
    code += "    count += 1\n    return [os.getpid(), count]\n"
    make_function(cloud, "warm", code.replace("VERSION", "0"))
    (first, one), (second, two) = invoke(cloud, "warm")[0], invoke(cloud, "warm")[0]
    assert (first, one, two) == (second, 1, 2)
    cloud.client("lambda").update_function_code(
        FunctionName="warm", ZipFile=zipped(code.replace("VERSION", "100"))
    )
    third, count = invoke(cloud, "warm")[0]
    assert (third != first, count) == (True, 101)
    assert not Path(f"/proc/{first}").exists()


def test_two_invocations_at_once_have_two_processes(cloud):
    make_function(
        cloud,
        "slow",
        "import os, time\ndef handle(event, context):\n    time.sleep(1)\n    return os.getpid()\n",
    )
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(invoke(cloud, "slow")[0])) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 2


def test_a_function_reaches_this_cloud_and_none_of_this_repositorys_code(cloud):
    make_function(
        cloud,
        "reach",
        """
        def handle(event, context):
            import boto3
            try:
                import taskpacks
            except ImportError:
                return sorted(boto3.client("sts").get_caller_identity())[:2]
        """,
        Timeout=30,
    )
    assert invoke(cloud, "reach") == (["Account", "Arn"], None)


def test_an_error_is_told_as_lambda_tells_it(cloud):
    make_function(cloud, "broken", "def handle(event, context):\n    raise KeyError('no')\n")
    error, kind = invoke(cloud, "broken")
    assert (error["errorType"], error["errorMessage"], kind) == ("KeyError", "'no'", "Unhandled")
    assert "code_of.py" in "".join(error["stackTrace"])
    assert any(
        isinstance(event, FunctionFailed) and event.function == "broken"
        for event in cloud.events.past
    )


@pytest.mark.parametrize(
    ("name", "code", "kind"),
    [
        ("missing", "import nowhere", "Runtime.ImportModuleError"),
        ("exits", "import os\ndef handle(event, context):\n    os._exit(3)\n", "Runtime.ExitError"),
        ("sets", "def handle(event, context):\n    return {1, 2}\n", "Runtime.MarshalError"),
    ],
)
def test_what_lambdas_runtime_calls_an_error_is_one(cloud, name, code, kind):
    make_function(cloud, name, code)
    assert invoke(cloud, name)[0]["errorType"] == kind


def test_a_function_that_takes_too_long_is_ended(cloud):
    make_function(
        cloud,
        "sleeper",
        "import os, time\nprint(os.getpid(), flush=True)\n"
        "def handle(event, context):\n    time.sleep(60)\n",
        Timeout=1,
    )
    answer = []
    assert seconds_of(lambda: answer.append(invoke(cloud, "sleeper"))) < 10
    assert answer[0][0]["errorType"] == "Sandbox.Timedout"
    assert "timed out after 1.00 seconds" in answer[0][0]["errorMessage"]
    [line] = [
        event.line
        for event in cloud.events.past
        if isinstance(event, FunctionLine) and event.function == "sleeper"
    ]
    cloud.events.wait_for(lambda _: not Path(f"/proc/{line}").exists(), seconds=5)


def test_what_a_function_prints_is_in_its_log_group(cloud):
    make_function(
        cloud,
        "talks",
        "def handle(event, context):\n    print('one')\n    print('two')\n",
        LoggingConfig={"LogFormat": "Text", "LogGroup": "/mine"},
    )
    invoke(cloud, "talks")
    events = cloud.client("logs").filter_log_events(logGroupName="/mine")["events"]
    assert [event["message"] for event in events] == ["one", "two"]


def test_time_is_the_clouds_at_the_beginning_and_passes_as_it_really_does(cloud):
    make_function(
        cloud,
        "clock",
        """
        import time
        def handle(event, context):
            began = time.time()
            time.sleep(0.2)
            return [began, time.time() - began]
        """,
    )
    before = cloud.events.now()
    (began, passed), _ = invoke(cloud, "clock")
    after = cloud.events.now()
    assert before.cloud.timestamp() <= began <= after.cloud.timestamp()
    assert 0.2 <= passed < (after.cloud - before.cloud).total_seconds()


def test_metrics_in_a_functions_lines_reach_cloudwatch(cloud):
    make_function(
        cloud,
        "measures",
        """
        import json, time
        def handle(event, context):
            print(json.dumps({"Deployment": "d", "Halted": 1, "_aws": {
                "Timestamp": int(time.time() * 1000),
                "CloudWatchMetrics": [{"Namespace": "N", "Dimensions": [["Deployment"]],
                    "Metrics": [{"Name": "Halted", "Unit": "Count"}]}]}}))
        """,
    )
    invoke(cloud, "measures")
    cloud.client("sqs").create_queue(QueueName="tick")
    cloud.client("sqs").send_message(
        QueueUrl=cloud.client("sqs").get_queue_url(QueueName="tick")["QueueUrl"], MessageBody="x"
    )
    found = wait_for_metric(cloud, "N", "Halted", {"Deployment": "d"})
    assert found == 1


def wait_for_metric(cloud, namespace, name, dimensions):
    """The sum over a day, as soon as there is one: metrics are put at each cloud minute."""
    query = {
        "Id": "q",
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": key, "Value": each} for key, each in dimensions.items()],
            },
            "Period": 86400,
            "Stat": "Sum",
        },
    }
    for _ in range(100):
        [result] = cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=[query],
            StartTime=datetime(2020, 1, 1, tzinfo=UTC),
            EndTime=datetime(2100, 1, 1, tzinfo=UTC),
        )["MetricDataResults"]
        if result["Values"]:
            return sum(result["Values"])
        threading.Event().wait(0.05)
    return None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"Timeout": 901}, "not between 1 and 900"),
        ({"MemorySize": 20_000}, "not between 128 and 10240"),
        ({"Runtime": "python3.6"}, "Runtime python3.6"),
        ({"Handler": "handle"}, "module.function"),
        ({"Environment": {"Variables": {"A": "x" * 4096}}}, "exceed 4096 bytes"),
    ],
)
def test_what_aws_refuses_of_a_function_is_refused(cloud, wrong, words):
    with pytest.raises(ClientError, match=words):
        make_function(cloud, "refused", "def handle(event, context): pass\n", **wrong)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        cloud.client("lambda").get_function(FunctionName="refused")
    make_function(cloud, "fine", "def handle(event, context): pass\n")
    with pytest.raises(ClientError, match=words):
        cloud.client("lambda").update_function_configuration(FunctionName="fine", **wrong)
    cloud.client("lambda").delete_function(FunctionName="fine")


def test_calls_are_refused_on_demand(cloud):
    make_function(cloud, "later", "def handle(event, context):\n    return 1\n")
    cloud.faults.refuse("lambda", "Invoke", times=2, code="ServiceException", status=500)
    for _ in range(2):
        with pytest.raises(ClientError, match="ServiceException"):
            invoke(cloud, "later")
    assert invoke(cloud, "later") == (1, None)


def test_a_functions_role_must_exist(cloud):
    assert role(cloud).endswith("role/serverless")
    with pytest.raises(ClientError):
        make_function(cloud, "f", "x = 1", Role="arn:aws:iam::123456789012:role/none")
    assert os.environ["AWS_ENDPOINT_URL"] == cloud.endpoint_url
