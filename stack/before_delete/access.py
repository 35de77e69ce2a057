"""How a hook reaches AWS: as the stack's own provider does, through botocore."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from taskpacks.errors import TaskpacksError

_NOT_VALID: Final = frozenset(
    {
        "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidAccessKeyId",
        "InvalidClientTokenId", "InvalidSignatureException", "InvalidToken",
        "MissingAuthenticationToken", "MissingAuthenticationTokenException", "RequestExpired",
        "SignatureDoesNotMatch", "UnrecognizedClientException",
    }
)  # fmt: skip
"""https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html and S3's own:
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""


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
    """Makes a client of a service, whose credentials are renewed for as long as it is used.

    Raises:
        BotoCoreError: There are no such credentials.
    """
    from botocore.config import Config  # noqa: PLC0415 - slow, and only deleting needs it
    from botocore.credentials import (  # noqa: PLC0415 - as above
        AssumeRoleCredentialFetcher,
        DeferredRefreshableCredentials,
    )
    from botocore.exceptions import NoCredentialsError  # noqa: PLC0415 - as above
    from botocore.session import Session  # noqa: PLC0415 - as above

    session: Any = Session(profile=how.profile)
    if how.access_key:
        session.set_credentials(how.access_key, how.secret_key, how.token)
    config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3})

    def made(name: str, **credentials: str) -> Any:
        url = how.endpoint_urls.get(name)
        return session.create_client(
            name, region_name=how.region, endpoint_url=url, config=config, **credentials
        )

    if how.roles:
        credentials = session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        for role in how.roles:
            # An answer of AssumeRole holds for an hour, and workers are waited for longer.
            fetcher: Any = AssumeRoleCredentialFetcher(
                made,
                credentials,
                role["roleArn"],
                extra_args={
                    "RoleSessionName": role.get("sessionName", "taskpacks"),
                    **({"ExternalId": role["externalId"]} if "externalId" in role else {}),
                },
            )
            credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
        provider = SimpleNamespace(load_credentials=lambda: credentials)
        session = Session()
        session.register_component("credential_provider", provider)
    return made(service)


@contextlib.contextmanager
def asking(refusal: type[TaskpacksError], what: str, actions: str) -> Generator[None]:
    """Turns what AWS answers, or the lack of credentials, into a refusal that says what to do.

    Args:
        refusal: Is raised.
        what: What is refused, and why.
        actions: What the credentials must allow.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as in `client`

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise refusal(f"{what}: {str(error).rstrip('.')}. {remedy(error, actions)}") from error


def remedy(error: Exception, actions: str) -> str:
    """Returns the sentence that says what helps against an error of botocore.

    Args:
        error: A BotoCoreError or ClientError.
        actions: What the credentials must allow.
    """
    from botocore import exceptions  # noqa: PLC0415 - as in `client`

    code = operation = ""
    if isinstance(error, exceptions.ClientError):
        code, operation = error.response["Error"]["Code"], error.operation_name
    if "AccessDenied" in code:
        if operation == "AssumeRole":
            actions = "sts:AssumeRole on the roles in aws:assumeRoles"
        return (
            f"Run this command again with credentials that may call {actions} (aws:profile, or the "
            "environment)."
        )
    if code in _NOT_VALID or isinstance(
        error,
        (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.CredentialRetrievalError,
            exceptions.TokenRetrievalError,
            exceptions.SSOError,
            exceptions.ProfileNotFound,
        ),
    ):
        return (
            "Sign in again, or name other credentials (aws:profile, or the environment), and run "
            "this command again."
        )
    return "Run this command again."
