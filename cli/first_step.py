"""From a stack that is up to a run that trains. Enters: a run. Leaves: its status at the first step, or a group at 0.

What the group is doing is asked of EC2 Auto Scaling, what the box is doing is read from the run's bucket. Neither is
needed for the run itself: whoever stops looking changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from cli.activities import Explanation, explain
from cli.fetch import Say
from cli.halt import stop_one
from cli.live import Client, groups_of, look
from cli.refusal import refused
from cli.status import read_status
from cli.stop import Patience
from contract.errors import CloudError, StorageError, TrainerError
from contract.layout import RunLayout
from contract.status import Event, Phase, Status

ACTIVITIES = 20
"""The newest, which is what is looked at."""
EMPTY_LOOKS = 6
"""So often in a row nothing may live, and nothing be wanted, before it is believed."""


@dataclass
class Wait:
    """`known`: what the group did before, which is nobody's news. `client` should be one that gives up soon."""

    client: Client
    run: str
    outputs: dict[str, str]
    say: Say
    known: set[str] = field(default_factory=set)
    _explained: list[Explanation] = field(default_factory=list)
    _events: set[str] = field(default_factory=set)
    _trouble: str = ""
    _empty: int = 0
    gave_up: bool = False
    """The run is being ended, or is."""

    def until_first_step(self, patience: Patience, stopping: Patience | None = None) -> Status:
        """Waits as long as `patience` says, then ends the run, saved first: nobody watches a box that does not train.

        Raises:
            CloudError: it gave up; the group is at 0 then, or the message says that it may not be.
            TrainerError: the run failed.
        """
        found: list[Status] = []

        def arrived() -> bool:
            try:
                status = self._look()
            except (CloudError, StorageError) as error:
                self._tell_trouble(f"{error.what}: {error.why}")
                return False
            self._trouble = ""
            if status:
                found.append(status)
            return bool(found) or self._hopeless is not None or self._empty >= EMPTY_LOOKS

        patience.wait(arrived)
        if found:
            return found[0]
        if self._empty >= EMPTY_LOOKS:
            raise CloudError(
                f"the group of run {self.run!r} is at 0 and no instance lives",
                why="somebody, or the deadline, has set it so",
                mend=f"signspot status {self.run}; then signspot restart {self.run}",
            )
        minutes = patience.limit_seconds / 60
        why = self._hopeless.what if self._hopeless else f"{minutes:g} minutes without a training step"
        self.say("deploy", f"giving up: {why}")
        self.gave_up = True
        saved = self._end(why, stopping or Patience())
        raise CloudError(
            f"run {self.run!r} did not come to its first training step; its group is at 0 and costs nothing",
            why=f"{' '.join(one.what for one in self._explained) or why}{saved}",
            mend=" or ".join(dict.fromkeys(self._mend(one) for one in self._explained))
            or f"signspot logs {self.run} --boot says what the box did; signspot restart {self.run} tries again",
        )

    @property
    def _hopeless(self) -> Explanation | None:
        return next((one for one in self._explained if one.hopeless), None)

    def _mend(self, explanation: Explanation) -> str:
        return explanation.mend.replace("RUN", self.run)

    def _end(self, why: str, stopping: Patience) -> str:
        """As `signspot stop` does; returns what is safe, where a box was asked."""
        try:
            (stopped,) = stop_one(self.client, self.client, self.run, self.say, stopping).runs
        except CloudError as error:
            raise CloudError(
                f"run {self.run!r} did not come to its first step, and could not be ended: it may cost money",
                why=f"{why}; {error.what}: {error.why}",
                mend=f"signspot stop {self.run}, at once; in any case it ends at {self.outputs['StopAt']}",
            ) from error
        return "" if stopped.saved is None else f" ({stopped.message})"

    def _look(self) -> Status | None:
        """The status, once there is nothing left to wait for."""
        self._tell_activities()
        live = look(self.client, self.run, groups_of(self.outputs))
        self._tell_events()
        status = read_status(self.client("s3"), self.outputs["Bucket"], self.run)
        lives = status.instance in {instance.id for instance in live.instances}  # else it is an old one's last word
        if status.phase is Phase.DONE or (
            lives and status.phase is Phase.TRAINING and furthest(status) > status.restored_step
        ):
            return status
        if status.phase.final:
            raise TrainerError(
                f"run {self.run!r} is {status.phase}", why=status.reason, mend=f"signspot logs {self.run}"
            )
        self._empty = self._empty + 1 if live.empty else 0
        return None

    def _tell_activities(self) -> None:
        for one in reversed(activities(self.client, groups_of(self.outputs))):
            key = f"{one['ActivityId']} {one['StatusCode']}"
            if key in self.known:
                continue
            self.known.add(key)
            message = one.get("StatusMessage", "")
            explanation = explain(message)
            if explanation is None:
                failed = f" failed: {message}" if one["StatusCode"] == "Failed" else f": {one['StatusCode']}"
                self.say("group", f"{one.get('Description', 'an activity')}{failed}")
            elif explanation not in self._explained:
                self._explained.append(explanation)
                self.say("group", message)
                self.say("group", f"{explanation.what} Next: {self._mend(explanation)}")

    def _tell_events(self) -> None:
        s3, bucket = self.client("s3"), self.outputs["Bucket"]
        prefix = RunLayout(self.run).events
        with refused("the run's events cannot be read", StorageError):
            listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
            for key in sorted(one["Key"] for one in listed if one["Key"] not in self._events):
                self._events.add(key)
                try:
                    event = Event.model_validate_json(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
                except ValidationError:
                    continue
                self.say(event.instance, f"{event.kind}: {event.message}")

    def _tell_trouble(self, text: str) -> None:
        if text != self._trouble:
            self._trouble = text
            self.say("AWS", text)


def furthest(status: Status) -> int:
    """The step it is known to have reached: a trainer of one's own may report none, and yet save."""
    return max(status.progress.step, status.checkpoint_step)


def activities(client: Client, groups: Sequence[str]) -> list[dict[str, Any]]:
    """The newest of each group, newest first; raises CloudError when AWS does not say."""
    autoscaling, found = client("autoscaling"), list[dict[str, Any]]()
    for group in groups:
        with refused(f"what the group {group} is doing cannot be asked"):
            answer = autoscaling.describe_scaling_activities(AutoScalingGroupName=group, MaxRecords=ACTIVITIES)
        found += answer["Activities"]
    return found
