"""A run's stacks, live and deleted. Enters: the run's name. Leaves: what they made; a deletion that is followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from cli.refusal import code_of
from contract.errors import CloudError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient

GONE: Final = "DELETE_COMPLETE"
FAILED = "DELETE_FAILED"
DELETING = "DELETE_IN_PROGRESS"
NEVER_STARTED = "REVIEW_IN_PROGRESS"
"""Of a deploy that was given up before anything was made."""


@dataclass(frozen=True)
class Resource:
    logical: str
    kind: str
    """As CloudFormation spells it: `AWS::S3::Bucket`."""
    physical: str
    status: str
    reason: str


@dataclass(frozen=True)
class RunStack:
    """`arn` is the stack's id: it names this stack and no later one of the same name."""

    name: str
    arn: str
    status: str
    reason: str
    """Why the stack is so, in CloudFormation's words; often empty."""
    resources: tuple[Resource, ...]

    @property
    def live(self) -> bool:
        return self.status != GONE

    @property
    def busy(self) -> bool:
        """Another operation has it: whatever is deleted now might be made again."""
        return self.status.endswith("_IN_PROGRESS") and self.status not in (DELETING, NEVER_STARTED)

    def physical(self, kind: str) -> list[str]:
        return [resource.physical for resource in self.resources if resource.kind == kind and resource.physical]

    @property
    def failures(self) -> list[str]:
        """Why it could not be deleted: the stack's own reason, and one line for each resource."""
        failed = [resource for resource in self.resources if resource.status == FAILED]
        own = [self.reason or "no reason given"] if self.status == FAILED else []
        return own + [f"{one.logical} ({one.kind} {one.physical}): {one.reason}" for one in failed]


def find_stacks(cloudformation: CloudFormationClient, run: str) -> list[RunStack]:
    """The run's live stack, if there is one, then the deleted ones of its name (CloudFormation knows 90 days)."""
    name = f"signspot-{run}"
    live = _describe(cloudformation, name)
    pages = cloudformation.get_paginator("list_stacks").paginate(StackStatusFilter=[GONE])
    deleted = [
        RunStack(name, one["StackId"], GONE, "", tuple(_resources(cloudformation, one["StackId"])))
        for page in pages
        for one in page["StackSummaries"]
        if one["StackName"] == name
    ]
    return ([live] if live else []) + deleted


def read_stack(cloudformation: CloudFormationClient, arn: str) -> RunStack:
    """How the stack is now, deleted or not."""
    stack = _describe(cloudformation, arn)
    if stack is None:
        raise CloudError(f"CloudFormation does not know {arn} any more", mend="look at the account's stacks")
    return stack


def _describe(cloudformation: CloudFormationClient, name: str) -> RunStack | None:
    try:
        found = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if code_of(error) == "ValidationError":
            return None
        raise
    arn = found["StackId"]
    reason = found.get("StackStatusReason", "")
    return RunStack(found["StackName"], arn, found["StackStatus"], reason, tuple(_resources(cloudformation, arn)))


def _resources(cloudformation: CloudFormationClient, arn: str) -> Iterator[Resource]:
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=arn):
        for one in page["StackResourceSummaries"]:
            yield Resource(
                logical=one["LogicalResourceId"],
                kind=one["ResourceType"],
                physical=one.get("PhysicalResourceId", ""),
                status=one["ResourceStatus"],
                reason=one.get("ResourceStatusReason", "no reason given"),
            )


def kept_on_deletion(cloudformation: CloudFormationClient, stack: RunStack, kind: str) -> set[str]:
    """Physical ids of the resources of a kind that the stack's template keeps when the stack is deleted."""
    template: Any = cloudformation.get_template(StackName=stack.arn, TemplateStage="Processed")["TemplateBody"]
    policies = {name: body.get("DeletionPolicy", "Delete") for name, body in template["Resources"].items()}
    return {
        resource.physical
        for resource in stack.resources
        if resource.kind == kind and policies.get(resource.logical, "Delete") != "Delete"
    }


class Deletion:
    """`delete_stack`, followed through the stack's events until it is over. Tells only what happens from now on."""

    def __init__(self, cloudformation: CloudFormationClient, stack: RunStack, say: Callable[[str], None]) -> None:
        self._cloudformation = cloudformation
        self._stack = stack
        self._say = say
        self._ended = stack.status == DELETING
        """Whether a status other than DELETING is this deletion's end, and not from before it."""
        self._told = {event["EventId"] for event in self._events(set())}

    def begin(self) -> None:
        """As `cdk destroy` does; what was kept from being deleted before is tried again."""
        self._cloudformation.delete_stack(StackName=self._stack.arn)

    def look(self) -> RunStack | None:
        """Tell what happened since the last look; returns the stack when the deletion is over."""
        for event in reversed(self._events(self._told)):
            self._told.add(event["EventId"])
            if event["ResourceStatus"] not in (GONE, FAILED):
                continue
            if event.get("PhysicalResourceId") == self._stack.arn:
                self._ended = True
            what = f"{event['LogicalResourceId']} ({event['ResourceType']})"
            if event["ResourceStatus"] == GONE:
                self._say(f"deleted {what}")
            else:
                self._say(f"NOT deleted: {what}: {event.get('ResourceStatusReason', 'no reason given')}")
        now = read_stack(self._cloudformation, self._stack.arn)
        return now if now.status == GONE or (self._ended and now.status != DELETING) else None

    def _events(self, known: set[str]) -> list[Any]:
        """Newest first, back to the first one that is known."""
        fresh: list[Any] = []
        for page in self._cloudformation.get_paginator("describe_stack_events").paginate(StackName=self._stack.arn):
            for event in page["StackEvents"]:
                if event["EventId"] in known:
                    return fresh
                fresh.append(event)
        return fresh
