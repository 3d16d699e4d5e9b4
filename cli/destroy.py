"""`signspot destroy`: ends a run and proves that nothing of it is left. Enters: its name. Leaves: its results here.

Let the box save → stop the writers → fetch and verify → delete the stack → ask AWS again. Each step can be repeated:
given again, the command goes on where it stopped. All it needs is credentials: no settings, no dataset, no CDK.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from cli.fetch import Home, fetch_run
from cli.inventory import Inventory
from cli.kinds import BUCKETS
from cli.leftovers import Known, Left, ask_again, show
from cli.live import Client
from cli.refusal import code_of, refused
from cli.saving import save_first
from cli.stacks import DELETING, GONE, Deletion, RunStack, find_stacks, kept_on_deletion, read_stack
from cli.stop import Patience, stop_run
from contract.errors import CloudError, ConfigError

BUCKET = "AWS::S3::Bucket"
DELETIONS = 2
"""How often a deletion that failed is tried: what is still attached at first may be gone a minute later."""
SETTLE_SECONDS = 120.0
"""How long AWS may go on naming what is gone."""


@dataclass(frozen=True)
class Plan:
    run: str
    to: Path
    """Folder for the results; the run's name is added."""
    discard: bool = False
    """Delete without fetching."""
    with_bucket: bool = False
    """Remove the buckets that were kept, too."""


class Destroyed(BaseModel):
    """What AWS had of the run when it was asked at the end."""

    run: str
    region: str
    fetched: tuple[Home, ...]
    """What came home before it was deleted, and was read back from this disk; of each bucket of the run."""
    left: tuple[Left, ...]
    """Each costs money or hinders the next deploy of that name."""
    kept: tuple[str, ...]
    """Buckets that stay because run.keep_results says so; `--with-bucket` removes them."""

    @property
    def exit_code(self) -> int:
        """0 when nothing is left, CloudError's when something is."""
        return CloudError.exit_code if self.left else 0


def confirm(plan: Plan, given: str, ask: Callable[[str], str]) -> None:
    """Giving results up takes the run's name, typed now or given as `--yes`.

    Raises:
        ConfigError: it is another name.
    """
    if not plan.discard:
        return
    typed = given or ask(f"This deletes every result of run {plan.run!r} without fetching it. Type the run's name")
    if typed.strip() != plan.run:
        raise ConfigError(
            f"{typed.strip()!r} is not {plan.run!r}: nothing was deleted",
            mend=f"type the run's name, give --yes {plan.run}, or leave --discard out",
        )


def destroy_run(
    client: Client, brisk: Client, plan: Plan, console: Console, patience: Patience | None = None
) -> Destroyed:
    """What it did; each thing that is left is named on the console, too. `brisk` gives up soon; it only asks to save.

    Raises:
        StorageError: the results could not be fetched; nothing was deleted.
        CloudError: AWS refuses, or another operation has the stack; nothing was deleted.
    """
    with refused(f"run {plan.run!r} cannot be destroyed"):
        return _Destroy(client, brisk, plan, console, patience or Patience()).run()


