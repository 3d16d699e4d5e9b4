"""The metadata service's manners, seen the way a box sees them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from botocore.credentials import InstanceMetadataProvider
from botocore.utils import InstanceMetadataFetcher

from rehearsal.imds import Identity, Imds

NOTICE = "/latest/meta-data/spot/instance-action"
IDENTITY = Identity("i-0abc", "g4dn.xlarge", "us-east-1", "us-east-1a", "box-role", "123456789012")
CREDENTIALS = {
    "Code": "Success",
    "Type": "AWS-HMAC",
    "LastUpdated": "2030-01-01T00:00:00Z",
    "AccessKeyId": "ASIAEXAMPLE",
    "SecretAccessKey": "secret",
    "Token": "token",
    "Expiration": f"{datetime.now(UTC) + timedelta(hours=6):%Y-%m-%dT%H:%M:%SZ}",
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def imds(clock: Clock) -> Iterator[Imds]:
    with Imds(IDENTITY, lambda: CREDENTIALS, clock=clock) as service:
        yield service


def ask(imds: Imds, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(imds.endpoint + path, method=method, headers=names)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def token(imds: Imds, seconds: str = "60") -> str:
    status, value = ask(imds, "/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds=seconds)
    assert status == 200
    return value


def get(imds: Imds, path: str) -> tuple[int, str]:
    return ask(imds, path, X_aws_ec2_metadata_token=token(imds))


@pytest.mark.parametrize("seconds", ["0", "21601", "-1", "soon", ""])
def test_a_token_lives_from_one_second_to_six_hours(imds: Imds, seconds: str) -> None:
    assert ask(imds, "/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds=seconds)[0] == 400


def test_a_token_needs_a_lifetime(imds: Imds) -> None:
    assert ask(imds, "/latest/api/token", "PUT")[0] == 400


def test_nothing_without_a_token(imds: Imds) -> None:
    assert ask(imds, "/latest/meta-data/instance-id")[0] == 401
    assert ask(imds, "/latest/meta-data/instance-id", X_aws_ec2_metadata_token="made-up")[0] == 401


def test_an_expired_token_is_refused(imds: Imds, clock: Clock) -> None:
    held = token(imds, "60")
    assert ask(imds, "/latest/meta-data/instance-id", X_aws_ec2_metadata_token=held) == (200, "i-0abc")
    clock.now += 60
    assert ask(imds, "/latest/meta-data/instance-id", X_aws_ec2_metadata_token=held)[0] == 401


def test_a_notice_is_404_until_there_is_one_and_then_never_moves(imds: Imds) -> None:
    assert get(imds, NOTICE)[0] == 404
    at = datetime(2030, 5, 1, 12, 0, 0, tzinfo=UTC)
    imds.notice(at)
    imds.notice(at + timedelta(minutes=5))
    for _ in range(2):
        status, body = get(imds, NOTICE)
        assert (status, json.loads(body)) == (200, {"action": "terminate", "time": "2030-05-01T12:00:00Z"})
    assert get(imds, "/latest/meta-data/spot/termination-time") == (200, "2030-05-01T12:00:00Z")


def test_other_signals(imds: Imds) -> None:
    rebalance = "/latest/meta-data/events/recommendations/rebalance"
    assert get(imds, rebalance)[0] == 404
    imds.rebalance(datetime(2030, 5, 1, tzinfo=UTC))
    assert json.loads(get(imds, rebalance)[1]) == {"noticeTime": "2030-05-01T00:00:00Z"}
    assert get(imds, "/latest/meta-data/events/maintenance/scheduled") == (200, "[]")
    assert get(imds, "/latest/meta-data/autoscaling/target-lifecycle-state") == (200, "InService")


def test_who_the_box_is(imds: Imds) -> None:
    assert get(imds, "/latest/meta-data/instance-type") == (200, "g4dn.xlarge")
    assert get(imds, "/latest/meta-data/placement/availability-zone") == (200, "us-east-1a")
    assert json.loads(get(imds, "/latest/dynamic/instance-identity/document")[1])["region"] == "us-east-1"
    assert get(imds, "/latest/meta-data/no-such-thing")[0] == 404


def test_botocore_finds_the_roles_credentials(imds: Imds) -> None:
    fetcher = InstanceMetadataFetcher(
        timeout=5, num_attempts=1, env={}, config={"ec2_metadata_service_endpoint": imds.endpoint + "/"}
    )
    found = InstanceMetadataProvider(iam_role_fetcher=fetcher).load()
    assert found is not None
    assert found.get_frozen_credentials().access_key == "ASIAEXAMPLE"


def test_faults_can_be_injected(imds: Imds) -> None:
    held = token(imds)
    imds.fault = lambda method, path: (500, b"") if path == NOTICE else None
    assert ask(imds, NOTICE, X_aws_ec2_metadata_token=held)[0] == 500
    imds.fault = lambda method, path: (200, b"{not json")
    assert ask(imds, NOTICE, X_aws_ec2_metadata_token=held) == (200, "{not json")
