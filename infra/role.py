"""Who the box is to AWS: a role that only EC2 may assume and that starts with no permission at all."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.names import name_in_template
from infra.permissions import Permission


class BoxRole(Construct):
    """`id` also names the role in the template: `BoxRole`, `WorkerRole`."""

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            description="One signspot training box" if id == "Box" else "A worker of a signspot cluster",
        )
        name_in_template(self.role, f"{id}Role")
        self.permissions: list[Permission] = []

    def allow(self, permission: Permission) -> None:
        self.permissions.append(permission)
        self.role.add_to_principal_policy(iam.PolicyStatement.from_json(permission.statement()))

    def allow_apart(self, scope: Construct, permission: Permission) -> iam.Policy:
        """As a policy of its own: what the group needs before it exists cannot name the group."""
        self.permissions.append(permission)
        statement = iam.PolicyStatement.from_json(permission.statement())
        return iam.Policy(scope, permission.sid, roles=[self.role], statements=[statement])
