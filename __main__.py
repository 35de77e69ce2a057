"""The Pulumi program: from a stack's settings to queues, machines and alarms.

settings ─▶ Network, ResultStore, ImageRepository       once per stack
         └▶ PackDeployment                              once per selected pack
              TaskQueue ─▶ ScalingAlarms ─▶ WorkerFleet
"""

import pulumi
import pulumi_aws as aws

from stack import producer, settings
from stack.deployment import PackDeployment, PackDeploymentArgs
from stack.images import ImageRepository
from stack.network import Network, NetworkArgs
from stack.results import ResultStore

config = pulumi.Config(settings.NAMESPACE)
stack = settings.parse(settings.from_config(config))
region = aws.get_region().region
partition = aws.get_partition().partition

network = Network(
    "network",
    NetworkArgs(subnet_ids=stack.subnet_ids, security_group_ids=stack.security_group_ids),
)
results = ResultStore("results", region=region)
images = ImageRepository("images")

deployments = {
    deployment.name: PackDeployment(
        deployment.name,
        PackDeploymentArgs(
            deployment=deployment,
            settings=stack,
            network=network,
            results=results,
            images=images,
            region=region,
            partition=partition,
        ),
    )
    for deployment in stack.deployments
}

pulumi.export("images", images.url)
pulumi.export(
    "deployments",
    {
        name: {
            "pack": made.pack,
            "queue_url": made.queue.url,
            "queue_name": made.queue.name,
            "dead_letter_url": made.queue.dead_letter_url,
            "job_queue": made.fleet.job_queue_arn,
            "job_definition": made.fleet.job_definition_arn,
        }
        for name, made in deployments.items()
    },
)
pulumi.export(
    "producer",
    producer.document(
        stack.deployments,
        region=region,
        queue_urls={name: made.queue.url for name, made in deployments.items()},
        result_backend=results.backend_url,
    ),
)
