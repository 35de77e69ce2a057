"""The worker's role allows what a real worker does: moto checks no permissions, this does."""

from stack import policies
from stack.model import StackContext
from taskpacks import Permissions
from taskpacks.contract import ExitCode

CONTEXT = StackContext(
    project="taskpacks",
    stack="test",
    region="us-east-1",
    partition="aws",
    account_id="123456789012",
    kms_key=None,
)


def test_the_workers_role_allows_every_call_of_a_real_worker(site, proxy, tmp_path):
    site.send("add", left=1, right=1)
    site.send("refuse", value=1)
    site.send("fail")
    site.send("again", journal=str(tmp_path / "journal"), times=2)
    with site.worker(**site.through(proxy), TASKPACKS_IDLE_SECONDS="4") as worker:
        assert worker.wait(60) == ExitCode.DRAINED
    # SQS asks for the same permission, whether one message is deleted or several:
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    asked = {call.action.removesuffix("Batch") for call in proxy.calls} | proxy.others
    document = policies.worker(
        "arn:queue",
        "arn:table",
        "arn:data",
        Permissions(),
        deployment="site",
        context=CONTEXT,
    )
    allowed = {action for each in document["Statement"] for action in each["Action"]}
    assert asked <= {action.partition(":")[2] for action in allowed}
    assert {"SendMessage", "UpdateItem"} <= asked  # it retried a task, and counted attempts
