"""A network that costs nothing when idle, and the one door that may be open in it.

A cluster's boxes speak to one another through Ray's pinned ports, and nobody else does; workers have no door at all.
Leaves by the box: TCP 443 (AWS, PyPI) and TCP 80 (Ubuntu's package archives). DNS, time and
instance metadata are link-local services of the hypervisor, which security groups do not filter.
"""

from __future__ import annotations

import ipaddress

from aws_cdk import Annotations
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from contract.cluster import Ports
from infra.acknowledge import acknowledge
from infra.names import name_in_template

EVERY_ZONE = 99


class Network(Construct):
    def __init__(self, scope: Construct, id: str, *, ssh_from: str) -> None:
        super().__init__(scope, id)
        visitor = None if ssh_from == "none" else ipaddress.ip_network(ssh_from)
        six = visitor is not None and visitor.version == 6
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr("10.0.0.0/16"),
            ip_protocol=ec2.IpProtocol.DUAL_STACK if six else ec2.IpProtocol.IPV4_ONLY,
            max_azs=EVERY_ZONE,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="Public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=24, map_public_ip_on_launch=True
                )
            ],
            gateway_endpoints={"S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)},
            restrict_default_security_group=True,
        )
        acknowledge(
            self.vpc,
            "AwsSolutions-VPC7",
            "Flow logs cost money and outlive the run; one box lives here and at most one address may knock.",
        )
        self.door = ec2.SecurityGroup(
            self,
            "Door",
            vpc=self.vpc,
            allow_all_outbound=False,
            description="signspot: SSH as access.ssh_from says, or none",
        )
        name_in_template(self.door, "Door")
        self._peers = [ec2.Peer.any_ipv4(), *([ec2.Peer.any_ipv6()] if six else [])]
        self._let_out(self.door)
        if visitor is not None:
            owner = ec2.Peer.ipv6(ssh_from) if six else ec2.Peer.ipv4(ssh_from)
            self.door.add_ingress_rule(owner, ec2.Port.tcp(22), self._welcome(visitor.num_addresses, ssh_from))

    def add_cluster(self) -> tuple[ec2.SecurityGroup, ec2.SecurityGroup]:
        """What all boxes of a cluster are in, and what the workers have instead of a door."""
        inside = self._closed("Inside", "signspot: between the boxes of one cluster, through the ports of Ray")
        for first, last in Ports().ranges:
            ports = ec2.Port.tcp_range(first, last)
            inside.add_ingress_rule(inside, ports, "Ray, from the boxes of this cluster alone")
            inside.add_egress_rule(inside, ports, "Ray, to the boxes of this cluster alone")
        wall = self._closed("Wall", "signspot: workers, where nobody may knock")
        self._let_out(wall)
        return inside, wall

    def _closed(self, name: str, description: str) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(self, name, vpc=self.vpc, allow_all_outbound=False, description=description)
        name_in_template(group, name)
        return group

    def _let_out(self, group: ec2.SecurityGroup) -> None:
        for peer in self._peers:
            group.add_egress_rule(peer, ec2.Port.tcp(443), "AWS APIs and PyPI")
            group.add_egress_rule(peer, ec2.Port.tcp(80), "Ubuntu package archives")

    def _welcome(self, addresses: int, ssh_from: str) -> str:
        """What the rule says of itself; a door that is open to many is shouted about as well."""
        if addresses == 1:
            return "SSH from the owner alone"
        Annotations.of(self).add_warning_v2(
            "signspot:ssh-open-to-many",
            f"PORT 22 IS OPEN TO {addresses:,} ADDRESSES ({ssh_from}). Close it: -c ssh_from=$(signspot address)",
        )
        return f"DANGER: SSH FROM {addresses} ADDRESSES, as i_know_that_ssh_is_open_to_many_addresses asks"
