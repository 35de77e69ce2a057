"""Which messages keep a queue from being deleted, and what is said then."""

import json
from datetime import timedelta

import moto
import pytest
from botocore.stub import Stubber
from moto.sts.models import STSBackend

from stack.before_delete import messages
from stack.before_delete.access import Access, client
from stack.before_delete.messages import MessagesLeftError

URL = "https://sqs.us-east-1.amazonaws.com/1/other-tasks"
NOTHING = {"visible": 0, "in flight": 0, "delayed": 0}


def sqs_client():
    return client(Access(region="us-east-1", access_key="a", secret_key="b"), "sqs")


def test_empty_queues_may_go():
    messages.refuse_to_lose({URL: NOTHING, f"{URL}-dead": {}})


@pytest.mark.parametrize("word", NOTHING)
def test_one_message_of_any_kind_is_enough_to_keep_a_queue(word):
    with pytest.raises(MessagesLeftError) as refused:
        messages.refuse_to_lose({URL: {**NOTHING, word: 1}, f"{URL}-dead": NOTHING})
    said = str(refused.value)
    assert f"{URL} holds 1 {word}. Put the deployment back" in said
    assert f"aws sqs purge-queue --queue-url {URL} (" in said
    assert f"{URL}-dead" not in said


def test_all_queues_with_messages_are_told_at_once():
    with pytest.raises(MessagesLeftError) as refused:
        messages.refuse_to_lose(
            {URL: {**NOTHING, "visible": 2}, f"{URL}-dead": {**NOTHING, "visible": 3}}
        )
    assert f"{URL} holds 2 visible; {URL}-dead holds 3 visible." in str(refused.value)


def test_a_record_speaks_for_two_queues_and_a_queue_for_itself():
    told = json.dumps({"queue_url": URL, "dead_letter_url": f"{URL}-dead", "pack": "other"})
    assert messages.queue_urls("/taskpacks/x", {"insecureValue": told}) == [URL, f"{URL}-dead"]
    assert messages.queue_urls(URL, {"url": URL}) == [URL]


def test_the_settings_of_the_provider_reach_the_cloud():
    settings = {
        "aws:profile": "team",
        "aws:endpoints": json.dumps([{"s3": "http://s3"}, {"sqs": "http://sqs"}]),
    }
    assert Access.read(settings.get, "eu-west-1") == Access(
        region="eu-west-1",
        profile="team",
        endpoint_urls={"s3": "http://s3", "sqs": "http://sqs"},
    )
    assert Access.read({}.get, "eu-west-1") == Access(region="eu-west-1")


ROLES = [
    {"roleArn": "arn:aws:iam::222222222222:role/door"},
    {"roleArn": "arn:aws:iam::333333333333:role/deploy", "externalId": "taskpacks"},
]
WITH_ROLES = {
    "aws:accessKey": "a",
    "aws:secretKey": "b",
    "aws:assumeRoles": json.dumps(ROLES),
}


def test_the_provider_s_roles_are_taken_on_one_after_the_other():
    with moto.mock_aws():
        sqs = client(Access.read(WITH_ROLES.get, "us-east-1"), "sqs")
        made = sqs.create_queue(QueueName="other-tasks")["QueueUrl"]
    assert "/333333333333/" in made


def test_roles_are_taken_on_again_before_their_credentials_expire(monkeypatch):
    taken = []
    original = STSBackend.assume_role

    def assume_role(self, **arguments):
        role = original(self, **arguments)
        taken.append(role.role_arn)
        role.expiration = role.expiration - timedelta(minutes=55)
        return role

    monkeypatch.setattr(STSBackend, "assume_role", assume_role)
    with moto.mock_aws():
        sqs = client(Access.read(WITH_ROLES.get, "us-east-1"), "sqs")
        sqs.list_queues()
        assert taken == [role["roleArn"] for role in ROLES]
        sqs.list_queues()
        assert len(taken) == 4


def test_a_queue_that_is_gone_holds_nothing():
    sqs = sqs_client()
    with Stubber(sqs) as stub:
        stub.add_client_error("get_queue_attributes", "AWS.SimpleQueueService.NonExistentQueue")
        assert messages.counts(sqs, URL) == {}


def test_a_queue_that_cannot_be_asked_is_kept_and_the_error_says_what_is_missing():
    sqs = sqs_client()
    with Stubber(sqs) as stub:
        stub.add_client_error("get_queue_attributes", "AccessDenied")
        with pytest.raises(MessagesLeftError, match=r"not deleted.*AccessDenied.*aws:profile"):
            messages.counts(sqs, URL)
