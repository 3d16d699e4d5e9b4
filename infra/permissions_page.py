"""`python -m infra.permissions_page`: writes docs/permissions.md from the template and the deploy policy.

Enters: every shape of the stack. Leaves: the page; a test compares it with the committed one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.deploy_policy import EXAMPLE_ACCOUNT, EXAMPLE_REGION, deploy_permissions
from infra.permissions import Permission
from infra.shapes import HOME, every_shape

PAGE = HOME / "docs/permissions.md"

NOT_THE_BOX = {
    "Deny s3:*": "Nobody may speak to the bucket without TLS.",
    "Deny sns:Publish": "Nobody may publish without TLS.",
    "Allow s3:PutBucketPolicy": (
        "CDK's helper empties the bucket when the stack is destroyed; first it forbids new writes. "
        "Without it `cdk destroy` stops at a bucket that is not empty."
    ),
    "Allow ec2:AuthorizeSecurityGroupIngress": (
        "CDK's helper takes every rule out of the VPC's default security group. "
        "Without it a group that nobody uses would admit its own members."
    ),
}
"""Why, by effect and first action; the page cannot be written while a statement is missing here."""

INTRO = """# Permissions

Generated from the template by `python -m infra.permissions_page`; a test keeps it true. `<X>` is the
resource with that logical id, `<hash>` the content of an asset, `demo` the name of the run.

## What the box may do

The role can be assumed by EC2 alone. It may not start, stop or terminate an instance through EC2's API.
"""

DEPLOYING = """
## What the deploying user needs

`python -m infra.deploy_policy ACCOUNT REGION > policy.json` prints it as JSON; an administrator makes it a policy with
`aws iam create-policy --policy-name signspot-deploy --policy-document file://policy.json` and attaches it to the user
or role (for a user's inline policy it is too long). Somebody with nothing else deploys, follows, extends, stops and
destroys a run in `tests/rehearsal/test_deploy_policy.py`, which also takes each statement away. `cdk bootstrap` is not
in it: an administrator does that once. An `s3://` dataset is read by the box, not by the user.
"""

LIMITS = """
### What this policy does not limit

Who may deploy can let CloudFormation do whatever its *execution role* may do. `cdk bootstrap` gives that role
`AdministratorAccess` unless told otherwise, and the deploy role that it makes may change and delete every stack of the
account and region. Under their own name a user with the policy above is refused everything else, and CDK's lookup role,
which reads the whole account, is not in it; but who takes on the deploy role by hand can deploy another template and
delete another stack. Against that help an account of its own for training, or a `cdk bootstrap` with
`--custom-permissions-boundary` and a policy that demands itself on every role that is made.

A narrower policy for the execution role (`--cloudformation-execution-policies`) is deliberately not generated: our
template makes roles, so it would have to hold `iam:CreateRole`, `iam:PutRolePolicy` and `iam:PassRole`, and with these
and without a boundary it would be `AdministratorAccess` under another name. What remains by default is
`AdministratorAccess` for CloudFormation.
"""


def page() -> str:
    shapes = every_shape().values()
    templates = [shape.template for shape in shapes]
    why = {permission.sid: permission for shape in shapes for permission in shape.permissions}
    found = list(dict.fromkeys(json.dumps(s, sort_keys=True) for t in templates for s in statements(t)))
    everything: list[dict[str, Any]] = [json.loads(item) for item in found]
    box = [statement for statement in everything if statement.get("Sid") in why]
    others = [statement for statement in everything if statement not in box]
    open_ended = [statement for statement in everything if "*" in values(statement, "Resource")]
    user = deploy_permissions(EXAMPLE_ACCOUNT, EXAMPLE_REGION)
    lines = [
        *table(("statement", "may", "on", "only when", "why", "without it"), (box_row(s, why[s["Sid"]]) for s in box)),
        "\n## What else is written in a policy\n",
        *table(("who", "may", "on", "only when", "why"), (other_row(s) for s in others)),
        "\n## Every resource that is `*`, but for the deploying user's questions\n",
        *([f"- {code(values(s, 'Action'))}: {other_row(s)[-1]}" for s in open_ended] or ["There is none."]),
        DEPLOYING,
        *table(("statement", "may", "on", "only when", "why", "without it"), (box_row(p.statement(), p) for p in user)),
        LIMITS.rstrip(),
    ]
    return INTRO + "\n" + "\n".join(lines) + "\n"


def statements(template: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every statement of every policy but the roles' trust, with the names of resources made readable."""
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        inline = properties.get("Policies", [])
        for document in [properties.get("PolicyDocument"), *(policy["PolicyDocument"] for policy in inline)]:
            for statement in (document or {}).get("Statement", []):
                yield readable(statement)


def readable(value: Any) -> Any:
    """CloudFormation's functions as text: Ref and GetAtt become <Id>, Join and Sub their result."""
    if isinstance(value, list):
        return [readable(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"[0-9a-f]{64}", "<hash>", value)
    match value:
        case {"Ref": name} | {"Fn::GetAtt": name}:
            return f"<{name if isinstance(name, str) else '.'.join(name)}>"
        case {"Fn::Join": [separator, parts]}:
            return separator.join(readable(part) for part in parts)
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{([\w:]+)\}", r"<\1>", text)
    return {key: readable(item) for key, item in value.items()}


def values(statement: Mapping[str, Any], key: str) -> list[str]:
    found = statement.get(key, [])
    return found if isinstance(found, list) else [found]


def box_row(statement: Mapping[str, Any], permission: Permission) -> tuple[str, ...]:
    return f"`{permission.sid}`", *scope(statement), permission.reason, permission.without


def other_row(statement: Mapping[str, Any]) -> tuple[str, ...]:
    principal = statement.get("Principal", "")
    who = principal.get("AWS", "") if isinstance(principal, dict) else principal
    why = NOT_THE_BOX[f"{statement['Effect']} {values(statement, 'Action')[0]}"]
    may, on, when = scope(statement)
    never = "never " if statement["Effect"] == "Deny" else ""
    return code([who]) if who else "CDK's helper", never + may, on, when, why


def scope(statement: Mapping[str, Any]) -> tuple[str, str, str]:
    conditions = [
        f"{key} {operator} {wanted}"
        for operator, tests in statement.get("Condition", {}).items()
        for key, wanted in tests.items()
    ]
    return code(values(statement, "Action")), code(values(statement, "Resource")), code(conditions)


def code(items: list[str]) -> str:
    return "<br>".join(f"`{item}`" for item in items)


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
