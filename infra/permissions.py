"""What the box may do: one function per IAM statement, nothing else in it.

Enters: ARNs and names. Leaves: `Permission`s; `docs/permissions.md` is generated from them
and from the template they end up in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contract.layout import RunLayout


@dataclass(frozen=True)
class Permission:
    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    reason: str
    without: str
    """What breaks when this statement is removed."""
    conditions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def statement(self) -> dict[str, Any]:
        """As IAM writes it."""
        return {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
            **(
                {"Condition": {operator: dict(test) for operator, test in self.conditions.items()}}
                if self.conditions
                else {}
            ),
        }


def read_code(object_arn: str) -> Permission:
    return Permission(
        sid="ReadCode",
        actions=("s3:GetObject",),
        resources=(object_arn,),
        reason="User data downloads the code bundle; this one object, not the bucket of all CDK assets.",
        without="The boot ends at the download: nothing is installed, the box powers off.",
    )


def read_data(objects_arn: str) -> Permission:
    return Permission(
        sid="ReadData",
        actions=("s3:GetObject",),
        resources=(objects_arn,),
        reason="The agent downloads the dataset: one zip, or what lies under the `s3://` prefix of `data.path`.",
        without="The boot ends before training: there is nothing to train on.",
    )


def list_data(bucket_arn: str, prefix: str) -> Permission:
    return Permission(
        sid="ListData",
        actions=("s3:ListBucket",),
        resources=(bucket_arn,),
        conditions={"StringLike": {"s3:prefix": f"{prefix}*"}},
        reason="A dataset under an `s3://` prefix has to be listed before it can be downloaded.",
        without="The boot ends before training: the dataset's files cannot be found.",
    )


def run_objects(bucket_arn: str, layout: RunLayout) -> Permission:
    return Permission(
        sid="RunObjects",
        actions=("s3:GetObject", "s3:PutObject"),
        resources=(f"{bucket_arn}/{layout.prefix}*",),
        reason="Lease, checkpoints, status, events, logs and model of this run are read and written.",
        without="The lease cannot be taken: the box refuses to train and ends itself.",
    )


def drop_checkpoints(bucket_arn: str, layout: RunLayout) -> Permission:
    return Permission(
        sid="DropCheckpoints",
        actions=("s3:DeleteObject",),
        resources=(f"{bucket_arn}/{layout.checkpoints}*",),
        reason="Checkpoints older than the newest `sync.keep_checkpoints` are dropped; only they can be deleted.",
        without="Old checkpoints pile up in the bucket until the stack is destroyed.",
    )


def list_run(bucket_arn: str, layout: RunLayout) -> Permission:
    return Permission(
        sid="ListRun",
        actions=("s3:ListBucket",),
        resources=(bucket_arn,),
        conditions={"StringLike": {"s3:prefix": f"{layout.prefix}*"}},
        reason="Restoring looks for the newest checkpoint; a missing object is told apart from a forbidden one.",
        without="The first boot cannot tell *no checkpoint yet* from *forbidden*: it fails closed and ends itself.",
    )


def read_run(bucket_arn: str, layout: RunLayout) -> Permission:
    return Permission(
        sid="ReadRun",
        actions=("s3:GetObject",),
        resources=(f"{bucket_arn}/{layout.prefix}*",),
        reason="A worker reads where the head is, whether the run is over, and the trials that it goes on with.",
        without="The worker finds no head and leaves its group; the head has nobody to give work to.",
    )


def worker_objects(bucket_arn: str, layout: RunLayout) -> Permission:
    prefixes = (layout.trials, layout.events, layout.logs)
    return Permission(
        sid="WorkerObjects",
        actions=("s3:PutObject",),
        resources=tuple(f"{bucket_arn}/{prefix}*" for prefix in prefixes),
        reason="A worker writes trials, events and logs, and nothing else: neither the run's status nor its model.",
        without="No trial can take its lease: every one of them fails, and the run with them.",
    )


def drop_trial_checkpoints(bucket_arn: str, layout: RunLayout) -> Permission:
    return Permission(
        sid="DropTrialCheckpoints",
        actions=("s3:DeleteObject",),
        resources=(f"{bucket_arn}/{layout.trial('*').checkpoints}*",),
        reason="Of every trial the newest `sync.keep_checkpoints` are kept; only trials' checkpoints can be deleted.",
        without="Old checkpoints of trials pile up in the bucket until the stack is destroyed.",
    )


def end_own_group(group_arn: str) -> Permission:
    return Permission(
        sid="EndOwnGroup",
        actions=("autoscaling:TerminateInstanceInAutoScalingGroup",),
        resources=(group_arn,),
        reason="A run that is over terminates its instance and lowers its own group to 0 in the same call.",
        without="The box powers off, the group replaces it, and that goes on until the scheduled action at `StopAt`.",
    )


def notify(topic_arn: str) -> Permission:
    return Permission(
        sid="Notify",
        actions=("sns:Publish",),
        resources=(topic_arn,),
        reason="Interruptions, failures and the end of the run are mailed to `notify.email`.",
        without="Nobody is told; training goes on.",
    )
