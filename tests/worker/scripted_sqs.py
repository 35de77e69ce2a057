"""An SQS client that does as a test scripts it, and a clock that the test moves."""

from botocore.exceptions import ClientError, ConnectionClosedError

URL = "http://127.0.0.1/1/tasks"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Sqs:
    """A client that notes what it is told, and fails as it is told."""

    def __init__(self):
        self.calls = []
        self.errors = []
        self.refused = {}
        self.hold = None

    def change_message_visibility(self, QueueUrl, ReceiptHandle, VisibilityTimeout):  # noqa: ARG002, N803 -- boto3's
        self._do(("hide", ReceiptHandle, VisibilityTimeout))

    def delete_message_batch(self, QueueUrl, Entries):  # noqa: ARG002, N803 -- boto3's
        self._do(("delete", *[each["ReceiptHandle"] for each in Entries]))
        codes = {each["Id"]: self.refused.get(each["ReceiptHandle"]) for each in Entries}
        return {
            "Successful": [{"Id": each} for each, code in codes.items() if code is None],
            "Failed": [{"Id": each, "Code": code} for each, code in codes.items() if code],
        }

    def _do(self, call):
        if self.hold is not None and call[-1] != 0:
            self.hold.wait(5)
        self.calls.append(call)
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error


def refused(code):
    return ClientError({"Error": {"Code": code, "Message": "on purpose"}}, "Action")


DROPPED = ConnectionClosedError(endpoint_url=URL)


def message(handle="handle", receives=1, **attributes):
    return {
        "ReceiptHandle": handle,
        "MessageId": f"message of {handle}",
        "Attributes": {"ApproximateReceiveCount": str(receives), **attributes},
    }
