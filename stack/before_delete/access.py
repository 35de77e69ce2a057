"""How a hook reaches AWS: as the stack's own provider does, through boto3."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Access:
    """The settings of the stack's provider, for a client beside it; None is the default.

    Attributes:
        region: Where the stack is.
        profile: Of the shared configuration files.
        access_key: With secret_key, in place of a profile.
        secret_key: See access_key.
        token: Of temporary credentials.
        roles: Taken on one after the other, as the provider does, each with its "roleArn" and
            perhaps "sessionName" and "externalId". Without them another account's resources
            would be looked at.
        endpoint_urls: By the service's name, where it is not AWS's own endpoint.
    """

    region: str
    profile: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    token: str | None = None
    roles: tuple[Mapping[str, str], ...] = ()
    endpoint_urls: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def read(cls, setting: Callable[[str], str | None], region: str) -> Access:
        """Reads the settings of the AWS provider.

        Args:
            setting: Gives a key of the stack's configuration as text.
            region: Where the stack is.
        """
        endpoints: Sequence[Mapping[str, str]] = json.loads(setting("aws:endpoints") or "[]")
        return cls(
            region=region,
            profile=setting("aws:profile"),
            access_key=setting("aws:accessKey"),
            secret_key=setting("aws:secretKey"),
            token=setting("aws:token"),
            roles=tuple(json.loads(setting("aws:assumeRoles") or "[]")),
            endpoint_urls={name: url for each in endpoints for name, url in each.items() if url},
        )


def client(how: Access, service: str) -> Any:
    """Makes a boto3 client of a service."""
    import boto3  # noqa: PLC0415 - a fifth of a second, which only deleting needs
    from botocore.config import Config  # noqa: PLC0415 - as above

    session = boto3.Session(
        profile_name=how.profile,
        aws_access_key_id=how.access_key,
        aws_secret_access_key=how.secret_key,
        aws_session_token=how.token,
        region_name=how.region,
    )
    config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3})
    for role in how.roles:
        given = session.client(
            "sts", endpoint_url=how.endpoint_urls.get("sts"), config=config
        ).assume_role(
            RoleArn=role["roleArn"],
            RoleSessionName=role.get("sessionName", "taskpacks"),
            **({"ExternalId": role["externalId"]} if "externalId" in role else {}),
        )["Credentials"]
        session = boto3.Session(
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
            region_name=how.region,
        )
    made: Any = session.client(
        service,  # pyright: ignore[reportArgumentType, reportCallIssue] - any service's name
        endpoint_url=how.endpoint_urls.get(service),
        config=config,
    )
    return made
