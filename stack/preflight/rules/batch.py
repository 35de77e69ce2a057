"""AWS Batch: compute environments, job queues, job definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from taskpacks import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.preflight.rules.findings import Finding, Registration

# https://docs.aws.amazon.com/batch/latest/APIReference/API_CreateComputeEnvironment.html
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_-]*"
NAME_LENGTH: Final = 128

_ON_EC2: Final = ("EC2", "SPOT")
_ON_FARGATE: Final = ("FARGATE", "FARGATE_SPOT")
_FARGATE_SUBNETS_MAX: Final = 16
_ONLY_EC2: Final = (
    "allocationStrategy", "bidPercentage", "desiredVcpus", "ec2Configurations", "ec2KeyPair",
    "imageId", "instanceRole", "instanceTypes", "launchTemplate", "minVcpus", "placementGroup",
    "spotIamFleetRole",
)  # fmt: skip
_STRATEGIES: Final = {
    # BEST_FIT is AWS's default and cannot be updated in place.
    "EC2": ("BEST_FIT_PROGRESSIVE",),
    "SPOT": ("SPOT_PRICE_CAPACITY_OPTIMIZED", "SPOT_CAPACITY_OPTIMIZED", "BEST_FIT_PROGRESSIVE"),
}
_IMAGE_TYPES: Final = ("ECS_AL2023", "ECS_AL2023_NVIDIA", "ECS_AL2", "ECS_AL2_NVIDIA")


def compute_environment(environment: Registration) -> Iterator[Finding]:
    """https://docs.aws.amazon.com/batch/latest/APIReference/API_ComputeResource.html."""
    yield from environment.named("name", _NAME, NAME_LENGTH, "a compute environment's name")
    yield from environment.among("type", ("MANAGED",), "the only type that we use")
    where = "computeResources"
    kind = environment.known(f"{where}.type")
    yield from environment.among(f"{where}.type", (*_ON_EC2, *_ON_FARGATE), "the type of machines")
    yield from environment.within(f"{where}.maxVcpus", 1, 2**31 - 1, "a ceiling on vCPUs")
    for name in ("subnets", "securityGroupIds", "maxVcpus"):
        yield from environment.required(f"{where}.{name}", "machines need it")
    if kind in _ON_FARGATE:
        for name in _ONLY_EC2:
            yield from environment.absent(f"{where}.{name}", "Fargate does not take it")
        subnets = environment.known(f"{where}.subnets")
        if isinstance(subnets, list) and len(cast("list[Any]", subnets)) > _FARGATE_SUBNETS_MAX:
            yield environment.finding(
                f"{where}.subnets",
                subnets,
                f"Fargate takes at most {_FARGATE_SUBNETS_MAX} subnets",
                "name fewer",
            )
    elif kind in _ON_EC2:
        yield from _on_ec2(environment, str(kind))


def _on_ec2(environment: Registration, kind: str) -> Iterator[Finding]:
    where = "computeResources"
    for name, why in (
        ("instanceTypes", "EC2 asks for instance types"),
        ("instanceRole", "instances need a profile to join the cluster"),
        ("launchTemplate", "without ours, instances answer IMDSv1 and their volume is not ours"),
    ):
        yield from environment.required(f"{where}.{name}", why)
    yield from environment.required(
        f"{where}.allocationStrategy", "AWS's default BEST_FIT cannot be updated in place"
    )
    yield from environment.among(
        f"{where}.allocationStrategy", _STRATEGIES[kind], f"the allocation strategy of {kind}"
    )
    least = environment.known(f"{where}.minVcpus")
    if least:
        yield environment.finding(
            f"{where}.minVcpus", least, "machines that idle cost money at rest", "set it to 0"
        )
    images = environment.items(f"{where}.ec2Configurations")
    if environment.get(f"{where}.ec2Configurations") is None or any(
        item.get("imageType") not in _IMAGE_TYPES for item in images
    ):
        yield environment.finding(
            f"{where}.ec2Configurations",
            images,
            f"the machine image is named explicitly: {', '.join(_IMAGE_TYPES)}",
            "name one of them",
        )
    template = environment.known(f"{where}.launchTemplate")
    if isinstance(template, dict) and ("launchTemplateId" in template) == (
        "launchTemplateName" in template
    ):
        yield environment.finding(
            f"{where}.launchTemplate",
            cast("dict[str, Any]", template),
            "a launch template is named by its id or its name, and not by both",
            "give one of them",
        )


def job_queue(queue: Registration) -> Iterator[Finding]:
    """https://docs.aws.amazon.com/batch/latest/APIReference/API_CreateJobQueue.html."""
    yield from queue.named("name", _NAME, NAME_LENGTH, "a job queue's name")
    yield from queue.within("priority", 0, 1000, "a job queue's priority")
    yield from queue.among("state", ("ENABLED", "DISABLED"), "a job queue's state")
    environments = queue.items("computeEnvironmentOrders")
    most = limits.COMPUTE_ENVIRONMENTS_PER_JOB_QUEUE
    if not 1 <= len(environments) <= most and queue.known("computeEnvironmentOrders") is not None:
        yield queue.finding(
            "computeEnvironmentOrders",
            environments,
            f"a job queue has 1 to {most} compute environments",
            "name as many",
        )
    orders = [item.get("order") for item in environments]
    if len(set(orders)) != len(orders):
        yield queue.finding(
            "computeEnvironmentOrders", orders, "no two have the same order", "number them"
        )
    for action in queue.items("jobStateTimeLimitActions"):
        yield from _time_limit(queue, action)


