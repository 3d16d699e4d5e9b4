"""What is left of a run's instances, whoever tells it. Enters: a run. Leaves: its events, what is known of each box.

They are known by what they wrote into the run's bucket, by the group's activities (AWS keeps them for six weeks) and by
EC2 (an hour after their end). After `destroy` the bucket that was kept tells the same, or the folder `fetch` wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cli.fetch import NoSuchRun, stack_outputs
from cli.kinds import TAG
from cli.live import Client, groups_of, of_run
from cli.refusal import refused
from contract.config import LimitsConfig
from contract.errors import CloudError, StorageError
from contract.layout import RunLayout
from contract.receipt import Sighting, heads_of, left_of, sightings_of
from contract.status import Event

LIVE = ("pending", "running")
AT_ONCE = 8
ACTIVITY = re.compile(r"(?P<what>Launching a new|Terminating) EC2 instance: (?P<instance>i-[0-9a-f]+)")


@dataclass
class Traces:
    """What is left of a run, whoever tells it."""

    events: list[Event] = field(default_factory=list)
    written: list[tuple[str, datetime]] = field(default_factory=list)
    """Instance, and when it wrote something."""
    gb_hours: float = 0.0
    """Of what lies in S3."""
    groups: list[str] = field(default_factory=list)
    head_price: float | None = None
    """On-demand dollars an hour of a cluster's heads: the instances of the first group. None: all are spot."""
    highest: float = LimitsConfig().max_price_per_hour
    notes: list[str] = field(default_factory=list)


def sightings(client: Client, run: str, traces: Traces) -> dict[str, Sighting]:
    """Every instance of the run, by its id; what the group and EC2 still know makes it more exact."""
    seen = sightings_of(traces.events, traces.written)
    heads = heads_of(traces.events)
    for number, group in enumerate(traces.groups):
        with suppress(CloudError):
            found = _ask_group(client, group, seen)
            heads |= found if number == 0 else set()
    with suppress(CloudError):
        _ask_ec2(client, run, seen)
    for head in heads & set(seen) if traces.head_price is not None else ():
        seen[head].fixed_price = traces.head_price
    return seen


def traces_in(folder: Path) -> Traces:
    """Raises StorageError: no events are there, or they are not what they should be."""
    try:
        lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
        events = [Event.model_validate_json(line) for line in lines]
    except (OSError, ValidationError) as error:
        raise StorageError(
            f"{folder} holds no events of a run", why=str(error), mend="name the folder that `signspot fetch` wrote"
        ) from error
    notes = ["from a folder: what S3 holds is not known, and the highest price is the default"]
    return Traces(events=events, notes=notes)


def traces_of(client: Client, run: str, outputs: Mapping[str, str] | None, now: datetime) -> Traces:
    """`outputs`: of the run's stack, where they are known.

    Raises:
        CloudError: nothing is left of the run, or AWS refuses.
        StorageError: S3 refuses.
    """
    traces = Traces()
    try:
        outputs = outputs or stack_outputs(client("cloudformation"), run)
    except NoSuchRun:
        buckets = list(_kept_buckets(client, run))
        traces.notes.append("the stack is gone: read from the bucket that was kept")
    else:
        buckets = [outputs["Bucket"]]
        traces.groups = groups_of(outputs)
        traces.head_price = float(outputs["HeadPricePerHour"]) if "HeadPricePerHour" in outputs else None
        traces.highest = float(outputs.get("MaxPricePerHour", traces.highest))
    if not buckets:
        raise CloudError(
            f"nothing is left of run {run!r} in {client('s3').meta.region_name}: no stack, and no bucket with its tag",
            mend="check the name, the region (AWS_REGION) and the account (AWS_PROFILE); or read what was fetched: "
            f"signspot cost {run} --from results/{run}",
        )
    for bucket in buckets:
        _read_bucket(client("s3"), bucket, run, traces, now)
    return traces


def _kept_buckets(client: Client, run: str) -> Iterator[str]:
    """Those with the run's tag."""
    with refused(f"AWS does not say what is left of run {run!r}"):
        pages = client("resourcegroupstaggingapi").get_paginator("get_resources")
        for page in pages.paginate(TagFilters=[{"Key": TAG, "Values": [run]}], ResourceTypeFilters=["s3"]):
            yield from (one["ResourceARN"].rpartition(":")[2] for one in page["ResourceTagMappingList"])


def _read_bucket(s3: Any, bucket: str, run: str, traces: Traces, now: datetime) -> None:
    layout = RunLayout(run)
    with refused(f"s3://{bucket} cannot be read", StorageError):
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=layout.prefix)
        left = left_of(layout, (found for page in pages for found in page.get("Contents", [])), now)
        traces.gb_hours += left.gb_hours
        traces.written += left.written

        def read(key: str) -> bytes:
            body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            return body

        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="events") as pool:
            bodies = list(pool.map(read, left.events))
    try:
        traces.events += [Event.model_validate_json(body) for body in bodies]
    except ValidationError as error:
        raise StorageError(f"an event in s3://{bucket} is not what it should be", why=str(error)) from error


def _ask_group(client: Client, group: str, seen: dict[str, Sighting]) -> set[str]:
    """Exact times of launch and end, of boxes too that never wrote a word; AWS keeps them for six weeks.

    Returns the ids of the group's instances.
    """
    members = set()
    with refused(f"the activities of {group} cannot be read"):
        pages = client("autoscaling").get_paginator("describe_scaling_activities").paginate(AutoScalingGroupName=group)
        for activity in (activity for page in pages for activity in page["Activities"]):
            found = ACTIVITY.match(activity.get("Description", ""))
            if not found or activity.get("StatusCode") in ("Failed", "Cancelled"):
                continue
            members.add(found["instance"])
            one = seen.setdefault(found["instance"], Sighting(found["instance"]))
            if found["what"] == "Terminating":
                one.ended = activity["StartTime"]
            else:
                one.launched = activity["StartTime"]
    return members


def _ask_ec2(client: Client, run: str, seen: dict[str, Sighting]) -> None:
    with refused(f"the instances of run {run!r} cannot be looked up"):
        for page in client("ec2").get_paginator("describe_instances").paginate(Filters=of_run(run)):
            for found in (found for part in page["Reservations"] for found in part["Instances"]):
                one = seen.setdefault(found["InstanceId"], Sighting(found["InstanceId"]))
                one.launched = found["LaunchTime"]
                one.lives = found["State"]["Name"] in LIVE
                place = found.get("Placement", {}).get("AvailabilityZone", "")
                said = {"type": found["InstanceType"], "zone": place or one.machine.zone}
                one.machine = one.machine.model_copy(update=said)
