"""The parts of the cases of all handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from local.engine import Action

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.conftest import Project

TRUST = """json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Principal": {"Service": "SERVICE"}, "Action": "sts:AssumeRole"}]})"""
POLICY = """json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Principal": "*", "Action": "ACTION", "Resource": "*"}]})"""
PERMISSION = """json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Action": "<V>", "Resource": "*"}]})"""
ROLE = f'role = aws.iam.Role("role", assume_role_policy={TRUST.replace("SERVICE", "a.com")})\n'
VPC = 'vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16")\n'
SUBNET = VPC + 'subnet = aws.ec2.Subnet("subnet", vpc_id=vpc.id, cidr_block="10.0.1.0/24")\n'
TABLE = SUBNET + 'table = aws.ec2.RouteTable("table", vpc_id=vpc.id)\n'
GROUP = VPC + 'group = aws.ec2.SecurityGroup("group", vpc_id=vpc.id)\n'


class Case(NamedTuple):
    """A program in two versions, and how the cloud is asked which of them it has."""

    type: str
    program: str
    """Makes `it`; <V> stands for what differs."""
    first: str
    second: str
    ask: Callable[[Project, str], Any]
    """Takes the id; what it returns differs between the versions."""
    seen: tuple[Any, Any]
    changed: Action = Action.UPDATED


def described(service, method, key, *path):
    def ask(project, resource_id):
        found = getattr(project.client(service), method)(**key(resource_id))
        for step in path:
            found = found[step]
        return found

    return ask
