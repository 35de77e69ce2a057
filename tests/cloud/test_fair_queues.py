"""Fair queues on the local SQS: one tenant's flood does not hold up another."""

import statistics
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from local.cloud import fair_queues

TASK_SECONDS = 0.1
CONSUMERS = 4
FLOOD = 120
SAMPLES = 20


@pytest.mark.parametrize(
    ("in_flight", "seconds", "found"),
    [
        # More than 10 % of all in flight, and at least 30.
        ({"a": 30, "b": 269}, {}, {"a", "b"}),
        ({"a": 30, "b": 29}, {}, {"a"}),
        ({"a": 29, "b": 1}, {}, set()),
        ({"a": 30, **{f"b{n}": 27 for n in range(10)}}, {}, set()),  # just 10 %
        ({"a": 31, **{f"b{n}": 27 for n in range(10)}}, {}, {"a"}),
        # More than 10 % of the time.
        ({}, {"a": 10.0, **{f"b{n}": 9.0 for n in range(10)}}, set()),
        ({}, {"a": 10.1, **{f"b{n}": 9.0 for n in range(10)}}, {"a"}),
        ({"a": 1}, {"a": 10.1, **{f"b{n}": 9.0 for n in range(10)}}, {"a"}),
        ({}, {}, set()),
    ],
)
def test_a_tenant_is_noisy_above_a_tenth_of_the_consumers(in_flight, seconds, found):
    assert fair_queues.noisy(in_flight, seconds) == found


class Messages:
    """Messages of one queue, as moto has them, and its tenants; a clock of its own."""

    def __init__(self):
        self.now = 1000.0
        self.tenants = fair_queues.Tenants()
        self.all = []

    def send(self, group, count=1):
        for _ in range(count):
            message = SimpleNamespace(
                id=str(len(self.all)), group_id=group, visible_at=0.0, delayed_until=0.0
            )
            self.all.append(message)
            self.tenants.sent(message, self.now)

    def receive(self, count=1, lease=60):
        order = self.tenants.in_order(self.all, self.now)
        taken = [message for message, _ in zip(order, range(count), strict=False)]
        for message in taken:
            self.tenants.received(message, self.now)
            message.visible_at = (self.now + lease) * 1000
        return taken

    def delete(self, messages):
        for message in messages:
            self.tenants.ended(message, self.now)
            self.all.remove(message)

    def groups(self, count):
        return [message.group_id for message in self.receive(count)]


@pytest.fixture
def messages():
    return Messages()


def test_messages_of_quiet_tenants_go_first_once_thirty_of_a_noisy_one_are_in_flight(messages):
    messages.send("a", 60)
    assert messages.groups(29) == ["a"] * 29
    messages.send("b")
    assert messages.groups(2) == ["a", "a"]  # none is noisy yet: the oldest goes first
    messages.send("c")
    messages.send(None)
    assert messages.groups(4) == ["b", "c", None, "a"]


def test_a_tenant_with_few_slow_messages_is_noisy_by_their_time(messages):
    messages.send("slow", 3)
    messages.send("quick", 40)
    held = messages.receive(1)
    messages.now += 10
    messages.delete(held)
    quick = [message for message in messages.all if message.group_id == "quick"]
    assert messages.groups(41) == ["quick"] * len(quick) + ["slow"]


def test_among_noisy_tenants_the_one_with_the_fewest_in_flight_goes_first(messages):
    messages.send("a", 60)
    assert messages.groups(40) == ["a"] * 40
    messages.send("b", 60)
    assert messages.groups(30) == ["b"] * 30
    messages.send("a", 10)
    assert Counter(messages.groups(30)) == {"b": 20, "a": 10}  # 50 each in flight then


def test_a_noisy_tenant_is_quiet_again_when_its_backlog_is_done(messages):
    messages.send("a", 45)
    held = messages.receive(40)
    messages.send("b")
    held += messages.receive(6)
    assert [message.group_id for message in held[40:]] == ["b", *["a"] * 5]
    messages.now += 1
    messages.delete(held)
    assert messages.receive() == []
    messages.send("a")
    messages.send("b")
    assert messages.groups(2) == ["a", "b"]


def test_a_noisy_tenant_is_quiet_again_when_it_has_sent_nothing_for_five_minutes(messages):
    messages.send("a", 40)
    messages.receive(35, lease=600)
    messages.send("b", 2)
    assert messages.groups(1) == ["b"]
    messages.now += 301
    assert messages.groups(1) == ["a"]


def test_messages_that_name_no_tenant_keep_their_order(messages):
    messages.send(None, 50)
    assert [message.id for message in messages.receive(50)] == [str(n) for n in range(50)]


# On the local SQS itself.


def waits_of_b(cloud, group_of_a, flood):
    """How long each of b's messages waits, while a's flood is worked off, in seconds."""
    waits, stop, lock = [], threading.Event(), threading.Lock()
    ready = threading.Barrier(CONSUMERS + 1)
    sender = cloud.client("sqs")
    url = sender.create_queue(QueueName="fair", Attributes={"VisibilityTimeout": "60"})["QueueUrl"]
    for start in range(0, flood, 10):
        sender.send_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(n), "MessageBody": "a", **group_of_a} for n in range(start, start + 10)
            ],
        )

    def consume():
        sqs = cloud.client("sqs")
        ready.wait()
        while not stop.is_set():
            for message in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages", []):
                if message["Body"] == "a":
                    time.sleep(TASK_SECONDS)
                else:
                    with lock:
                        waits.append(time.time() - float(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    threads = [threading.Thread(target=consume) for _ in range(CONSUMERS)]
    for thread in threads:
        thread.start()
    ready.wait()
    time.sleep(2 * TASK_SECONDS)  # they are all busy with a
    for _ in range(SAMPLES):
        sender.send_message(QueueUrl=url, MessageBody=str(time.time()), MessageGroupId="b")
        time.sleep(TASK_SECONDS)
    give_up_at = time.monotonic() + 60
    while len(waits) < SAMPLES and time.monotonic() < give_up_at:
        time.sleep(TASK_SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    sender.delete_queue(QueueUrl=url)
    assert len(waits) == SAMPLES
    return waits


def p95(waits):
    return statistics.quantiles(waits, n=20)[-1]


@pytest.mark.timeout(120)
def test_the_flood_of_one_tenant_does_not_raise_anothers_p95(shared_cloud):
    alone = p95(waits_of_b(shared_cloud, {}, flood=0))
    beside = p95(waits_of_b(shared_cloud, {"MessageGroupId": "a"}, flood=FLOOD))
    # The same flood from nobody: each of its messages is a tenant of its own.
    unnamed = p95(waits_of_b(shared_cloud, {}, flood=FLOOD))
    print(f"p95 of b: alone {alone:.3f} s, beside the flood {beside:.3f} s, {unnamed:.3f} s")
    # Of what a consumer has begun, the end is waited for in any case.
    assert beside < alone + 4 * TASK_SECONDS
    assert unnamed > 10 * TASK_SECONDS
