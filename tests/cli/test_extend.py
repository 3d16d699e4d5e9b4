"""`signspot extend` against moto's CloudFormation: the stack, the box's word, one message for each refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from typer.testing import CliRunner

from cli.extend import RunNow, look_up, move, tell_box
from cli.main import app
from contract.ceiling import Ceiling
from contract.errors import CloudError, StorageError
from contract.status import Deadline
from tests.cli.schemas import check

STOP_AT = (datetime.now(UTC) + timedelta(hours=5)).replace(microsecond=0)
KEPT = Ceiling(STOP_AT, Decimal("0.5"), Decimal("4.00"))
TEMPLATE: dict[str, Any] = {
    "Parameters": {name: {"Type": "String"} for name in (*KEPT.parameters, "Other")},
    "Resources": {
        "Topic": {
            "Type": "AWS::SNS::Topic",
            "Properties": {"TopicName": "run", "DisplayName": {"Ref": "StopAt"}},
        }
    },
    "Outputs": {
        "Bucket": {"Value": "bucket"},
        "Group": {"Value": "no-such-group"},
        "Kept": {"Value": {"Ref": "Other"}},
    },
}


@pytest.fixture
def cloud(s3: Any) -> Iterator[Any]:
    client = boto3.client("cloudformation")
    values = {**KEPT.parameters, "Other": "mine"}
    client.create_stack(
        StackName="signspot-demo",
        TemplateBody=json.dumps(TEMPLATE),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()],
    )
    yield client


def extend(*arguments: str, answer: str = "") -> Any:
    return CliRunner().invoke(app, ["extend", "demo", *arguments], input=answer)


def kept(cloud: Any) -> dict[str, str]:
    (stack,) = cloud.describe_stacks(StackName="signspot-demo")["Stacks"]
    return {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}


def told(s3: Any) -> datetime:
    body = s3.get_object(Bucket="bucket", Key="runs/demo/deadline.json")["Body"].read()
    return Deadline.model_validate_json(body).stop_at


def test_both_ceilings_are_shown_before_anything_moves(cloud: Any) -> None:
    shown = extend("--hours", "2", answer="n\n")
    assert shown.exit_code == 1
    assert "at most $4.00" in shown.output and "at most $5.00" in shown.output
    assert "The group is at 0" in shown.output
    assert kept(cloud) == {**KEPT.parameters, "Other": "mine"}


def test_stack_and_box_get_the_new_end(cloud: Any, s3: Any) -> None:
    assert extend("--hours", "2", "--yes").exit_code == 0
    longer = KEPT.extended(2, datetime.now(UTC))
    assert kept(cloud) == {**longer.parameters, "Other": "mine"}
    assert told(s3) == longer.stop_at


def test_json_is_one_object_and_the_rest_goes_to_stderr(cloud: Any) -> None:
    shown = extend("--hours", "2", "--yes", "--json")
    assert shown.exit_code == 0
    said = check("extend", shown.stdout)
    longer = KEPT.extended(2, datetime.now(UTC))
    assert (datetime.fromisoformat(said["stop_at"]), said["usd_at_most"]) == (longer.stop_at, "5.00")
    assert (datetime.fromisoformat(said["stop_at_before"]), said["usd_at_most_before"]) == (STOP_AT, "4.00")
    assert said["runs"] is False
    assert "at most $5.00" in shown.stderr


def test_no_hours_tell_the_box_again_and_move_nothing(cloud: Any, s3: Any) -> None:
    assert extend("--hours", "0").exit_code == 0
    assert kept(cloud) == {**KEPT.parameters, "Other": "mine"}
    assert told(s3) == STOP_AT


def test_more_than_a_week_is_refused(cloud: Any) -> None:
    assert "a run may have 168" in str(extend("--hours", "161", "--yes").exception)
    assert kept(cloud)["StopAt"] == KEPT.parameters["StopAt"]


def test_an_unknown_run_is_one_message(s3: Any) -> None:
    with pytest.raises(CloudError, match="there is no run 'demo'"):
        look_up(boto3.client("cloudformation"), "demo")


def run_now() -> RunNow:
    names = (*KEPT.parameters, "Other")
    return RunNow("demo", "signspot-demo", KEPT, datetime.now(UTC), names, "bucket", {"group": 1})


def stubbed(method: str, *answers: Any) -> Any:
    client = boto3.client("cloudformation", region_name="us-east-1")
    stub = Stubber(client)
    for code, message in answers:
        stub.add_client_error(method, code, message)
    stub.activate()
    return client


def test_a_stack_in_motion_is_left_alone(cloud: Any) -> None:
    client = boto3.client("cloudformation", region_name="us-east-1")
    stub = Stubber(client)
    stack = {"StackName": "signspot-demo", "CreationTime": datetime.now(UTC), "StackStatus": "UPDATE_IN_PROGRESS"}
    stub.add_response("describe_stacks", {"Stacks": [stack]})
    with stub, pytest.raises(CloudError, match=r"(?s)is UPDATE_IN_PROGRESS.*wait until"):
        look_up(client, "demo")


def test_expired_credentials_are_one_message(s3: Any) -> None:
    client = stubbed("describe_stacks", ("ExpiredToken", "The security token included in the request is expired"))
    with pytest.raises(CloudError, match=r"(?s)cannot be looked up.*log in to AWS"):
        look_up(client, "demo")


def test_a_stack_that_has_it_already_is_no_error(s3: Any) -> None:
    client = stubbed("update_stack", ("ValidationError", "No updates are to be performed."))
    move(client, run_now(), KEPT)


def test_what_aws_refuses_is_told(s3: Any) -> None:
    client = stubbed("update_stack", ("AccessDenied", "not authorized"))
    with pytest.raises(CloudError, match="cannot be extended"):
        move(client, run_now(), KEPT)


def test_asking_twice_by_one_look_is_the_same_request(s3: Any) -> None:
    """CloudFormation does a request once per token; a second look sees the new end, and is another request."""
    tokens: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        tokens.append(params["ClientRequestToken"])

    for ceiling in (KEPT.extended(2, KEPT.stop_at - timedelta(hours=1)),) * 2 + (KEPT,):
        client = stubbed("update_stack", ("ValidationError", "No updates are to be performed."))
        client.meta.events.register("provide-client-params.cloudformation.UpdateStack", note)
        move(client, run_now(), ceiling)
    assert tokens[0] == tokens[1] != tokens[2]
    assert all(len(token) <= 128 for token in tokens)


def test_a_box_that_could_not_be_told_says_how_to_tell_it(s3: Any) -> None:
    s3.delete_bucket(Bucket="bucket")
    with pytest.raises(StorageError, match="signspot extend demo --hours 0"):
        tell_box(s3, run_now(), STOP_AT)
