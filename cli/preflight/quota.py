"""May the machine run at all? Enters: its types. Leaves: what the quotas say, and a request for more of them.

Quotas of EC2 count vCPUs, spot and on-demand apart, by family of instances:
https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from botocore.exceptions import ClientError

from cli.live import Client
from cli.preflight.facts import Facts
from cli.preflight.finding import Finding, Unasked, ask, bad, good, refused, unknown, warn
from cli.refusal import code_of, mend_of
from contract.config import Config, MachineConfig
from contract.errors import CloudError

SERVICE = "ec2"
UNSET = "NoSuchResourceException"
ASKED_ALREADY = "ResourceAlreadyExistsException"
OPEN = ("PENDING", "CASE_OPENED")
STANDARD = ("a", "c", "d", "h", "i", "m", "r", "t", "z")
FAMILY = re.compile(r"(?P<letters>[a-z]+)(?P<generation>\d*)")


@dataclass(frozen=True)
class Quota:
    code: str
    name: str


@dataclass(frozen=True)
class Family:
    spot: Quota
    on_demand: Quota


G_AND_VT = Family(
    Quota("L-3819A6DF", "All G and VT Spot Instance Requests"),
    Quota("L-DB2E81BA", "Running On-Demand G and VT instances"),
)
P = Family(
    Quota("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
    Quota("L-417A185B", "Running On-Demand P instances"),
)
STANDARDS = Family(
    Quota("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
    Quota("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
)


def family_of(instance_type: str) -> Family | None:
    """None: signspot does not know which quota counts it."""
    match = FAMILY.match(instance_type)
    letters, generation = (match["letters"], match["generation"]) if match else ("", "")
    if letters in ("g", "vt") or instance_type.startswith(("g4dn", "g4ad")):
        return G_AND_VT
    if letters == "p" and generation in ("2", "3", "4"):
        return P
    return STANDARDS if letters in STANDARD else None


def vcpus_of(client: Client, types: Sequence[str]) -> dict[str, int]:
    """vCPUs by type; a type that the region does not have is not in it."""
    asked = [{"Name": "instance-type", "Values": list(types)}]  # a filter, since a name that is unknown is an error
    found = ask(client("ec2"), "describe_instance_types", Filters=asked)["InstanceTypes"]
    return {one["InstanceType"]: one["VCpuInfo"]["DefaultVCpus"] for one in found}


def look_at_quotas(client: Client, machine: MachineConfig, run: str, facts: Facts) -> Iterator[Finding]:
    """Fills in `facts.quota_missing`."""
    needs: dict[Family | None, dict[str, int]] = defaultdict(dict)
    for name, vcpus in vcpus_of(client, machine.instance_types).items():
        needs[family_of(name)][name] = vcpus * machine.boxes
    for unfamiliar in needs.pop(None, {}):
        yield unknown("spot quota", f"which quota counts {unfamiliar} is not known", "look in Service Quotas, EC2")
    running = _running_spot(client, run)
    for family, wanted in needs.items():
        if family is None:
            continue
        yield _spot(client, family, wanted, running.get(family, {}), facts)
        try:
            limit = limit_of(client, family.on_demand)
        except Unasked as refusal:
            yield refused("on-demand quota", refusal)
            continue
        text = f"{limit:g} vCPUs ({family.on_demand.code}); signspot runs spot instances only"
        if machine.boxes == 1:
            yield good("on-demand quota", text)
    if machine.boxes > 1:
        yield from _head(client, machine.head_type)


def _head(client: Client, type_: str) -> Iterator[Finding]:
    """Whether a cluster's head may run on demand."""
    name, family, vcpus = "on-demand quota", family_of(type_), vcpus_of(client, [type_]).get(type_)
    if family is None or vcpus is None:
        yield unknown(name, f"what a head of type {type_} needs is not known", "look in Service Quotas, EC2")
        return
    limit = limit_of(client, family.on_demand)
    text = f"{limit:g} vCPUs ({family.on_demand.code}); the head, {type_}, needs {vcpus}"
    yield good(name, text) if limit >= vcpus else bad(name, text, "ask for more in Service Quotas, EC2")


def _spot(
    client: Client, family: Family, wanted: Mapping[str, int], running: Mapping[str, int], facts: Facts
) -> Finding:
    name, quota = "spot quota", family.spot
    limit, used = limit_of(client, quota), sum(running.values())
    smallest, needs = min(wanted.values()), ", ".join(f"{name} needs {number}" for name, number in wanted.items())
    text = f"{limit:g} vCPUs ({quota.code}), {used} in use; {needs}"
    if limit < smallest:
        facts.quota_missing[quota.code] = smallest
        pending = open_request(client, quota)
        if pending:
            return bad(name, f"{text}; {pending}", "wait for AWS's answer; docs/first-run.md says what to do meanwhile")
        return bad(name, text, "signspot check --request-quota")
    if limit - used < smallest:
        return bad(name, f"{text}, by {', '.join(running)}", "signspot ls, then signspot stop RUN; or ask for more")
    if limit - used < max(wanted.values()):
        return warn(name, f"{text}: not every type fits", "signspot check --request-quota, or fewer instance types")
    return good(name, text)


