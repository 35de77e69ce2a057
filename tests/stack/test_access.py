"""The refusals of hooks that AWS does not answer."""

import moto
import pytest
from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from stack.before_delete import data, messages, policies
from stack.before_delete.access import Access, client, remedy
from stack.before_delete.data import DataAtRiskError
from stack.before_delete.messages import MessagesLeftError
from stack.before_delete.policies import PolicyAttachedError

NOBODY = Access(region="us-east-1", profile="nobody")
ROLE = {"roleArn": "arn:aws:iam::222222222222:role/deploy"}
URL = "https://sqs.us-east-1.amazonaws.com/1/other-tasks"
ARN = "arn:aws:iam::1:policy/small"
ASKS = [
    pytest.param(lambda how: messages.held(how, [URL]), MessagesLeftError, id="messages"),
    pytest.param(lambda how: data.abort_uploads(how, "bucket"), DataAtRiskError, id="data"),
    pytest.param(lambda how: policies.look(how, ARN), PolicyAttachedError, id="policies"),
]


@pytest.mark.parametrize(("ask", "refusal"), ASKS)
def test_a_profile_that_there_is_not_is_a_refusal_with_a_remedy(ask, refusal):
    with pytest.raises(refusal, match=r"is not deleted.*\(nobody\) could not be found\. Sign in"):
        ask(NOBODY)


@pytest.mark.parametrize(("ask", "refusal"), ASKS)
def test_a_role_that_may_not_be_taken_on_is_a_refusal_that_names_the_setting(
    ask, refusal, monkeypatch
):
    def assume_role(_self, **_arguments):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole")

    how = Access(region="us-east-1", access_key="a", secret_key="b", roles=(ROLE,))
    monkeypatch.setattr(moto.sts.models.STSBackend, "assume_role", assume_role)
    with (
        moto.mock_aws(),
        pytest.raises(refusal, match=r"sts:AssumeRole on the roles in aws:assumeRoles"),
    ):
        ask(how)


def answered(code):
    return ClientError({"Error": {"Code": code, "Message": "."}}, "ListJobs")


@pytest.mark.parametrize(
    ("error", "beginning"),
    [
        (answered("AccessDenied"), "Run this command again with credentials that may call x:Y"),
        (answered("AccessDeniedException"), "Run this command again with credentials that"),
        (answered("ExpiredToken"), "Sign in again, or name other credentials (aws:profile"),
        (answered("UnrecognizedClientException"), "Sign in again"),
        (exceptions.NoCredentialsError(), "Sign in again"),
        (exceptions.UnauthorizedSSOTokenError(), "Sign in again"),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="."), "Sign in again"),
        (answered("ThrottlingException"), "Run this command again."),
        (exceptions.EndpointConnectionError(endpoint_url="https://sqs"), "Run this command again."),
    ],
)
def test_the_remedy_is_that_of_the_error(error, beginning):
    assert remedy(error, "x:Y").startswith(beginning)


@pytest.mark.parametrize("gone", ["NoSuchUpload", "NoSuchBucket"])
def test_what_is_gone_when_it_is_to_be_aborted_needs_no_aborting(gone, monkeypatch):
    s3 = client(Access(region="us-east-1", access_key="a", secret_key="b"), "s3")
    monkeypatch.setattr(data, "client", lambda _how, _service: s3)
    uploads = [{"Key": key, "UploadId": key} for key in ("done", "half")]
    with Stubber(s3) as stub:
        stub.add_response("list_multipart_uploads", {"Uploads": uploads, "IsTruncated": False})
        stub.add_client_error("abort_multipart_upload", gone)
        if gone == "NoSuchUpload":  # the others are aborted yet
            stub.add_response("abort_multipart_upload", {})
        data.abort_uploads(NOBODY, "bucket")
        stub.assert_no_pending_responses()
