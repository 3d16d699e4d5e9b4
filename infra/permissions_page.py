"""`python -m infra.permissions_page`: writes docs/permissions.md from the template.

Enters: every shape of the stack. Leaves: the page; a test compares it with the committed one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

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


def page() -> str:
    shapes = every_shape().values()
    templates = [shape.template for shape in shapes]
    why = {permission.sid: permission for shape in shapes for permission in shape.permissions}
    found = list(dict.fromkeys(json.dumps(s, sort_keys=True) for t in templates for s in statements(t)))
    everything: list[dict[str, Any]] = [json.loads(item) for item in found]
    box = [statement for statement in everything if statement.get("Sid") in why]
    others = [statement for statement in everything if statement not in box]
    open_ended = [statement for statement in everything if "*" in values(statement, "Resource")]
    lines = [
        *table(("statement", "may", "on", "only when", "why", "without it"), (box_row(s, why[s["Sid"]]) for s in box)),
        "\n## What else is written in a policy\n",
        *table(("who", "may", "on", "only when", "why"), (other_row(s) for s in others)),
        "\n## Every resource that is `*`\n",
        *([f"- {code(values(s, 'Action'))}: {other_row(s)[-1]}" for s in open_ended] or ["There is none."]),
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
