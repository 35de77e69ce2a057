"""kombu's SQS transport for plain workers without pycurl."""

from __future__ import annotations

from typing import Any, ClassVar

from kombu.transport import SQS


class BlockingTransport(SQS.Transport):
    """kombu's own, without its asynchronous path, which needs pycurl."""

    implements: ClassVar[Any] = SQS.Transport.implements.extend(asynchronous=False)
