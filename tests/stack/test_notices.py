import json
from dataclasses import replace

import pytest

from local.engine import Action
from stack import settings
from stack.components import notices
from stack.documents import key_policies, resource_policies
from taskpacks import TaskpacksError
from tests.stack.contexts import CONTEXT

HERE = replace(CONTEXT, region="eu-west-1")
TOPIC = "arn:aws:sns:eu-west-1:111122223333:notices"


@pytest.mark.parametrize(
    ("endpoint", "protocol"),
    [("ops@example.com", "email"), ("https://hooks.example.com/taskpacks", "https")],
)
def test_an_address_says_by_itself_how_it_is_reached(endpoint, protocol):
    assert notices.protocol(endpoint) == protocol


@pytest.mark.parametrize("endpoint", ["http://example.com", "ops", "https://", "a@b", "+4912345"])
def test_plain_http_and_what_is_no_address_are_refused_with_their_place(endpoint):
    with pytest.raises(TaskpacksError) as caught:
        settings.parse({"packs": {"pi": {}}, "notify": ["ops@example.com", endpoint]})
    assert f"taskpacks:notify[1] is {endpoint!r}" in str(caught.value)
    assert "https:// URLs" in str(caught.value)


def test_alarms_and_rules_of_this_account_and_region_may_publish():
    alarms, rules, refused = resource_policies.publish_notices(TOPIC, HERE)["Statement"]
    assert alarms["Condition"] == {
        "ArnLike": {"aws:SourceArn": "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:*"}
    }
    # EventBridge may say nothing of the source here; what it says must be right.
    assert rules["Condition"] == {
        "StringEqualsIfExists": {"aws:SourceAccount": "111122223333"},
        "ArnLikeIfExists": {"aws:SourceArn": "arn:aws:events:eu-west-1:111122223333:rule/*"},
    }
    assert refused["Effect"] == "Deny"
    assert refused["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_senders_of_notices_may_use_the_topics_key():
    *_, senders = key_policies.notices_key(HERE)["Statement"]
    assert senders["Principal"] == {"Service": ["cloudwatch.amazonaws.com", "events.amazonaws.com"]}
    assert json.dumps(senders["Action"]) == '["kms:Decrypt", "kms:GenerateDataKey*"]'


def test_addresses_are_secret_from_the_program_on(project):
    address = "https://hooks.example.com/hush"
    engine = project.select({"small": {}}, notify=[address])
    engine.up()
    (subscription,) = project.client("sns").list_subscriptions()["Subscriptions"]
    assert subscription["Endpoint"] == address
    assert "notices-topic" in (project.folder / "state.json").read_text()
    assert "hush" not in (project.folder / "state.json").read_text()
    assert set(engine.up().counts) == set(engine.refresh().counts) == {Action.UNCHANGED}
    other = project.select({"small": {}}, notify=["https://hooks.example.com/other"]).up()
    assert sorted(other.counts) == [Action.CREATED, Action.DELETED, Action.UNCHANGED]


def test_a_subscription_keeps_its_name_when_others_come_and_shows_no_address():
    name = notices.subscription_name("notices", "ops@example.com")
    assert name == notices.subscription_name("notices", "ops@example.com")
    assert name != notices.subscription_name("notices", "dev@example.com")
    assert "example" not in name
