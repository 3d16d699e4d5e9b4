"""AWS's refusals in words for people. Enters: an error of boto3. Leaves: ours, with what mends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from contract.errors import CloudError, SignspotError

EXPIRED = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "RequestExpired",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
"""https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html, and what EC2 and S3 say instead."""
UNKNOWN = (
    exceptions.CredentialRetrievalError,
    exceptions.LoginError,
    exceptions.NoAuthTokenError,
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)
REFUSED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


def code_of(error: BaseException | None) -> str:
    """AWS's code of a ClientError; empty for anything else."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def mend_of(error: Exception) -> str:
    """What a person can do about it; empty when nothing is known."""
    if isinstance(error, UNKNOWN) or code_of(error) in EXPIRED:
        return "log in to AWS (`aws sso login`, or keys of yours), then give the same command again"
    if isinstance(error, exceptions.ProfileNotFound):
        return "name a profile of this laptop (AWS_PROFILE): `aws configure list-profiles` has them"
    if isinstance(error, exceptions.NoRegionError):
        return "name the region: export AWS_REGION=us-east-1"
    if code_of(error) in REFUSED:
        return "use credentials that may do this (AWS_PROFILE), then give the same command again"
    return "give the same command again"


@contextmanager
def refused(what: str, kind: type[SignspotError] = CloudError) -> Iterator[None]:
    """Turns what boto3 raises into `kind`, saying `what` could not be done."""
    try:
        yield
    except (ClientError, BotoCoreError, Boto3Error) as error:
        raise kind(what, why=str(error), mend=mend_of(error)) from error