def _running_spot(client: Client, run: str) -> dict[Family, dict[str, int]]:
    """vCPUs of spot instances that count, by quota and id; without those of this run, which a deploy replaces."""
    filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    running: dict[Family, dict[str, str]] = defaultdict(dict)
    for reservation in ask(client("ec2"), "describe_instances", Filters=filters)["Reservations"]:
        for one in reservation["Instances"]:
            family, tags = family_of(one["InstanceType"]), {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}
            if family and one.get("InstanceLifecycle") == "spot" and tags.get("signspot:run") != run:
                running[family][one["InstanceId"]] = one["InstanceType"]
    types = sorted({name for ids in running.values() for name in ids.values()})
    vcpus = vcpus_of(client, types) if types else {}
    return {family: {id_: vcpus.get(name, 0) for id_, name in ids.items()} for family, ids in running.items()}


def limit_of(client: Client, quota: Quota) -> float:
    """What the account has; AWS's default where nobody ever changed it."""
    quotas, which = client("service-quotas"), {"ServiceCode": SERVICE, "QuotaCode": quota.code}
    try:
        return float(ask(quotas, "get_service_quota", **which)["Quota"]["Value"])
    except ClientError as error:
        if code_of(error) != UNSET:
            raise
        return float(ask(quotas, "get_aws_default_service_quota", **which)["Quota"]["Value"])


def open_request(client: Client, quota: Quota) -> str:
    """A request for more that AWS has not answered yet, for people; empty where there is none, or nobody says."""
    try:
        history = ask(
            client("service-quotas"),
            "list_requested_service_quota_change_history_by_quota",
            ServiceCode=SERVICE,
            QuotaCode=quota.code,
        )
    except (ClientError, Unasked):
        return ""
    for one in history.get("RequestedQuotas", []):
        if one["Status"] in OPEN:
            case = f", support case {one['CaseId']}" if one.get("CaseId") else ""
            return f"{one['DesiredValue']:g} vCPUs were asked for on {one['Created']:%Y-%m-%d} ({one['Status']}{case})"
    return ""


def request_quota(client: Client, facts: Facts, config: Config) -> Iterator[str]:
    """Ask AWS for what is missing, once; leaves what to tell the user, the use case among it.

    Raises:
        CloudError: AWS refuses.
    """
    if not facts.quota_missing:
        yield "The spot quota suffices, or could not be asked: nothing was requested."
    for code, vcpus in facts.quota_missing.items():
        quota = next(family.spot for family in (G_AND_VT, P, STANDARDS) if family.spot.code == code)
        if pending := open_request(client, quota):
            yield f"{quota.name} ({code}): {pending}; nothing new was requested."
        else:
            yield _request(client, quota, vcpus)
        yield "If AWS asks for a use case:\n\n" + use_case(config, quota, vcpus, client("ec2").meta.region_name)


def _request(client: Client, quota: Quota, vcpus: int) -> str:
    try:
        answer = ask(
            client("service-quotas"),
            "request_service_quota_increase",
            ServiceCode=SERVICE,
            QuotaCode=quota.code,
            DesiredValue=float(vcpus),
            SupportCaseAllowed=True,
        )
    except Unasked as refusal:
        found = refused("", refusal)
        raise CloudError(f"the quota {quota.code} cannot be requested: {found.text}", mend=found.mend) from refusal
    except ClientError as error:
        if code_of(error) == ASKED_ALREADY:
            return f"{quota.name} ({quota.code}): asked for already; nothing new was requested."
        raise CloudError(f"the quota {quota.code} cannot be requested", why=str(error), mend=mend_of(error)) from error
    asked = answer["RequestedQuota"]
    return (
        f"{quota.name} ({quota.code}): {vcpus} vCPUs requested, {asked['Status']}. "
        "AWS answers by mail; signspot check says how it stands."
    )


def use_case(config: Config, quota: Quota, vcpus: int, region: str) -> str:
    """What a person at AWS wants to know, filled in from the settings."""
    limits, boxes, types = config.limits, config.machine.boxes, " or ".join(config.machine.instance_types)
    if boxes == 1:
        what, them = f"I train one machine-learning model at a time on one {types} spot instance", "that one instance"
    else:
        what, them = f"I work on at most {boxes} {types} spot instances at a time", "them"
    return (
        f"{what} in {region}, with the tool signspot, and need {vcpus} vCPUs of the quota '{quota.name}' "
        f"({quota.code}) for {them}. It runs in an Auto Scaling group of at most "
        f"{'one instance' if boxes == 1 else f'{boxes} instances'}, for at most {limits.max_hours:g} hours a run and "
        f"${limits.usd_per_hour(boxes):g} an hour; a scheduled action ends it from outside, so that a run costs at "
        f"most ${limits.max_usd:g}. Interruptions are welcome: it saves a checkpoint every "
        f"{config.sync.checkpoint_seconds:g} seconds and goes on from it. The model: [say in one sentence what for]."
    )
