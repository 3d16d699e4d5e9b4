"""Who may do what in the emulated AWS: moto's evaluation of policies, mended.

Enters: a signed request as moto sees it. Leaves: silence, or an AccessDenied that names the
action and the resource; every refusal is kept in `Authorizer.denied`. moto compares most
resources with the text `*` and takes an unmet condition for a Deny; here resources are the
ARNs that the request names, and conditions are evaluated.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from unittest.mock import patch

from moto.autoscaling.models import autoscaling_backends
from moto.core.exceptions import AccessDeniedError
from moto.iam.access_control import (
    AssumedRoleAccessKey,
    IAMRequestBase,
    PermissionResult,
    S3IAMRequest,
)
from moto.iam.models import Policy, iam_backends
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket

ACCOUNT = "123456789012"

S3_ACTIONS = {"HeadBucket": "ListBucket", "DeleteObjects": "DeleteObject"}
"""The permission behind an S3 operation, where the two differ in name."""
DELETIONS = ("s3:DeleteObject", "s3:DeleteObjectVersion")
PREFIXES = {"tagging": "tag"}
"""What IAM calls a service that signs its requests by another name."""


@dataclass(frozen=True)
class Denial:
    principal: str
    action: str
    resource: str


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _filled(pattern: str, context: Mapping[str, str]) -> str:
    return re.sub(r"\$\{([^}]+)\}", lambda found: context.get(found[1].lower(), "?"), pattern)


def _like(value: str, pattern: str) -> bool:
    return fnmatchcase(value, pattern.replace("[", "[[]"))


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringEqualsIgnoreCase": lambda value, wanted: value.lower() == wanted.lower(),
    "StringLike": _like,
    "ArnEquals": _like,
    "ArnLike": _like,
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
    "NumericEquals": lambda value, wanted: float(value) == float(wanted),
    "NumericLessThan": lambda value, wanted: float(value) < float(wanted),
    "NumericGreaterThan": lambda value, wanted: float(value) > float(wanted),
}


def condition_met(operator: str, key: str, wanted: Any, context: Mapping[str, str]) -> bool:
    """One line of a `Condition` block. A missing key meets only negated, Null and IfExists operators."""
    value = context.get(key.lower())
    name = operator.partition(":")[2] or operator
    expected = [_filled(str(one), context) for one in _listed(wanted)]
    if name == "Null":
        return (value is None) == (expected[0].lower() == "true")
    if name.endswith("IfExists"):
        if value is None:
            return True
        name = name.removesuffix("IfExists")
    negated = "Not" in name
    test = OPERATORS[name.replace("Not", "")]
    if value is None:
        return negated or operator.startswith("ForAllValues:")
    return any(test(value, one) for one in expected) != negated


def concerns(statement: Mapping[str, Any], action: str, resource: str | None, context: Mapping[str, str]) -> bool:
    """Whether a statement speaks about this request. An unknown resource (None) matches every pattern."""

    def named(element: str, value: str) -> bool:
        return any(_like(value, _filled(one, context)) for one in _listed(statement[element]))

    def about_action() -> bool:
        patterns = _listed(statement.get("Action", statement.get("NotAction")))
        found = any(_like(action.lower(), one.lower()) for one in patterns)
        return found == ("Action" in statement)

    def about_resource() -> bool:
        if resource is None:
            return True
        if "NotResource" in statement:
            return not named("NotResource", resource)
        return "Resource" not in statement or named("Resource", resource)

    return (
        about_action()
        and about_resource()
        and all(
            condition_met(operator, key, wanted, context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def decide(documents: list[Any], action: str, resource: str | None, context: Mapping[str, str]) -> bool:
    """Allowed when some statement allows and none denies."""
    effects = {
        statement["Effect"]
        for document in documents
        for statement in _listed(document["Statement"])
        if concerns(statement, action, resource, context)
    }
    return "Allow" in effects and "Deny" not in effects


def _document(policy: Any) -> Any:
    if isinstance(policy, Policy):
        policy = next(version.document for version in policy.versions if version.is_default)
    elif isinstance(policy, dict):
        policy = policy.get("policy_document", policy)
    return json.loads(policy) if isinstance(policy, str) else policy


class Authorizer:
    """Stands in for moto's check while `installed()`."""

    def __init__(self) -> None:
        self.denied: list[Denial] = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        authorizer, signed = self, IAMRequestBase.check_signature

        def check_action_permitted(request: Any, resource: str) -> None:
            if request._action != "sts:GetCallerIdentity":
                authorizer._check(request, resource)

        def check_signature(request: Any) -> None:
            """moto loses the closing slash of Lambda's paths and then misses the signature."""
            if request._service != "lambda":
                signed(request)

        with (
            patch.object(IAMRequestBase, "check_signature", check_signature),
            patch.object(IAMRequestBase, "check_action_permitted", check_action_permitted),
            patch.object(FakeBucket, "get_permission", _bucket_permission),
        ):
            yield

    def _check(self, request: Any, named: str) -> None:
        action = _permission(request)
        documents = [_document(policy) for policy in request._access_key.collect_policies()]
        context = _context(request)
        for resource in _resources(request, action, named):
            if not decide(documents, action, resource, context | _tags(request, resource)):
                self._refuse(request, action, resource or "*")
        if action == "sts:AssumeRole" and not _trusted(request, named):
            self._refuse(request, action, named)

    def _refuse(self, request: Any, action: str, resource: str) -> None:
        principal = request._access_key.arn
        self.denied.append(Denial(principal, action, resource))
        if isinstance(request, S3IAMRequest):
            message = f"User: {principal} is not authorized to perform: {action} on resource: {resource}"
            raise S3ClientError("AccessDenied", message)
        raise AccessDeniedError(user_arn=principal, action=f"{action} on resource: {resource}")


