"""The run's bucket: private, TLS-only, versioned, cheap to keep and gone with the stack."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contract.layout import RunLayout
from infra import permissions
from infra.acknowledge import acknowledge
from infra.names import name_in_template
from infra.role import BoxRole

CHECKPOINT_VERSIONS_DAYS = 3
HELPER_FINDINGS = {
    "RESOURCE_POLICY_PRIVILEGE_ESCALATION": "CDK's helper forbids new writes by this policy before it empties the "
    "bucket. It could allow itself more; only Lambda may assume its role, and only CDK's own code runs there.",
    "RESOURCE_MISMATCH": "Of the helper's s3:List* only what concerns this bucket applies; the statement is CDK's own.",
}
"""What parliament says of the statement that CDK adds to the bucket's policy."""


class Storage(Construct):
    def __init__(self, scope: Construct, id: str, *, layout: RunLayout, keep: bool) -> None:
        super().__init__(scope, id)
        self.layout = layout
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            versioned=True,
            removal_policy=RemovalPolicy.RETAIN if keep else RemovalPolicy.DESTROY,
            auto_delete_objects=not keep,
            lifecycle_rules=[
                s3.LifecycleRule(id="AbortStaleUploads", abort_incomplete_multipart_upload_after=Duration.days(1)),
                s3.LifecycleRule(
                    id="ForgetDroppedCheckpoints",
                    prefix=layout.checkpoints,
                    noncurrent_version_expiration=Duration.days(CHECKPOINT_VERSIONS_DAYS),
                    expired_object_delete_marker=True,
                ),
            ],
        )
        name_in_template(self.bucket, "RunBucket")
        for finding in ("AwsSolutions-S1", "CKV_AWS_18"):
            reason = "An access log needs a second bucket that would outlive the run; only the box's role writes here."
            acknowledge(self.bucket, finding, reason)
        if not keep and self.bucket.policy:
            for finding, reason in HELPER_FINDINGS.items():
                acknowledge(self.bucket.policy, finding, reason)

    def grant_run(self, box: BoxRole) -> None:
        """The box reads and writes its own run, and deletes nothing but its checkpoints."""
        box.allow(permissions.run_objects(self.bucket.bucket_arn, self.layout))
        box.allow(permissions.drop_checkpoints(self.bucket.bucket_arn, self.layout))
        box.allow(permissions.list_run(self.bucket.bucket_arn, self.layout))
        self._acknowledge_names(box, self.layout.prefix, self.layout.checkpoints)

    def grant_work(self, worker: BoxRole) -> None:
        """A worker reads its run and writes trials, events and logs; status and model are the head's."""
        layout = self.layout
        worker.allow(permissions.read_run(self.bucket.bucket_arn, layout))
        worker.allow(permissions.worker_objects(self.bucket.bucket_arn, layout))
        worker.allow(permissions.drop_trial_checkpoints(self.bucket.bucket_arn, layout))
        worker.allow(permissions.list_run(self.bucket.bucket_arn, layout))
        prefixes = layout.prefix, layout.trials, layout.events, layout.logs, layout.trial("*").checkpoints
        self._acknowledge_names(worker, *prefixes)

    def _acknowledge_names(self, box: BoxRole, *prefixes: str) -> None:
        for prefix in prefixes:
            finding = f"AwsSolutions-IAM5[Resource::<RunBucket.Arn>/{prefix}*]"
            acknowledge(box, finding, "The names below the prefix are made up on the box.")
