"""One handler per resource type; a type without one is refused by name."""

from types import MappingProxyType
from typing import Final

from local.engine.errors import UnsupportedError
from local.engine.handlers.base import Handler, Resource, Update, Values
from local.engine.handlers.batch import ComputeEnvironment, JobDefinition, JobQueue
from local.engine.handlers.cloudwatch import LogGroup, MetricAlarm
from local.engine.handlers.dynamodb import Table
from local.engine.handlers.ecr import Repository
from local.engine.handlers.events import EventBus, EventRule, EventTarget
from local.engine.handlers.functions import Function, Permission
from local.engine.handlers.gateways import Eip, NatGateway, VpcEndpoint
from local.engine.handlers.iam import InstanceProfile, Policy, Role, RolePolicyAttachment
from local.engine.handlers.kms import Key
from local.engine.handlers.launch_templates import LaunchTemplate
from local.engine.handlers.network import InternetGateway, Subnet, Vpc
from local.engine.handlers.routes import Route, RouteTable, RouteTableAssociation
from local.engine.handlers.s3 import Bucket
from local.engine.handlers.security_groups import (
    SecurityGroup,
    SecurityGroupEgressRule,
    SecurityGroupIngressRule,
)
from local.engine.handlers.settings import (
    BucketLifecycleConfiguration,
    BucketPolicy,
    BucketPublicAccessBlock,
    BucketServerSideEncryptionConfiguration,
    Dashboard,
    LifecyclePolicy,
    RolePolicy,
)
from local.engine.handlers.sns import Topic, TopicPolicy, TopicSubscription
from local.engine.handlers.sqs import Queue, QueuePolicy
from local.engine.handlers.ssm import Parameter
from local.engine.handlers.stepfunctions import StateMachine
from taskpacks.errors import nearest

__all__ = ["HANDLERS", "Handler", "Resource", "Update", "Values", "handler_for"]

_ALL: tuple[Handler, ...] = (
    Bucket(), BucketLifecycleConfiguration(), BucketPolicy(), BucketPublicAccessBlock(),
    BucketServerSideEncryptionConfiguration(), ComputeEnvironment(), Dashboard(), Eip(),
    EventBus(), EventRule(), EventTarget(), Function(), InstanceProfile(), InternetGateway(),
    JobDefinition(), JobQueue(), Key(), LaunchTemplate(), LifecyclePolicy(), LogGroup(),
    MetricAlarm(), NatGateway(), Parameter(), Permission(), Policy(), Queue(), QueuePolicy(),
    Repository(), Role(), RolePolicy(), RolePolicyAttachment(), Route(), RouteTable(),
    RouteTableAssociation(), SecurityGroup(), SecurityGroupEgressRule(),
    SecurityGroupIngressRule(), StateMachine(), Subnet(), Table(), Topic(), TopicPolicy(),
    TopicSubscription(), Vpc(), VpcEndpoint(),
)  # fmt: skip

HANDLERS: Final = MappingProxyType({handler.resource_type: handler for handler in _ALL})
"""By type token."""


def handler_for(type_token: str, name: str) -> Handler:
    """Finds a type's handler.

    Args:
        type_token: Pulumi's, such as "aws:sqs/queue:Queue".
        name: The resource's logical name, for the error message.

    Raises:
        UnsupportedError: There is none, or the type is a provider.
    """
    if type_token.startswith("pulumi:providers:"):
        raise UnsupportedError(
            f"The provider '{name}' ({type_token}) cannot be made here: the local cloud has one "
            "default provider. Set its region with the config key aws:region, and a resource's "
            "own with its region property."
        )
    if type_token not in HANDLERS:
        raise UnsupportedError(
            f"'{name}' is of type {type_token}, which the local cloud cannot make."
            f"{nearest(type_token, HANDLERS)} All known types: {', '.join(sorted(HANDLERS))}. "
            "Leave the resource out of local stacks, or add a handler in local/engine/handlers."
        )
    return HANDLERS[type_token]
