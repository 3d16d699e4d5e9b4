"""Readable logical ids for what tests, outputs and people look for in the template."""

from __future__ import annotations

from aws_cdk import CfnResource
from constructs import IConstruct


def name_in_template(construct: IConstruct, logical_id: str) -> None:
    resource = construct.node.default_child
    assert isinstance(resource, CfnResource)
    resource.override_logical_id(logical_id)
