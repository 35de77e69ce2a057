"""The settings and permissions of applications that send tasks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from stack.components.json_text import as_json
from stack.documents import policies
from taskpacks import limits
from taskpacks.errors import RefusedSettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stack.before_delete import Guards
    from stack.components.result_store import ResultStore
    from stack.components.send_events import SendEvents
    from stack.components.task_queue import TaskQueue
    from stack.model import Deployment, StackContext


def routes(deployments: Sequence[Deployment]) -> dict[str, dict[str, str]]:
    """Celery routes: the tasks of each pack to its queue.

    A pack that is deployed several times is routed to its first deployment; send with
    `queue=NAME` to reach another.
    """
    found: dict[str, dict[str, str]] = {}
    for deployment in deployments:
        for pattern in deployment.patterns:
            found.setdefault(pattern, {"queue": deployment.name})
    return found


def document(
    deployments: Sequence[Deployment],
    *,
    region: str,
    queue_urls: Mapping[str, pulumi.Input[str]],
    result_backend: pulumi.Input[str],
) -> pulumi.Output[dict[str, Any]]:
    """Celery settings of a producer, under Celery's own names."""
    return pulumi.Output.all(queue_urls, result_backend).apply(
        lambda known: {
            "broker_url": "sqs://",
            "broker_transport_options": {
                "region": region,
                "predefined_queues": {name: {"url": url} for name, url in known[0].items()},
                # JSON as it is: base64 twice over would take a message's size times 1.8.
                "sqs_base64_encoding": False,
                "body_encoding": "utf-8",
            },
            "task_routes": routes(deployments),
            "result_backend": known[1],
        }
    )


@dataclass(frozen=True, kw_only=True)
class ProducerArgs:
    """The content of the document, and what those who read it may use.

    Attributes:
        deployments: All of the stack.
        queues: Their task queues, by their names.
        results: The stack's.
        sends: Where events of senders are listened to; None where no deployment wants any.
        guards: Asked before the policy is deleted.
        context: Of the stack.
    """

    deployments: Sequence[Deployment]
    queues: Mapping[str, TaskQueue]
    results: ResultStore
    sends: SendEvents | None
    guards: Guards
    context: StackContext


class Producer(pulumi.ComponentResource):
    """The settings of an application that sends tasks, and its permissions.

    Consists of: an SSM parameter with the producer document, and a managed policy to attach
    to the application's own role. Each deployment has a narrower one.
    """

    document: pulumi.Output[dict[str, Any]]
    parameter: aws.ssm.Parameter
    policy_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: ProducerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:Producer", name, None, opts)
        self.document = document(
            args.deployments,
            region=args.context.region,
            queue_urls={deployment: queue.url for deployment, queue in args.queues.items()},
            result_backend=args.results.backend_url,
        )
        self.parameter = aws.ssm.Parameter(
            f"{name}-document",
            name=args.context.producer_parameter,
            description="Celery settings of applications that send tasks to this stack",
            type="String",
            # The cheaper tier for as long as the document fits it.
            tier="Intelligent-Tiering",
            value=self.document.apply(parameter_value),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._name, self._args = name, args

    def allow(self, records: Sequence[pulumi.Resource]) -> None:
        """Makes the policy, when all deployments are there.

        Args:
            records: Those of all deployments. The policy is deleted before them: while it is
                attached, no deployment goes.
        """
        args = self._args
        self.policy_arn = sending_policy(
            f"{self._name}-policy",
            "this stack",
            "*",
            [queue.arn for queue in args.queues.values()],
            args.results,
            sends=args.sends,
            guards=args.guards,
            context=args.context,
            opts=pulumi.ResourceOptions(parent=self, depends_on=records),
        ).arn
        self.register_outputs({"policy_arn": self.policy_arn})


def sending_policy(
    name: str,
    receiver: str,
    deployments: str,
    queue_arns: Sequence[pulumi.Input[str]],
    results: ResultStore,
    *,
    sends: SendEvents | None,
    guards: Guards,
    context: StackContext,
    opts: pulumi.ResourceOptions,
) -> aws.iam.Policy:
    """Makes what an application attaches to its own role to send to some task queues.

    Args:
        name: The policy's logical name.
        receiver: Who receives the tasks, for the policy's description.
        deployments: The name of the deployment whose tasks may be cancelled; "*" for all.
        queue_arns: The task queues.
        results: Where the results are.
        sends: Where it may say that it has sent a task; None where nobody listens.
        guards: What has to be so before the policy is deleted.
        context: Of the stack.
        opts: The policy's own.
    """
    return aws.iam.Policy(
        name,
        description=f"Send tasks to {receiver} and read their results",
        policy=as_json(
            pulumi.Output.all(
                queue_arns, results.table_arn, sends.bus_arn if sends else None
            ).apply(
                lambda arns: policies.producer(
                    arns[0], arns[1], deployments=deployments, bus_arn=arns[2], context=context
                )
            )
        ),
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                hooks=pulumi.ResourceHookBinding(before_delete=[guards.policies])
            ),
        ),
    )


def parameter_value(document: dict[str, Any]) -> str:
    """The document as compact JSON.

    Raises:
        RefusedSettingsError: It is larger than an SSM parameter may be.
    """
    text = json.dumps(document, separators=(",", ":"))
    if len(text) > limits.PARAMETER_CHARACTERS_MAX:
        raise RefusedSettingsError(
            f"taskpacks:packs: the producer document has {len(text):_} characters and an SSM "
            f"parameter holds {limits.PARAMETER_CHARACTERS_MAX:_}; give the deployments shorter "
            "names, or spread them over several stacks."
        )
    return text
