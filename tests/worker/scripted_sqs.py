"""An SQS client that does as a test scripts it, and a clock that the test moves."""

import threading

from botocore.exceptions import ClientError, ConnectionClosedError

from worker.leases import Lease

URL = "http://127.0.0.1/1/tasks"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Sqs:
    """A client that notes what it is asked for, and fails as the script says.

    `during` is done once, while a call is on its way.
    """

    def __init__(self):
        self.calls = []
        self.errors = []
        self.refused = {}
        self.unnamed = set()
        self.hold = None
        self.during = None

    def change_message_visibility(self, QueueUrl, ReceiptHandle, VisibilityTimeout):  # noqa: ARG002, N803 -- boto3's
        self._do(("hide", ReceiptHandle, VisibilityTimeout))

    def delete_message_batch(self, QueueUrl, Entries):  # noqa: ARG002, N803 -- boto3's
        self._do(("delete", *[each["ReceiptHandle"] for each in Entries]))
        codes = {
            each["Id"]: self.refused.get(each["ReceiptHandle"])
            for each in Entries
            if each["ReceiptHandle"] not in self.unnamed
        }
        return {
            "Successful": [{"Id": each} for each, code in codes.items() if code is None],
            "Failed": [
                {"Id": each, "Code": code, "SenderFault": code.startswith("Invalid")}
                for each, code in codes.items()
                if code
            ],
        }

    def _do(self, call):
        if self.hold is not None and call[-1] != 0:
            self.hold.wait(5)
        self.calls.append(call)
        during, self.during = self.during, None
        if during is not None:
            during()
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error


def refused(code, status=400):
    return ClientError(
        {
            "Error": {"Code": code, "Message": "on purpose"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        "Action",
    )


UNAVAILABLE = refused("ServiceUnavailable", 503)


DROPPED = ConnectionClosedError(endpoint_url=URL)


def message(handle="handle", receives=1, **attributes):
    return {
        "ReceiptHandle": handle,
        "MessageId": f"message of {handle}",
        "Attributes": {"ApproximateReceiveCount": str(receives), **attributes},
    }


class Overtaken:
    """A lock that another thread has first, or next: what that does is done in whole.

    Args:
        first: Done before whoever asks for the lock gets it.
        next_: Done as soon as it is free again, before whoever had it goes on.
    """

    def __init__(self, first=None, next_=None):
        self._lock = threading.Lock()
        self._first = first
        self._next = next_

    def acquire(self, *, blocking=True):
        first, self._first = self._first, None
        if first is not None:
            first()
        return self._lock.acquire(blocking)

    def release(self):
        self._lock.release()
        then, self._next = self._next, None
        if then is not None:
            then()

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()


class Interrupted(Lease):
    """A lease whose next change of state waits for another thread, if that can enter at all."""

    between = None

    @property
    def state(self):
        return self.__dict__["state"]

    @state.setter
    def state(self, state):
        between, self.between = self.between, None
        if between is not None:
            other = threading.Thread(target=between)
            other.start()
            other.join(0.2)  # if nothing keeps it out, it has ended by now
            self.others.append(other)
        self.__dict__["state"] = state

    @classmethod
    def make(cls, lease, between):
        """Makes a lease one of these."""
        lease.__class__, lease.others, lease.between = cls, [], between
