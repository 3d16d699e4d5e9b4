"""The run's bucket, and what is left of it."""

from __future__ import annotations

from typing import Any

Synthesised = dict[str, Any]


def bucket(template: Synthesised) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"]["RunBucket"]
    return found


def rules(template: Synthesised) -> dict[str, dict[str, Any]]:
    return {rule["Id"]: rule for rule in bucket(template)["Properties"]["LifecycleConfiguration"]["Rules"]}


def test_objects_are_versioned(closed: Synthesised) -> None:
    assert bucket(closed)["Properties"]["VersioningConfiguration"] == {"Status": "Enabled"}


def test_objects_are_encrypted_by_s3(closed: Synthesised) -> None:
    (rule,) = bucket(closed)["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def test_uploads_that_never_ended_are_dropped_after_a_day(closed: Synthesised) -> None:
    assert rules(closed)["AbortStaleUploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def test_dropped_checkpoints_of_this_run_are_forgotten_after_days_and_nothing_else(closed: Synthesised) -> None:
    rule = rules(closed)["ForgetDroppedCheckpoints"]
    assert rule["Prefix"] == "runs/demo/checkpoints/"
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 3}
    assert not any("ExpirationInDays" in rule for rule in rules(closed).values())


def test_destroy_empties_and_deletes_the_bucket(closed: Synthesised) -> None:
    assert bucket(closed)["DeletionPolicy"] == "Delete"
    assert [r["Type"] for r in closed["Resources"].values()].count("Custom::S3AutoDeleteObjects") == 1


def test_keep_results_leaves_the_bucket_and_its_objects_standing(kept: Synthesised) -> None:
    assert bucket(kept)["DeletionPolicy"] == "Retain"
    assert "Custom::S3AutoDeleteObjects" not in [r["Type"] for r in kept["Resources"].values()]
