"""`python -m infra.audit`: cfn-lint, checkov and parliament over every template and policy there is; cdk-nag is a test.

Enters: every shape of the stack, and the policy of the deploying user. Leaves: what the auditors say, on the
screen, and exit 1 when one of them found something that is not acknowledged beside its resource
(`infra/acknowledge.py`). They live in `.venv-audit` and are given a proxy where nobody listens: none of them can
ask or tell anybody anything.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from contract.errors import ConfigError
from infra.deploy_policy import EXAMPLE_ACCOUNT, EXAMPLE_REGION, deploy_permissions, document
from infra.shapes import HOME, every_shape

TOOLS = HOME / ".venv-audit/bin"
NOWHERE = "http://127.0.0.1:9"
PSEUDO = {"AWS::Partition": "aws", "AWS::AccountId": EXAMPLE_ACCOUNT, "AWS::Region": EXAMPLE_REGION}
ARNS = {
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SNS::Topic": f"arn:aws:sns:{EXAMPLE_REGION}:{EXAMPLE_ACCOUNT}:{{}}",
    "AWS::IAM::Role": f"arn:aws:iam::{EXAMPLE_ACCOUNT}:role/{{}}",
}
"""What an ARN of a resource looks like, by the type of the resource, as far as a policy names one."""


def write(folder: Path) -> None:
    """Put every template and every policy into `folder`, as the auditors read them."""
    for name, shape in every_shape().items():
        _put(folder / "templates" / f"{name}.json", shape.template)
        for resource, policy in policies(shape.template):
            _put(folder / "policies" / name / f"{resource}.json", policy)
    _put(folder / "policies/deploy/policy.json", document(deploy_permissions(EXAMPLE_ACCOUNT, EXAMPLE_REGION)))


def policies(template: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy in a template, by the resource it stands in, with ARNs in place of CloudFormation's functions."""
    resources = template["Resources"]
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        inline = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        for found in filter(None, [properties.get("PolicyDocument"), *inline]):
            yield name, _concrete(found, resources)


def _concrete(value: Any, resources: Mapping[str, Any]) -> Any:
    match value:
        case {"Ref": name}:
            return _named(name, resources)
        case {"Fn::GetAtt": path}:
            return _named(".".join(path), resources)
        case {"Fn::Join": [separator, parts]}:
            return separator.join(_concrete(part, resources) for part in parts)
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([\w:.]+)\}", lambda found: _named(found[1], resources), text)
        case dict():
            return {key: _concrete(item, resources) for key, item in value.items()}
    return [_concrete(item, resources) for item in value] if isinstance(value, list) else value


def _named(name: str, resources: Mapping[str, Any]) -> str:
    """What a Ref or GetAtt to `name` could give."""
    if name in PSEUDO:
        return PSEUDO[name]
    logical, _, attribute = name.partition(".")
    kind = resources[logical]["Type"]
    return ARNS[kind].format(logical.lower()) if attribute == "Arn" or kind == "AWS::SNS::Topic" else logical


def _put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class Verdict:
    tool: str
    ok: bool
    said: str


def audit(folder: Path) -> tuple[Verdict, ...]:
    """What each auditor says about what `write` put into `folder`.

    Raises:
        ConfigError: the auditors are not installed.
    """
    if not TOOLS.is_dir():
        raise ConfigError(f"there are no auditors in {TOOLS}", mend="make audit installs them")
    templates = folder / "templates"
    return _lint(templates), _check(templates), _debate(folder)


def _lint(templates: Path) -> Verdict:
    done = _run("cfn-lint", "--template", *map(str, sorted(templates.glob("*.json"))))
    return Verdict("cfn-lint", done.returncode == 0, done.stdout + done.stderr)


def _check(templates: Path) -> Verdict:
    options = ("--framework", "cloudformation", "--compact", "--quiet", "--skip-download")
    done = _run("checkov", "--directory", str(templates), *options)
    return Verdict("checkov", done.returncode == 0, done.stdout + done.stderr)


def _debate(folder: Path) -> Verdict:
    done = _run("parliament", "--directory", str(folder / "policies"), "--json")
    if done.returncode not in (0, 1) or done.stderr:
        return Verdict("parliament", False, done.stdout + done.stderr)
    findings = [line for line in done.stdout.splitlines() if not _acknowledged(json.loads(line), folder)]
    return Verdict("parliament", not findings, "\n".join(findings))


def _acknowledged(finding: Mapping[str, Any], folder: Path) -> bool:
    """Whether the resource in whose policy it was found says so in its metadata."""
    policy = Path(finding["location"]["filepath"])
    template = folder / "templates" / f"{policy.parent.name}.json"
    if not template.exists():
        return False
    resource = json.loads(template.read_text(encoding="utf-8"))["Resources"][policy.stem]
    skipped = resource.get("Metadata", {}).get("parliament", {}).get("skip", [])
    return finding["issue"] in [one["id"] for one in skipped]


def _run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    quiet = {"PYTHONWARNINGS": "ignore", "HTTPS_PROXY": NOWHERE, "https_proxy": NOWHERE}
    return subprocess.run(
        [str(TOOLS / tool), *arguments],
        env={**os.environ, **quiet},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def main() -> int:
    with TemporaryDirectory() as folder:
        write(Path(folder))
        verdicts = audit(Path(folder))
    for verdict in verdicts:
        print(f"{verdict.tool}: {'nothing that is not acknowledged' if verdict.ok else 'findings'}")
        if not verdict.ok:
            print(verdict.said.strip())
    return 0 if all(verdict.ok for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
