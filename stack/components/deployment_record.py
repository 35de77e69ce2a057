"""The record of a deployment: the last that is made of it, and the first that is deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from taskpacks.contract import record_parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stack.before_delete import Guards
    from stack.model import StackContext


def noting(into: list[pulumi.Resource]) -> Callable[[pulumi.ResourceTransformationArgs], None]:
    """A transformation that notes all that is made below a component, a pack's own included.

    Args:
        into: Gets each resource, and the component itself first.
    """

    def note(args: pulumi.ResourceTransformationArgs) -> None:
        into.append(args.resource)

    return note


def record_deployment(
    name: str,
    facts: Mapping[str, pulumi.Input[str]],
    guards: Guards,
    *,
    context: StackContext,
    parent: pulumi.Resource,
    of: Sequence[pulumi.Input[pulumi.Resource]],
) -> aws.ssm.Parameter:
    """Writes down that a deployment is there, when all of it is.

    It depends on all the rest, so it is the first to be deleted: a deployment whose workers run
    or whose messages are kept stays whole.

    Args:
        name: Of the deployment.
        facts: What is written: its queues' URLs ("queue_url", "dead_letter_url"), its "job_queue",
            its "producer_policy" and the like. The doorman reads it: launcher/doorman.py.
        guards: Asked before the record is deleted.
        context: The stack's.
        parent: The deployment's component.
        of: All that it consists of, and what it shares with others.
    """
    return aws.ssm.Parameter(
        f"{name}-record",
        name=record_parameter(context.stack, name),
        description=f"{name}: what it consists of",
        type="String",
        # Nothing in it is secret, and the hooks must be able to read it.
        insecure_value=pulumi.Output.json_dumps(facts),
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=of,
            # In this order: a worker that ends settles the messages that it holds.
            hooks=pulumi.ResourceHookBinding(
                before_delete=[guards.policies, guards.workers, guards.messages]
            ),
        ),
    )
