"""What of a run lives in EC2 now. Enters: its name and its groups. Leaves: instances, the groups' size, the door.

Asked of AWS and not read from the run's bucket: it is true also when the box said nothing, or somebody opened the
door by hand.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import boto3
from botocore.config import Config
from pydantic import BaseModel

from cli.refusal import refused

Client = Callable[[str], Any]
"""`aws`, or another with the same manners."""
BRISK = Config(connect_timeout=3, read_timeout=7, retries={"mode": "standard", "total_max_attempts": 2})
ELSEWHERE = {"pricing": "us-east-1"}
"""Services that answer for every region, but not in each."""
NAMES_AT_ONCE = 50
"""In one request: the most that Auto Scaling and SSM take (`AutoScalingGroupNames`, `ParameterStringFilter`)."""


def aws(service: str) -> Any:
    """A client of boto3; raises CloudError when the laptop names no region, or a profile that is not there."""
    with refused("AWS cannot be asked"):
        return boto3.client(service, region_name=ELSEWHERE.get(service))  # type: ignore[call-overload]


def brisk(service: str) -> Any:
    """The same for what must not be waited for: one that does not answer is given up after about 20 seconds."""
    with refused("AWS cannot be asked"):
        return boto3.client(service, config=BRISK)  # type: ignore[call-overload]


class Instance(BaseModel):
    id: str
    state: str
    """As EC2 says: pending, running, shutting-down, stopping, stopped; a terminated one lives no more."""
    addresses: tuple[str, ...] = ()
    """Public ones, IPv4 first."""


class Live(BaseModel):
    desired: int
    """Instances that the groups want; 0 also when there is no group."""
    instances: tuple[Instance, ...] = ()
    ssh_from: tuple[str, ...] = ()
    """Networks that may reach port 22; empty: nobody."""

    @property
    def empty(self) -> bool:
        """Nothing runs and nothing will be started."""
        return self.desired == 0 and not self.instances

    @property
    def open_to_many(self) -> tuple[str, ...]:
        return tuple(network for network in self.ssh_from if not _one_address(network))


def groups_of(outputs: Mapping[str, str]) -> list[str]:
    """The Auto Scaling groups of a stack: that of the box, or of a cluster's head, and then that of its workers."""
    return [outputs[name] for name in ("Group", "Workers") if name in outputs]


def look(client: Client, run: str, groups: list[str]) -> Live:
    """Raises CloudError when AWS does not say."""
    with refused(f"AWS does not say what lives of run {run!r}"):
        answer = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=groups)
        desired = sum(found["DesiredCapacity"] for found in answer["AutoScalingGroups"])
        return Live(desired=desired, instances=living(client("ec2"), run), ssh_from=door(client("ec2"), run))


def living(ec2: Any, run: str) -> tuple[Instance, ...]:
    """The run's instances that are not terminated."""
    return tuple(
        Instance(id=one["InstanceId"], state=one["State"]["Name"], addresses=tuple(_addresses(one)))
        for one in not_terminated(ec2, of_run(run))
    )


def not_terminated(ec2: Any, filters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Instances as EC2 describes them."""
    for page in ec2.get_paginator("describe_instances").paginate(Filters=filters):
        for one in (one for reservation in page["Reservations"] for one in reservation["Instances"]):
            if one["State"]["Name"] != "terminated":
                yield one


def door(ec2: Any, run: str) -> tuple[str, ...]:
    """The networks, or the other ids, that a rule of the run's security groups lets in to port 22."""
    pages = ec2.get_paginator("describe_security_groups").paginate(Filters=of_run(run))
    rules = (rule for page in pages for group in page["SecurityGroups"] for rule in group["IpPermissions"])
    return tuple(sorted({source for rule in rules if _reaches_ssh(rule) for source in _sources(rule)}))


def batches(names: Iterable[str]) -> Iterator[list[str]]:
    """All of them, in order, as many as one request takes."""
    rest = sorted(names)
    while rest:
        yield rest[:NAMES_AT_ONCE]
        rest = rest[NAMES_AT_ONCE:]


def of_run(run: str) -> list[dict[str, Any]]:
    """A filter of EC2 and of Auto Scaling: what has the run's tag."""
    return [{"Name": "tag:signspot:run", "Values": [run]}]


def _addresses(instance: Mapping[str, Any]) -> Iterable[str]:
    if instance.get("PublicIpAddress"):
        yield instance["PublicIpAddress"]
    for interface in instance.get("NetworkInterfaces", []):
        yield from (address["Ipv6Address"] for address in interface.get("Ipv6Addresses", []))


def _reaches_ssh(rule: Mapping[str, Any]) -> bool:
    """A rule without ports is one for every protocol and port."""
    return int(rule.get("FromPort", 0)) <= 22 <= int(rule.get("ToPort", 65535))


def _sources(rule: Mapping[str, Any]) -> Iterable[str]:
    yield from (source["CidrIp"] for source in rule.get("IpRanges", []))
    yield from (source["CidrIpv6"] for source in rule.get("Ipv6Ranges", []))
    yield from (source["PrefixListId"] for source in rule.get("PrefixListIds", []))


def _one_address(network: str) -> bool:
    """A prefix list is not one: who is in it may change."""
    try:
        return ipaddress.ip_network(network).num_addresses == 1
    except ValueError:
        return False
