import json

import pytest

from stack.components import data_bucket, producer
from taskpacks import TaskpacksError

DOCUMENT = {"broker_url": "sqs://", "task_routes": {"pi.*": {"queue": "pi"}}}


def test_the_parameter_holds_the_document_without_a_space_too_many():
    text = producer.parameter_value(DOCUMENT)
    assert json.loads(text) == DOCUMENT
    assert " " not in text


def test_a_document_that_no_parameter_holds_is_refused_with_the_way_on():
    with pytest.raises(TaskpacksError, match="spread them over several stacks"):
        producer.parameter_value({"broker_url": "x" * 8192})


def test_fifty_deployments_fit():
    names = [f"deployment-number-{index:02}" for index in range(50)]
    url = "https://sqs.us-east-1.amazonaws.com/123456789012/{}-tasks-0123abc"
    queues = {name: {"url": url.format(name)} for name in names}
    routes = {"pi.*": {"queue": names[0]}}
    document = {"predefined_queues": queues, "task_routes": routes}
    assert len(producer.parameter_value(document)) < 8192


def test_each_deployment_has_a_folder_of_its_own_in_each_area():
    assert data_bucket.folder_uri("bucket", "scratch", "pi") == "s3://bucket/scratch/pi/"
