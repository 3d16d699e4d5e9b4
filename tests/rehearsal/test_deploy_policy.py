"""Somebody with the generated policy and nothing else deploys, follows, extends, stops and destroys a run.

The commands are the real ones, from the CDK CLI to `signspot destroy`. Take any one statement away: a named command is
refused, and what refused it is the action that the statement allowed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from cli.fetch import stack_outputs
from cli.kinds import KINDS
from contract.status import Phase
from infra.deploy_policy import deploy_permissions, document
from infra.permissions import Permission
from rehearsal.aws import EmulatedAws
from rehearsal.quotas import VCPUS, set_limit
from tests.cli.runs import files_below, put_model, put_training

HOME = Path(__file__).resolve().parents[2]
USER = "somebody"
MANAGED_POLICY_LIMIT = 6144
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
NAMES = {"tagging": "tag", "resourcegroupstaggingapi": "tag"}
PERMISSIONS = {("s3", "list_buckets"): "s3:ListAllMyBuckets", ("budgets", "describe_budget"): "budgets:ViewBudget"}
"""Where a permission is not called as its operation is."""

CDK = [str(HOME / "node_modules/.bin/cdk")]
SIGNSPOT = [sys.executable, "-m", "cli"]
DEPLOY = [*CDK, "deploy", "--require-approval", "never", "--app"]
DESTROY = [*CDK, "destroy", "--force", "--app"]


class Laptop:
    """The account, and who sits before it."""

    def __init__(self, aws: EmulatedAws, work: Path) -> None:
        self.aws = aws
        self.work = work
        self.iam = aws.client("iam")
        self.iam.create_user(UserName=USER)
        made = self.iam.create_access_key(UserName=USER)["AccessKey"]
        self.key, self.secret = made["AccessKeyId"], made["SecretAccessKey"]
        self.permissions = deploy_permissions(aws.account, aws.region)

    @property
    def environment(self) -> dict[str, str]:
        mine = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return self.aws.environment(os.environ) | mine | {"PATH": path, "PYTHONPATH": str(HOME), "NO_COLOR": "1"}

    def hold(self, without: str = "") -> None:
        """Give the user the policy, but for one statement."""
        assert not without or without in [permission.sid for permission in self.permissions]
        kept = [permission for permission in self.permissions if permission.sid != without]
        self.iam.put_user_policy(UserName=USER, PolicyName="deploy", PolicyDocument=json.dumps(document(kept)))
        self.aws.denied.clear()

    def run(self, *command: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.work,
            env=environment or self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def succeeds(self, *command: str) -> str:
        self.hold()
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}; refused: {self.aws.denied}"
        return done.stdout

    def is_refused(self, action: str, without: str, *command: str) -> None:
        self.hold(without)
        done = self.run(*command)
        refused = {denial.action for denial in self.aws.denied if denial.principal.endswith(f"/{USER}")}
        assert done.returncode != 0, f"{command} went well without {without}: {done.stdout}"
        assert action in refused, f"{command} was refused {refused}: {done.stdout}{done.stderr}"

    def client(self, service: str) -> Any:
        return boto3.session.Session(self.key, self.secret, region_name=self.aws.region).client(  # type: ignore[call-overload]
            service, endpoint_url=self.aws.endpoint
        )


def synthesise(work: Path, run: str, **settings: str) -> Path:
    """As `cdk synth`, with a dataset of one row: nobody trains here."""
    (work / "data").mkdir(exist_ok=True)
    (work / "data/dataset.csv").write_text("path,label,split\na.npy,hello,train\n")
    context = {"run": run, "data.path": str(work / "data"), **settings}
    environment = {"CDK_OUTDIR": str(work / run), "CDK_CONTEXT_JSON": json.dumps(context), "HOME": str(work)}
    environment["PATH"] = str(Path(sys.executable).parent)
    subprocess.run([sys.executable, str(HOME / "app.py")], env=environment, check=True)
    return work / run


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """Before an account that an administrator has bootstrapped."""
    work = tmp_path_factory.mktemp("laptop")
    with EmulatedAws() as aws:
        laptop = Laptop(aws, work)
        bootstrap = [*CDK, "bootstrap", f"aws://{aws.account}/{aws.region}", "--no-notices"]
        done = laptop.run(*bootstrap, environment=laptop.environment | aws.environment())
        assert done.returncode == 0, done.stderr
        yield laptop


@pytest.fixture(scope="module")
def deployed(laptop: Laptop) -> Laptop:
    """With a run, called demo, that the user has deployed, and of which there is something to fetch."""
    laptop.succeeds(*DEPLOY, str(synthesise(laptop.work, "demo", keep_results="true")))
    bucket = stack_outputs(laptop.aws.client("cloudformation"), "demo")["Bucket"]
    put_training(laptop.aws.client("s3"), bucket, phase=Phase.DONE)
    put_model(laptop.aws.client("s3"), bucket)
    return laptop


@pytest.mark.parametrize("without", ["DeployAsCdk", "PublishAsCdk"])
def test_without_a_role_of_cdk_nothing_is_deployed(without: str, laptop: Laptop) -> None:
    app = laptop.work / "other"
    laptop.is_refused(
        "sts:AssumeRole", without, *DEPLOY, str(app if app.exists() else synthesise(laptop.work, "other"))
    )
    with pytest.raises(ClientError, match="does not exist"):
        laptop.aws.client("cloudformation").describe_stacks(StackName="signspot-other")


def test_with_every_statement_cdk_deploys_and_destroys(laptop: Laptop) -> None:
    app = str(synthesise(laptop.work, "brief"))
    laptop.succeeds(*DEPLOY, app)
    laptop.succeeds(*DESTROY, app)
    with pytest.raises(ClientError, match="does not exist"):
        laptop.aws.client("cloudformation").describe_stacks(StackName="signspot-brief")


def test_with_every_statement_the_run_is_followed_extended_and_stopped(deployed: Laptop) -> None:
    assert '"phase": "done"' in deployed.succeeds(*SIGNSPOT, "status", "demo", "--json")
    assert "two" in deployed.succeeds(*SIGNSPOT, "logs", "demo")
    deployed.succeeds(*SIGNSPOT, "fetch", "demo", "--to", "results")
    assert "model/model.keras" in files_below(deployed.work / "results/demo")
    deployed.succeeds(*SIGNSPOT, "extend", "demo", "--hours", "1", "--yes")
    deployed.succeeds(*SIGNSPOT, "stop", "demo")
    assert '"phase": "done"' in deployed.succeeds(*SIGNSPOT, "ls", "--json")
    assert '"total_usd"' in deployed.succeeds(*SIGNSPOT, "cost", "demo", "--json")


STEPS = {
    "ReadStack": ("cloudformation:DescribeStacks", "status demo --json"),
    "ReadRun": ("s3:GetObject", "status demo --json"),
    "ListRun": ("s3:ListBucket", "fetch demo --to again"),
    "ExtendRun": ("cloudformation:UpdateStack", "extend demo --hours 1 --yes"),
    "TellBox": ("s3:PutObject", "extend demo --hours 0 --yes"),
    "StopGroup": ("autoscaling:UpdateAutoScalingGroup", "stop demo"),
    "LookAround": ("autoscaling:DescribeAutoScalingGroups", "stop demo"),
    "DeleteStack": ("cloudformation:DeleteStack", "destroy demo --yes demo"),
}
"""Statement → what is refused without it, and to which command."""


@pytest.mark.parametrize("without", STEPS)
def test_without_one_statement_one_command_is_refused(without: str, deployed: Laptop) -> None:
    action, command = STEPS[without]
    deployed.is_refused(action, without, *SIGNSPOT, *command.split())


def test_without_the_quota_statement_check_names_what_it_may_not_ask(deployed: Laptop) -> None:
    settings = ["-c", "run=demo", "-c", f"data.path={deployed.work / 'data'}"]
    deployed.hold()
    told = deployed.run(*SIGNSPOT, "check", *settings).stdout
    assert "32 vCPUs (L-3819A6DF)" in told, told
    assert not deployed.aws.denied
    deployed.hold("AskForQuota")
    told = deployed.run(*SIGNSPOT, "check", *settings).stdout
    assert "servicequotas:GetServiceQuota is not allowed" in " ".join(told.split())
    set_limit(deployed.aws.account, deployed.aws.region, "L-3819A6DF", 0)
    try:
        request = [*SIGNSPOT, "check", "--request-quota", *settings]
        deployed.is_refused("servicequotas:RequestServiceQuotaIncrease", "RaiseQuota", *request)
        deployed.hold()
        assert "vCPUs requested" in deployed.run(*request).stdout
        assert not deployed.aws.denied
    finally:
        set_limit(deployed.aws.account, deployed.aws.region, "L-3819A6DF", VCPUS)


def attempts(laptop: Laptop) -> dict[str, Any]:
    """What is none of the user's business."""
    admin = laptop.aws.client
    admin("s3").create_bucket(Bucket="payroll")
    admin("s3").put_object(Bucket="payroll", Key="runs/a", Body=b"1")
    body = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    admin("cloudformation").create_stack(StackName="payroll", TemplateBody=json.dumps(body))
    role = f"arn:aws:iam::{laptop.aws.account}:role/cdk-hnb659fds-{{}}-role-{laptop.aws.account}-{laptop.aws.region}"
    bucket = stack_outputs(admin("cloudformation"), "demo")["Bucket"]
    s3, cloud, sts = laptop.client("s3"), laptop.client("cloudformation"), laptop.client("sts")
    machine = {"ImageId": laptop.aws.ami, "MinCount": 1, "MaxCount": 1}
    return {
        "ec2:RunInstances": lambda: laptop.client("ec2").run_instances(**machine),
        "iam:CreateUser": lambda: laptop.client("iam").create_user(UserName="another"),
        "iam:PutUserPolicy": lambda: laptop.client("iam").put_user_policy(
            UserName=USER, PolicyName="all", PolicyDocument="{}"
        ),
        "s3:GetObject": lambda: s3.get_object(Bucket="payroll", Key="runs/a"),
        "s3:PutObject": lambda: s3.put_object(Bucket=bucket, Key="runs/demo/LATEST", Body=b"{}"),
        "cloudformation:DeleteStack": lambda: cloud.delete_stack(StackName="payroll"),
        "cloudformation:CreateStack": lambda: cloud.create_stack(StackName="signspot-x", TemplateBody=json.dumps(body)),
        "sts:AssumeRole lookup": lambda: sts.assume_role(RoleArn=role.format("lookup"), RoleSessionName="somebody"),
        "sts:AssumeRole execution": lambda: sts.assume_role(
            RoleArn=role.format("cfn-exec"), RoleSessionName="somebody"
        ),
    }