class _Destroy:
    def __init__(self, client: Client, brisk: Client, plan: Plan, console: Console, patience: Patience) -> None:
        self.client = client = cache(client)
        self.brisk = brisk
        self.plan = plan
        self.console = console
        self.patience = patience
        self.s3 = client("s3")
        self.cloudformation = client("cloudformation")
        self.region: str = self.cloudformation.meta.region_name
        self.fetched: list[Home] = []
        self.released: set[str] = set()
        """Buckets whose content is here and verified, or given up."""
        self.known = Known(plan.run, client("sts").get_caller_identity()["Account"])

    def say(self, who: str, what: str) -> None:
        self.console.print(f"{who:<8}  {what}", markup=False, highlight=False, soft_wrap=True)

    def run(self) -> Destroyed:
        stacks = find_stacks(self.cloudformation, self.plan.run)
        live = next((stack for stack in stacks if stack.live), None)
        for stack in stacks:
            self.known.add_stack(stack)
        left = ask_again(self.client, self.known)
        if not stacks and not any(left.values()):
            raise self._never_heard_of()
        if live and live.busy:
            raise self._busy(live)
        groups = self.known.ids["groups"]
        save = self._save if live and not self.plan.discard else None
        self.known.add(stop_run(self.client, self.plan.run, groups, self.say, self.patience, save).parts)
        kept = self._kept(stacks)
        self._fetch(live, left[BUCKETS.name], kept)
        if live:
            self._delete(live)
        else:
            self.say("delete", f"there is no stack signspot-{self.plan.run} any more")
        if self.plan.with_bucket:
            for bucket in sorted(self.released & ask_again(self.client, self.known)[BUCKETS.name]):
                self._remove_bucket(bucket)
            kept = set()
        left = self._settled(kept)
        kept &= left[BUCKETS.name]
        things = show(self.console, self.known, left, kept, self.region)
        return Destroyed(
            run=self.plan.run,
            region=self.region,
            fetched=tuple(self.fetched),
            left=things,
            kept=tuple(sorted(kept)),
        )

    def _save(self) -> None:
        save_first(self.brisk, [self.plan.run], self.say, self.patience)

    def _never_heard_of(self) -> CloudError:
        return CloudError(
            f"there never was a run {self.plan.run!r} in {self.region} of account {self.known.account}",
            why="no stack of that name within the last 90 days, and nothing with its tag",
            mend="check the run's name, the region (AWS_REGION) and the account (AWS_PROFILE)",
        )

    def _busy(self, stack: RunStack) -> CloudError:
        return CloudError(
            f"stack {stack.name} is {stack.status}: another operation has it, so nothing was touched",
            mend=f"wait until that is over (aws --region {self.region} cloudformation describe-stacks --stack-name "
            f"{stack.name} --query Stacks[].StackStatus), then give the same command; "
            f"signspot stop {self.plan.run} ends the instance at once",
        )

    # --- results -----------------------------------------------------------------------------------

    def _fetch(self, live: RunStack | None, present: set[str], kept: set[str]) -> None:
        """What is about to be deleted comes home first: the live stack's bucket, with `--with-bucket` any other."""
        if self.plan.discard:
            self.released = present
            return self.say("fetch", "nothing, as --discard says")
        own = set(live.physical(BUCKET)) if live else set()
        wanted = present if self.plan.with_bucket else own & present
        if live and live.status == DELETING:
            self.say("fetch", "the stack is being deleted already: what it does not keep cannot be fetched any more")
            wanted = wanted & kept
        elif live and not wanted:
            self.say("fetch", "nothing: the stack has no bucket")
        for bucket in sorted(wanted):
            folder = self.plan.to / (self.plan.run if bucket in own or len(wanted) == 1 else bucket)
            fetched = fetch_run(self.s3, bucket, self.plan.run, folder, self.console, self.say)
            for note in fetched.notes:
                self.say("fetch", note)
            fetched.verify()
            self.fetched.append(fetched.told(self.plan.run))
            self.released.add(bucket)
            self.say("verify", f"every file of a manifest in {folder} read back from this disk: its hash is right")

    # --- deletion ----------------------------------------------------------------------------------

    def _delete(self, stack: RunStack) -> None:
        for reason in stack.failures:
            self.say("delete", f"failed before: {reason}")
        tries = 1 if stack.status == DELETING else DELETIONS  # begun elsewhere, not fetched: not begun again from here
        for _ in range(tries):
            stack = self._delete_once(stack)
            if stack.status == GONE:
                return self.say("delete", f"stack {stack.name} is deleted")
        self.say("delete", f"stack {stack.name} is {stack.status} after {tries} {'try' if tries == 1 else 'tries'}")

    def _delete_once(self, stack: RunStack) -> RunStack:
        deletion = Deletion(self.cloudformation, stack, lambda text: self.say("delete", text))
        if stack.status != DELETING:
            self._begin(deletion, stack)
        self.say("delete", f"stack {stack.name}: CloudFormation deletes it, also when this command is stopped")
        ended: list[RunStack] = []

        def over() -> bool:
            ended.extend(filter(None, [deletion.look()]))
            return bool(ended)

        if not self.patience.wait(over):
            raise CloudError(
                f"stack {stack.name} is not deleted after {self.patience.limit_seconds:.0f} s",
                mend="CloudFormation goes on; give the same command again to see what is left",
            )
        return ended[0]

    def _begin(self, deletion: Deletion, stack: RunStack) -> None:
        try:
            deletion.begin()
        except self.cloudformation.exceptions.ClientError as error:
            if code_of(error) != "ValidationError":
                raise
            now = read_stack(self.cloudformation, stack.arn)
            if now.busy:
                raise self._busy(now) from error
            raise CloudError(
                f"CloudFormation does not delete stack {stack.name}",
                why=str(error),
                mend=f"if it is protected: aws --region {self.region} cloudformation update-termination-protection "
                f"--no-enable-termination-protection --stack-name {stack.name}",
            ) from error

    def _kept(self, stacks: list[RunStack]) -> set[str]:
        """Buckets that their stack's template keeps."""
        made = [stack for stack in stacks if stack.physical(BUCKET)]
        return set().union(*(kept_on_deletion(self.cloudformation, stack, BUCKET) for stack in made))

    def _remove_bucket(self, bucket: str) -> None:
        """Every version of every object, then the bucket."""
        pages: Any = self.s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
        for page in pages:
            versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            batch = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in versions]
            if batch:
                answer = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
                if errors := answer.get("Errors"):
                    raise CloudError(
                        f"bucket {bucket} cannot be emptied", why=str(errors[0]), mend="give the same command again"
                    )
        self.s3.delete_bucket(Bucket=bucket)
        self.say("delete", f"bucket {bucket} and everything in it")

    # --- the question at the end -------------------------------------------------------------------

    def _settled(self, kept: set[str]) -> Inventory:
        """Asked until nothing is left but what is kept, or until AWS has had time to forget."""
        left: Inventory = {}
        patience = replace(self.patience, limit_seconds=min(SETTLE_SECONDS, self.patience.limit_seconds))

        def nothing() -> bool:
            first = not left
            left.update(ask_again(self.client, self.known))
            settled = not any(ids - kept for ids in left.values())
            if first and not settled:
                self.say("ask", f"AWS still names something; asked again for up to {patience.limit_seconds:.0f} s")
            return settled

        patience.wait(nothing)
        return left