def _bucket_permission(bucket: FakeBucket, action: str, resource: str) -> PermissionResult:
    """What a bucket's own policy forbids; it is not needed for what it allows, as all callers have policies."""
    document = json.loads(bucket.policy or '{"Statement": []}')
    context = {"aws:securetransport": "true"}
    forbids = any(
        one["Effect"] == "Deny" and concerns(one, action, resource, context) for one in _listed(document["Statement"])
    )
    return PermissionResult.DENIED if forbids else PermissionResult.NEUTRAL


def _trusted(request: Any, role_arn: str) -> bool:
    """Whether the role exists and lets the caller, or the caller's whole account, assume it."""
    role = next((one for one in iam_backends[ACCOUNT]["aws"].roles.values() if one.arn == role_arn), None)
    if role is None:
        return False
    allowed = (request._access_key.arn, ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", "*")
    return any(
        principal in allowed
        for statement in _listed(_document(role.assume_role_policy_document)["Statement"])
        if statement["Effect"] == "Allow" and isinstance(statement["Principal"], dict)
        for principal in _listed(statement["Principal"].get("AWS", []))
    )


def _permission(request: Any) -> str:
    service, _, name = request._action.partition(":")
    if not isinstance(request, S3IAMRequest):
        return f"{PREFIXES.get(service, service)}:{name}"
    if name.startswith("DeleteObject") and b"<VersionId>" in (request._body or b""):
        return "s3:DeleteObjectVersion"
    return f"s3:{S3_ACTIONS.get(name, name)}"


def _values(data: Any, name: str) -> list[str]:
    """Values of a query parameter, lists (`Name.member.1`) included."""
    found = [value for key, value in data.items() if key == name or key.startswith(f"{name}.")]
    return [str(one) for value in found for one in _listed(value)]


def _resources(request: Any, action: str, named: str) -> Sequence[str | None]:
    """ARNs the request is about; `*` where AWS knows no finer resource, None where this emulation does not."""
    service, _, name = action.partition(":")
    found: Sequence[str | None] = [None]
    if service in ("autoscaling", "ec2") and name.startswith("Describe"):
        found = ["*"]
    elif service == "cloudformation":
        place = f"arn:aws:cloudformation:{request._region}:{ACCOUNT}:stack"
        stacks = _values(request._data, "StackName")
        found = [one if one.startswith("arn:") else f"{place}/{one}/any" for one in stacks] or ["*"]
    elif action in DELETIONS and "/" not in named:
        keys = re.findall(r"<Key>(.*?)</Key>", (request._body or b"").decode())
        found = [f"{named}/{html.unescape(key)}" for key in keys]
    elif service == "s3" or (service in ("sts", "iam") and named != "*"):
        found = [named]
    elif service == "autoscaling":
        of_nobody = bool(_values(request._data, "InstanceId"))  # no group, no ARN: the service itself refuses
        found = [*_groups(request)] or ([None] if of_nobody else ["*"])
    elif service == "sns":
        found = [*_values(request._data, "TopicArn")]
    elif service == "ssm" and request._body:
        body = json.loads(request._body)
        names = _listed(body.get("Names", body.get("Name", [])))
        found = [_parameter(request._region, one.lstrip("/")) for one in names]
    return found or [None]


def _parameter(region: str, name: str) -> str:
    """A public one is nobody's: its ARN has no account."""
    owner = "" if name.startswith("aws/service/") else ACCOUNT
    return f"arn:aws:ssm:{region}:{owner}:parameter/{name}"


def _groups(request: Any) -> Iterator[str]:
    names = _values(request._data, "AutoScalingGroupName")
    instances = _values(request._data, "InstanceId")
    for group in autoscaling_backends[ACCOUNT][request._region].autoscaling_groups.values():
        if group.name in names or any(state.instance.id in instances for state in group.instance_states):
            yield group.arn


def _tags(request: Any, resource: str | None) -> dict[str, str]:
    if resource is None or ":autoScalingGroup:" not in resource:
        return {}
    groups = autoscaling_backends[ACCOUNT][request._region].autoscaling_groups
    group = groups[resource.rpartition("/")[2]]
    return {
        f"{service}:resourcetag/{tag['Key'].lower()}": tag["Value"]
        for tag in group.tags
        for service in ("aws", "autoscaling")
    }


def _context(request: Any) -> dict[str, str]:
    """Condition keys of a request, in lower case. There is no TLS here: every request counts as secure."""
    context = {
        "aws:securetransport": "true",
        "aws:requestedregion": request._region,
        "aws:principalaccount": ACCOUNT,
        "aws:principalarn": request._access_key.arn,
        "aws:resourceaccount": ACCOUNT,
        "s3:resourceaccount": ACCOUNT,
        "aws:sourceip": "127.0.0.1",
    }
    if isinstance(request, S3IAMRequest):
        context["s3:prefix"] = ""
        context |= {
            f"s3:{name}": _values(request._data, name)[0] for name in ("prefix", "delimiter") if name in request._data
        }
    if isinstance(request._access_key, AssumedRoleAccessKey):
        session = request._access_key.arn.rpartition("/")[2]
        if session.startswith("i-"):
            context["ec2:sourceinstancearn"] = f"arn:aws:ec2:{request._region}:{ACCOUNT}:instance/{session}"
    return context
