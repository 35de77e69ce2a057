"""boto3 clients for the local cloud, and its refusals as errors that say what was attempted."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.engine.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Generator

ACCOUNT_ID: Final = "123456789012"
"""moto's account."""
PARTITION: Final = "aws"

_MISSING = re.compile(r"NotFound|NoSuch|NonExistent|DoesNotExist|^404$")


_ACCESS_KEY: Final = "local"
"""moto asks for some value, any value."""
ASKED_BY_PROGRAMS: Final = ("batch", "iam", "s3", "sqs")
"""Services that hooks of the program call (stack/before_delete)."""


def provider_settings(endpoint_url: str) -> dict[str, str]:
    """Returns a stack's settings for a cloud that is not AWS, for programs that call it themselves.

    These are the keys by which the real provider finds a cloud too:
    https://www.pulumi.com/registry/packages/aws/installation-configuration/
    """
    return {
        "aws:accessKey": _ACCESS_KEY,
        "aws:secretKey": _ACCESS_KEY,
        "aws:endpoints": json.dumps([dict.fromkeys(ASKED_BY_PROGRAMS, endpoint_url)]),
    }


class Cloud:
    """One region of the cloud behind an endpoint. Clients are made when first asked for."""

    def __init__(self, endpoint_url: str, region: str) -> None:
        self.endpoint_url = endpoint_url
        self.region = region
        self._clients: dict[str, Any] = {}
        self._regions: dict[str, Cloud] = {region: self}

    def at(self, region: str | None) -> Cloud:
        """The same cloud in a resource's own region, if it names one."""
        name = region or self.region
        if name not in self._regions:
            self._regions[name] = Cloud(self.endpoint_url, name)
        return self._regions[name]

    def client(self, service: str) -> Any:
        """The boto3 client of a service; not for two threads at once."""
        if service not in self._clients:
            self._clients[service] = _session().client(
                service,
                region_name=self.region,
                endpoint_url=self.endpoint_url,
                aws_access_key_id=_ACCESS_KEY,
                aws_secret_access_key=_ACCESS_KEY,
                config=Config(
                    connect_timeout=5,
                    read_timeout=30,
                    retries={"total_max_attempts": 1},
                    proxies={},
                    s3={"addressing_style": "path"},
                ),
            )
        return self._clients[service]

    def arn(self, service: str, resource: str) -> str:
        """An ARN in this region and account."""
        return f"arn:{PARTITION}:{service}:{self.region}:{ACCOUNT_ID}:{resource}"


@cache
def _session() -> Any:
    """One for all engines of a process: it keeps AWS's large service models once read."""
    return boto3.session.Session()


@contextmanager
def calls_for(subject: str) -> Generator[None]:
    """Turns boto3's errors into one that names the subject and keeps the cloud's words.

    Raises:
        CloudError: In place of any error of boto3.
    """
    try:
        yield
    except ClientError as error:
        raise CloudError(f"{subject}: {error}") from error
    except BotoCoreError as error:
        raise CloudError(f"{subject}: the call could not be made: {error}") from error


def is_missing(error: ClientError) -> bool:
    """Whether the cloud says that there is no such thing."""
    return bool(_MISSING.search(error.response.get("Error", {}).get("Code", "")))