def _time_limit(queue: Registration, action: dict[str, Any]) -> Iterator[Finding]:
    low, high = limits.STATE_TIME_LIMIT_SECONDS_MIN, limits.STATE_TIME_LIMIT_SECONDS_MAX
    right = (
        action.get("action") == "CANCEL"
        and action.get("state") == "RUNNABLE"
        and low <= action.get("maxTimeSeconds", 0) <= high
        and action.get("reason")
    )
    if not right:
        yield queue.finding(
            "jobStateTimeLimitActions",
            action,
            f"AWS takes CANCEL in state RUNNABLE with a reason, after {low:_} to {high:_} s",
            "correct it",
        )


def job_definition(definition: Registration) -> Iterator[Finding]:
    """https://docs.aws.amazon.com/batch/latest/APIReference/API_RegisterJobDefinition.html."""
    yield from definition.named("name", _NAME, NAME_LENGTH, "a job definition's name")
    yield from definition.within(
        "retryStrategy.attempts",
        limits.JOB_ATTEMPTS_MIN,
        limits.JOB_ATTEMPTS_MAX,
        "the number of attempts",
    )
    yield from definition.required(
        "timeout.attemptDurationSeconds", "a worker that hangs must be ended by somebody"
    )
    yield from definition.within(
        "timeout.attemptDurationSeconds",
        limits.JOB_TIMEOUT_SECONDS_MIN,
        2**31 - 1,
        "a job's time-out in seconds",
    )
    yield from _evaluate_on_exit(definition)
    yield from definition.json_object(
        "containerProperties", limits.JOB_DEFINITION_BYTES_MAX, "a job definition"
    )
    platforms = definition.known("platformCapabilities")
    container = definition.document("containerProperties")
    if container is not None and platforms == ["FARGATE"]:
        yield from _fargate(definition, container)


_CONDITIONS: Final = ("onExitCode", "onReason", "onStatusReason")


def _evaluate_on_exit(definition: Registration) -> Iterator[Finding]:
    where = "retryStrategy.evaluateOnExits"
    rules = definition.items(where)
    if len(rules) > limits.EVALUATE_ON_EXIT_MAX:
        yield definition.finding(
            where,
            f"{len(rules)} rules",
            f"AWS takes at most {limits.EVALUATE_ON_EXIT_MAX}",
            "drop some",
        )
    for rule in rules:
        action = str(rule.get("action")).upper()
        if action not in {"RETRY", "EXIT"} or not any(rule.get(name) for name in _CONDITIONS):
            yield definition.finding(
                where, rule, "a rule has an action (RETRY, EXIT) and a condition", "give both"
            )
    last = rules[-1] if rules else {}
    catches_all = any(last.get(name) == "*" for name in _CONDITIONS)
    unknown = definition.known(where) is None and definition.get(where) is not None
    if not unknown and not (str(last.get("action")).upper() == "EXIT" and catches_all):
        yield definition.finding(
            where,
            last or None,
            "AWS retries where no rule matches, whatever failed",
            'end with {action: EXIT, onReason: "*"}',
        )


def _fargate(definition: Registration, container: dict[str, Any]) -> Iterator[Finding]:
    where = "containerProperties"
    asked = {
        item.get("type"): item.get("value") for item in container.get("resourceRequirements", ())
    }
    if "GPU" in asked:
        yield definition.finding(
            f"{where}.resourceRequirements", asked, "Fargate has no GPUs", "run it on EC2"
        )
    sizes = limits.FARGATE_MEMORY_MIB_BY_VCPUS.get(float(asked.get("VCPU", 0)), ())
    if int(asked.get("MEMORY", 0)) not in sizes:
        yield definition.finding(
            f"{where}.resourceRequirements",
            asked,
            "Fargate offers certain pairs of vCPUs and memory",
            f"take memory of {', '.join(map(str, sizes)) or 'another number of vCPUs'}",
        )
    if not container.get("executionRoleArn"):
        yield definition.finding(
            f"{where}.executionRoleArn", None, "Fargate pulls the image under it", "give it"
        )
    if container.get("privileged"):
        yield definition.finding(
            f"{where}.privileged", True, "Fargate runs nothing privileged", "leave it out"
        )
    scratch_gib = container.get("ephemeralStorage", {}).get("sizeInGiB")
    low, high = limits.FARGATE_SCRATCH_GIB_MIN, limits.FARGATE_SCRATCH_GIB_MAX
    if scratch_gib is not None and not low <= scratch_gib <= high:
        yield definition.finding(
            f"{where}.ephemeralStorage",
            scratch_gib,
            f"Fargate offers {low} to {high} GiB",
            "choose a size in that range",
        )


RULES: Final = {
    "aws:batch/computeEnvironment:ComputeEnvironment": compute_environment,
    "aws:batch/jobDefinition:JobDefinition": job_definition,
    "aws:batch/jobQueue:JobQueue": job_queue,
}
