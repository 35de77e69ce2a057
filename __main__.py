"""The Pulumi program: from a stack's settings to queues, machines and alarms.

settings ─▶ Network, ResultStore, DataBucket, ImageRepository, Notices   once per stack
         ├▶ Doorman: looks where messages wait, wakes Controllers        once per stack
         ├▶ SendEvents ─▶ Doorman                                        if one has wake_on_send
         ├▶ Machines                                                     per deployment, or hardware
         ├▶ PackDeployment: its TaskQueue                                once per deployment
         ├▶ Producer                                                     once all queues are made
         ├▶ PackDeployment.serve                                         once per deployment
         │    TaskQueue ─▶ Controller (or ScalingAlarms) ─▶ WorkerFleet;  Watch ─▶ Notices
         └▶ Dashboard                                                    about all of them
"""

import gc

import pulumi
import pulumi_aws as aws

from stack import before_delete, settings
from stack.components import tags
from stack.components.dashboard import Dashboard
from stack.components.data_bucket import DataBucket
from stack.components.doorman import Doorman, DoormanArgs
from stack.components.image_repository import ImageRepository, ImageRepositoryArgs
from stack.components.machines import machines_of
from stack.components.network import GATEWAY_SERVICES, Network, NetworkArgs, interface_services
from stack.components.notices import Notices, NoticesArgs
from stack.components.pack_deployment import PackDeployment, PackDeploymentArgs
from stack.components.producer import Producer, ProducerArgs
from stack.components.result_store import ResultStore
from stack.components.send_events import SendEvents
from stack.documents import endpoint_policies
from stack.hardware import offerings
from stack.model import StackContext
from stack.preflight import enforcement

gc.disable()  # the program runs for seconds; garbage collection took a third of them

stack = settings.read(*settings.from_pulumi())
context = StackContext(
    project=pulumi.get_project(),
    stack=pulumi.get_stack(),
    region=aws.get_region().region,
    partition=aws.get_partition().partition,
    account_id=aws.get_caller_identity().account_id,
    kms_key=stack.kms_key,
)
offered = offerings.of_region(stack, context.region)  # instance types, which AWS is asked for
# What keeps messages, running workers and data from being deleted.
guards = before_delete.guards(context.region, stack)
pulumi.runtime.register_stack_transformation(guards.data)
pulumi.runtime.register_stack_transformation(tags.adding(tags.of_stack(context.stack, stack.owner)))

enforcement.refuse_what_aws_would()  # nothing below is sent before all of it was checked

specs = tuple(each.spec for each in stack.deployments)
services = interface_services(specs)
network = Network(
    "network",
    NetworkArgs(
        subnet_ids=stack.subnet_ids,
        security_group_ids=stack.security_group_ids,
        assign_public_ip=stack.assign_public_ip,
        egress=stack.egress,
        interface_services=services,
        endpoint_policies=endpoint_policies.policies(
            (*GATEWAY_SERVICES, *services), specs, context, only_way_out=stack.behind_endpoints
        ),
        context=context,
    ),
)
results = ResultStore("results", context=context)
data = DataBucket("data", context=context)
images = ImageRepository(
    "images",
    ImageRepositoryArgs(
        deployments=stack.deployments,
        tag=stack.image_tag,
        build=stack.build_images,
        context=context,
    ),
)
notices = Notices("notices", NoticesArgs(subscriptions=stack.notify, context=context))
doorman = Doorman(
    "doorman",
    DoormanArgs(
        modes={each.scaling.mode for each in specs}, topic_arn=notices.topic_arn, context=context
    ),
)
woken = any(each.scaling.wake_on_send for each in specs)
sends = SendEvents("sends", doorman=doorman) if woken else None
machines = machines_of(
    stack, offered=offered, network=network, images=images, guards=guards, context=context
)

deployments = {
    deployment.name: PackDeployment(
        deployment.name,
        PackDeploymentArgs(
            deployment=deployment,
            settings=stack,
            machines=machines[deployment.name],
            assign_public_ip=network.assign_public_ip,
            results=results,
            data=data,
            images=images,
            notices=notices,
            sends=sends,
            guards=guards,
            context=context,
        ),
    )
    for deployment in stack.deployments
}
producer = Producer(
    "producer",
    ProducerArgs(
        deployments=stack.deployments,
        queues={name: made.queue for name, made in deployments.items()},
        results=results,
        sends=sends,
        guards=guards,
        context=context,
    ),
)
for made in deployments.values():
    made.serve(deployments, producer.parameter)

rows = [made.dashboard_row for made in deployments.values()]
dashboard = Dashboard("dashboard", rows=rows, context=context)
shared = [network, results, data, images, notices, doorman, dashboard, producer.parameter]
shared += [sends] if sends else []
producer.allow([made.record(shared) for made in deployments.values()])

pulumi.export("images", images.url)
pulumi.export("notices", notices.topic_arn)
pulumi.export("deployments", {name: made.summary for name, made in deployments.items()})
pulumi.export("producer", producer.document)
pulumi.export("producer_parameter", producer.parameter.name)
pulumi.export("producer_policy", producer.policy_arn)
pulumi.export(
    "producer_policies", {name: made.producer_policy_arn for name, made in deployments.items()}
)
if sends:
    pulumi.export("sends_bus", sends.bus_name)
