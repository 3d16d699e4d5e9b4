"""A finding that was considered and stays; each beside its resource, with a reason.

Enters: the rule's name, as cdk-nag (`AwsSolutions-…`), checkov (`CKV_…`) or parliament (`RESOURCE_…`) calls it, or a
warning of CDK's own. Leaves: a note where it is looked for: CDK's validation, or the resource's metadata in the
template, in the form that checkov reads. parliament has a file for such notes and does not heed it (1.6.4), so
`infra/audit.py` does.
"""

from __future__ import annotations

from aws_cdk import Acknowledgment, CfnResource, Validations
from constructs import IConstruct


def acknowledge(construct: IConstruct, finding: str, reason: str) -> None:
    if not finding.isupper():
        Validations.of(construct).acknowledge(Acknowledgment(id=finding, reason=reason))
        return
    tool = "checkov" if finding.startswith("CKV_") else "parliament"
    resource = construct if isinstance(construct, CfnResource) else construct.node.default_child
    assert isinstance(resource, CfnResource)
    before = resource.get_metadata(tool) or {"skip": []}
    resource.add_metadata(tool, {"skip": [*before["skip"], {"id": finding, "comment": reason}]})