def test_nothing_else_may_be_done(deployed: Laptop) -> None:
    tried = attempts(deployed)
    deployed.hold()
    for name, attempt in tried.items():
        with pytest.raises(ClientError) as refused:
            attempt()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, name
    assert [denial.action for denial in deployed.aws.denied] == [name.split()[0] for name in tried]


def test_the_end_needs_what_proves_it_and_what_empties_the_bucket(deployed: Laptop) -> None:
    destroy = [*SIGNSPOT, "destroy", "demo", "--yes", "demo"]
    deployed.is_refused("lambda:GetFunctionConfiguration", "AskAfter", *destroy)
    assert "left: 0" in deployed.succeeds(*destroy)
    deployed.is_refused("s3:ListBucketVersions", "RemoveBucket", *destroy, "--with-bucket")
    assert "left: 0" in deployed.succeeds(*destroy, "--with-bucket")
    buckets = [bucket["Name"] for bucket in deployed.aws.client("s3").list_buckets()["Buckets"]]
    assert not [name for name in buckets if name.startswith("signspot-")]


PERMITTED: tuple[Permission, ...] = deploy_permissions("123456789012", "us-east-1")


def test_every_statement_is_taken_away_above() -> None:
    apart = {"DeployAsCdk", "PublishAsCdk", "AskAfter", "AskForQuota", "RaiseQuota", "RemoveBucket"}
    assert apart | set(STEPS) == {permission.sid for permission in PERMITTED}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_whatever_destroy_asks_about_may_be_asked(kind: Any) -> None:
    client = boto3.session.Session("k", "s", region_name="us-east-1").client(kind.service)
    names = {xform_name(name): name for name in client.meta.service_model.operation_names}
    prefix = NAMES.get(kind.service, kind.service)
    needed = PERMISSIONS.get((kind.service, kind.operation), f"{prefix}:{names[kind.operation]}")
    assert any(fnmatchcase(needed, action) for permission in PERMITTED for action in permission.actions)


def test_the_policy_fits_into_a_managed_policy() -> None:
    assert len(json.dumps(document(PERMITTED), separators=(",", ":"))) <= MANAGED_POLICY_LIMIT


def test_only_questions_are_asked_of_everything() -> None:
    everywhere = [permission for permission in PERMITTED if "*" in permission.resources]
    assert [permission.sid for permission in everywhere] == ["LookAround", "AskForQuota"]
    verbs = {action.partition(":")[2] for permission in everywhere for action in permission.actions}
    harmless = ("Describe", "List", "GetResources", "GetProducts", "GetServiceQuota", "GetAWSDefaultServiceQuota")
    assert all(verb.startswith(harmless) for verb in verbs)
