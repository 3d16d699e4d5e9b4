"""Who asks, where, and what the account has already. Enters: clients. Leaves: findings, and what such a run has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from cli.live import Client, groups_of
from cli.preflight.facts import Facts, Up
from cli.preflight.finding import Finding, ask, ask_once, bad, good, warn
from cli.refusal import UNKNOWN, code_of, mend_of
from contract.ceiling import kept_by

SHORT = timedelta(minutes=15)
"""A deploy takes about so long, with the wait for the first step."""
BOOTSTRAP = "/cdk-bootstrap/hnb659fds/version"
BOOTSTRAP_LEAST = 6
"""`requiresBootstrapStackVersion` of our cloud assembly."""
LOG_IN = (
    "`aws configure` with an access key; or AWS CLI version 2, in another terminal: `aws configure sso`, "
    "`aws sso login`. No account yet: docs/first-run.md"
)
GONE = ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS")


def look_at_credentials(client: Client, credentials: Any, now: datetime, facts: Facts) -> Iterator[Finding]:
    """`credentials`: as botocore resolved them, or None. Fills in `facts.account`."""
    name = "credentials"
    if credentials is None:
        yield bad(name, "this laptop has no AWS credentials", LOG_IN)
        return
    try:
        caller = ask(client("sts"), "get_caller_identity")
    except (ClientError, *UNKNOWN) as error:
        yield bad(name, f"AWS does not accept them: {error}", mend_of(error))
        return
    facts.account = caller["Account"]
    who = caller["Arn"].partition(":iam::")[2] or caller["Arn"].partition(":sts::")[2] or caller["Arn"]
    until = _expiry(credentials, os.environ)
    if until is None:
        lasting = "temporary; until when is not known" if credentials.token else "they do not expire"
    else:
        lasting = f"good for {_duration(until - now)}" if until > now else "expired"
    text = f"{who}, {lasting}"
    if until is not None and until - now < SHORT:
        yield warn(
            name, f"{text}: too short for a deploy; a run that is up does not need them", "log in again: aws sso login"
        )
    elif caller["Arn"].endswith(":root"):
        yield warn(name, f"{text}: the account's root user", "use a user or a role of your own: docs/first-run.md")
    else:
        yield good(name, text)


def _expiry(credentials: Any, environment: Mapping[str, str]) -> datetime | None:
    """botocore tells nobody; the AWS CLI's `export-credentials` reads the same attribute."""
    known: datetime | None = getattr(credentials, "_expiry_time", None)
    if known is None and (text := environment.get("AWS_CREDENTIAL_EXPIRATION")):
        try:
            known = datetime.fromisoformat(text)
        except ValueError:
            return None
    return known.astimezone(UTC) if known else None


def _duration(left: timedelta) -> str:
    minutes = int(left.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def look_at_bootstrap(client: Client, facts: Facts) -> Iterator[Finding]:
    name, ssm = "CDK bootstrap", client("ssm")
    mend = f"node_modules/.bin/cdk bootstrap aws://{facts.account}/{ssm.meta.region_name}"
    found = ask(ssm, "get_parameters", Names=[BOOTSTRAP])["Parameters"]
    if not found:
        yield bad(name, f"{ssm.meta.region_name} of this account is not bootstrapped", mend)
    elif not found[0]["Value"].isdigit() or int(found[0]["Value"]) < BOOTSTRAP_LEAST:
        yield bad(name, f"version {found[0]['Value']}; {BOOTSTRAP_LEAST} or later is needed", mend)
    else:
        yield good(name, f"version {found[0]['Value']}, in {ssm.meta.region_name}")


def look_at_run(client: Client, run: str, boxes: int, facts: Facts) -> Iterator[Finding]:
    """Fills in `facts.up`: a run that is deployed keeps its limits."""
    stack = f"signspot-{run}"
    try:
        answer = ask_once(client("cloudformation"), "describe_stacks", StackName=stack)
    except ClientError as error:
        if code_of(error) != "ValidationError":
            raise
        yield good("run", f"{run}: a new one")
        return
    status = answer["Stacks"][0]["StackStatus"]
    if status in GONE:
        yield good("run", f"{run}: a new one")
    elif status.endswith("IN_PROGRESS"):
        yield bad("run", f"the stack {stack} is {status}", "wait until that is over, then ask again")
    elif status.startswith("ROLLBACK") or status.endswith("_FAILED"):
        yield bad("run", f"the stack {stack} is {status}: it cannot be deployed again", f"signspot destroy {run}")
    else:
        yield from _kept(client, run, boxes, answer, facts)


def _kept(client: Client, run: str, boxes: int, answer: dict[str, Any], facts: Facts) -> Iterator[Finding]:
    outputs = {one["OutputKey"]: one["OutputValue"] for one in answer["Stacks"][0].get("Outputs", [])}
    ceiling, now = kept_by(answer)
    groups = ask(client("autoscaling"), "describe_auto_scaling_groups", AutoScalingGroupNames=groups_of(outputs))
    desired = sum(group["DesiredCapacity"] for group in groups["AutoScalingGroups"])
    facts.up = Up(ceiling=ceiling, desired=desired, bucket=outputs["Bucket"], groups=groups_of(outputs))
    if ceiling.boxes != boxes:  # the kept end and ceiling are those of so many boxes
        have, want = f"{ceiling.boxes} {'box' if ceiling.boxes == 1 else 'boxes'}", f"machine.boxes={boxes}"
        text = f"{run} is deployed with {have} and keeps that, and {want}"
        yield bad("run", text, f"-c boxes={ceiling.boxes}; or signspot destroy {run}, or another run name")
    elif ceiling.stop_at <= now:
        yield warn("run", f"{run} is deployed; its time is over ({ceiling})", f"signspot extend {run} --hours 2")
    elif not desired:
        yield warn("run", f"{run} is deployed, its group is at 0; a deploy starts nothing", f"signspot restart {run}")
    else:
        yield good("run", f"{run} is up and keeps its limits: {ceiling}")
