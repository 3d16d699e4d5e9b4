"""What a run has left in the account. Enters: its name, and what is known of it. Leaves: what AWS still has of that.

Asked are the ids that are known (of the stack's resources, and of what came with its instances), the run's tag, kind
by kind and through the Resource Groups Tagging API, and what lies in the run's VPC without a tag. Only what one of
these answers name is the run's; nothing is concluded from a name that looks like ours.
https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jmespath
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from cli.inventory import Inventory
from cli.kind import Kind, Question
from cli.kinds import GONE, KINDS, TAG
from cli.live import Client, batches
from cli.refusal import code_of, refused
from cli.stacks import RunStack

OTHER = "other"
"""Things with the run's tag of a kind that is not in the table, as ARNs."""
PARTS = (
    "AWS::AutoScaling::ScheduledAction",
    "AWS::EC2::Route",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPCCidrBlock",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::IAM::Policy",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "Custom::S3AutoDeleteObjects",
    "Custom::VpcRestrictDefaultSG",
)
"""What a stack has besides: parts of the kinds above, which go with them."""
NO_KIND = ("ec2:key-pair", "ec2:network-acl", "ec2:security-group-rule", "ssm:parameter")
"""ARNs that need no kind: of parts, and of what is found by its tag under another name."""
KIND_OF_TYPE = {name: kind for kind in KINDS for name in kind.types}
KIND_OF_ARN = {kind.arn: kind for kind in KINDS if kind.arn}


class Left(BaseModel):
    """One thing that AWS still has of the run."""

    kind: str
    id: str
    remove: str
    """The command that removes it."""


@dataclass
class Known:
    """What is known to be the run's: ids by the name of their kind."""

    run: str
    account: str
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, ids: Inventory) -> None:
        for kind, found in ids.items():
            self.ids[kind] |= found

    def add_stack(self, stack: RunStack) -> None:
        """A function that may write logs makes itself a log group outside of the stack, so that is asked for too."""
        self.ids["stacks"].add(stack.arn)
        for resource in stack.resources:
            kind = KIND_OF_TYPE.get(resource.kind)
            if kind and resource.physical:
                self.ids[kind.name].add(resource.physical)
                if kind.name == "functions":
                    self.ids["log groups"].add(f"/aws/lambda/{resource.physical}")

    def add_tagged(self, client: Client) -> None:
        """What the tagging API names; it may name what is gone already, so each is asked for again by its kind."""
        pages = client("resourcegroupstaggingapi").get_paginator("get_resources")
        answers = pages.paginate(TagFilters=[{"Key": TAG, "Values": [self.run]}])
        self.ids[OTHER] = set()
        for arn in (one["ResourceARN"] for page in answers for one in page["ResourceTagMappingList"]):
            kind, name = split_arn(arn)
            if kind:
                self.ids[kind.name].add(name)
            elif name:
                self.ids[OTHER].add(arn)


def split_arn(arn: str) -> tuple[Kind | None, str]:
    """The kind of what an ARN names, and its id there; no id for what is only a part of another thing."""
    service, rest = arn.split(":", 5)[2], arn.split(":", 5)[5]
    word, _, name = rest.replace(":", "/").partition("/") if re.search("[:/]", rest) else ("", "", rest)
    if f"{service}:{word}" in NO_KIND:
        return None, ""
    kind = KIND_OF_ARN.get(f"{service}:{word}")
    if kind is None:
        return None, arn
    if kind.id_is_arn:
        return kind, arn
    if kind.service in ("autoscaling", "iam"):
        return kind, name.rpartition("/")[2]
    return kind, name.removesuffix("/*")


def ask_again(client: Client, known: Known) -> Inventory:
    """What AWS still has of the run, by kind; kinds with nothing are there, empty.

    Raises:
        CloudError: AWS refuses to say; nothing may be concluded from an unanswered question.
    """
    with refused(f"AWS does not say what it has of run {known.run!r}"):
        known.add_tagged(client)
        left = {kind.name: set(_ask(client(kind.service), kind, known)) for kind in KINDS}
    return left | {OTHER: set(known.ids[OTHER])}


def _ask(client: Any, kind: Kind, known: Known) -> Iterator[str]:
    for ids in batches(known.ids[kind.name]):
        for question in kind.known(ids):
            yield from (one for one in _answers(client, kind, question, known) if one in known.ids[kind.name])
    if kind.tagged:
        for question in kind.tagged([known.run]):
            yield from _answers(client, kind, question, known)
    if kind.in_vpc:
        for networks in batches(known.ids["VPCs"]):
            for question in kind.in_vpc(networks):
                yield from _answers(client, kind, question, known)


def _answers(client: Any, kind: Kind, question: Question, known: Known) -> Iterable[str]:
    if kind.service == "budgets":
        question = {**question, "AccountId": known.account}
    try:
        if client.can_paginate(kind.operation):
            return list(client.get_paginator(kind.operation).paginate(**question).search(kind.found))
        return jmespath.search(kind.found, getattr(client, kind.operation)(**question)) or []
    except client.exceptions.ClientError as error:
        if (kind.service, code_of(error)) in GONE:
            return []
        raise


def removal(kind: str, name: str, known: Known, region: str) -> str:
    """The command that removes it."""
    for one in KINDS:
        if one.name == kind:
            return one.remove.format(id=name, region=region, account=known.account, run=known.run)
    return f"look it up in the console: {name}"


def show(console: Console, known: Known, left: Inventory, kept: set[str], region: str) -> tuple[Left, ...]:
    """Print each kind with how many there were and are, and the command for each that is left; returns these.

    `kept` are the buckets that were meant to stay: they are told, and not counted as left.
    """
    left = {kind: ids - kept for kind, ids in left.items()}
    table = Table("kind", "of this run", "left")
    for kind, ids in left.items():
        there_were = known.ids[kind] | ids
        if kind != OTHER or there_were:
            table.add_row(kind, str(len(there_were)), str(len(ids)), style="bold red" if ids else "")
    console.print(table)
    for bucket in sorted(kept):
        command = f"signspot destroy {known.run} --with-bucket"
        console.print(f"kept, because run.keep_results says so: bucket {bucket}; removed by: {command}", soft_wrap=True)
    things = tuple(
        Left(kind=kind, id=name, remove=removal(kind, name, known, region))
        for kind, ids in left.items()
        for name in sorted(ids)
    )
    for one in things:
        console.print(f"left: {one.kind}: {one.id}; removed by:", style="bold red", soft_wrap=True)
        console.print(f"  {one.remove}", soft_wrap=True, markup=False)
    count = len(things)
    asked = f"{len(KINDS)} kinds asked by id and by tag"
    console.print(f"left: {count}  ({asked})", style="bold red" if count else "bold green")
    return things
