"""What an application must know to send tasks: the stack's output `producer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stack.settings import Deployment


def routes(deployments: Sequence[Deployment]) -> dict[str, dict[str, str]]:
    """Celery routes: the tasks of each pack to its queue.

    A pack that is deployed several times is routed to its first deployment; send with
    `queue=NAME` to reach another.
    """
    found: dict[str, dict[str, str]] = {}
    for deployment in deployments:
        for pattern in deployment.spec.tasks or (f"{deployment.pack.name}.*",):
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
