"""The declaration of a pack: records that validate themselves, with the unit in every name.

Defaults are written so that `PackSpec()` is deployable. A stack's YAML overlays any field
(`overlaid`). AWS's rules about one deployment are checked here, so that a refusal names
the field before any resource exists.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from taskpacks import limits, statements
from taskpacks.errors import RefusedDeclarationError, nearest

Architecture = Literal["x86_64", "arm64"]
Platform = Literal["fargate", "ec2"]
Purchase = Literal["on_demand", "spot", "spot_then_on_demand"]
ScalingMode = Literal["alarms", "controller"]
Cap = Literal["halt", "stop"]
Death = Literal["memory", "time_limit"]
"""A cause of a task's end: the memory of its worker, or the time limit."""

MIN_LEASE_SECONDS = 10
"""A heartbeat at a third of less than this could not be relied upon."""

RESERVED_PREFIXES = ("TASKPACKS_", "AWS_")
"""Prefixes of environment variables: the worker's own, and AWS's."""

_REMOVABLE = ("environment", "secrets")
"""Mappings of the pack's own keys: elsewhere null is no value, and a slip."""

_INSTANCE_TYPE = r"^[a-z][a-z0-9-]*(\.[a-z0-9-]+)?$"
_REFERENCE = r"^arn:[a-z-]+:(secretsmanager|ssm):.+"
_S3_PREFIX = r"^s3://[a-z0-9.-]{3,63}/[^*?]*$"

DEPLOYMENT_NAME = r"^[a-z][a-z0-9_-]{0,31}$"
_DeploymentName = Annotated[str, Field(pattern=DEPLOYMENT_NAME)]


class _Record(BaseModel):
    # Strict: a YAML "2" for a number is a mistake: it is refused, not converted.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Resources(_Record):
    """The hardware of one worker, and how much of it may run at once."""

    vcpus: float = Field(default=1, gt=0)
    memory_mib: int = Field(default=2048, ge=512)
    processes: int = Field(default=1, ge=1, le=limits.PROCESSES_MAX)
    """How many tasks a worker runs at a time, each in a process of its own: for tasks that use one
    thread. They share its vCPUs, memory and scratch space; at most four per vCPU."""
    gpus: int = Field(default=0, ge=0)
    architecture: Architecture = "x86_64"
    platform: Platform = "fargate"
    instance_types: tuple[Annotated[str, Field(pattern=_INSTANCE_TYPE)], ...] = ()
    """EC2 only: sizes ("c7i.4xlarge") or families ("c7i", its smallest size that holds a
    worker). Empty takes the smallest sizes that hold a worker from all current families."""
    purchase: Purchase = "on_demand"
    """`spot_then_on_demand` goes to on-demand capacity when Spot has none, or is full."""
    scratch_gib: int = Field(
        default=limits.FARGATE_SCRATCH_GIB_MIN, ge=1, le=limits.EBS_VOLUME_GIB_MAX
    )
    """The scratch space of each worker: Fargate's ephemeral storage, or its share of the
    instance's encrypted volume on EC2."""
    max_vcpus: int = Field(default=16, ge=1)
    """The vCPUs of all workers of a deployment together: the ceiling on what it can cost an hour.
    With purchase spot_then_on_demand each of the two has this ceiling."""

    @property
    def memory_mib_of_a_task(self) -> int:
        """Returns a task's share of the memory, when all processes are busy."""
        return self.memory_mib // self.processes

    @model_validator(mode="after")
    def _fits_its_platform(self) -> Self:
        if self.platform == "fargate":
            self._check_fargate()
        else:
            self._check_ec2()
        most = max(1, int(self.vcpus * limits.PROCESSES_PER_VCPU_MAX))
        if self.processes > most:
            raise ValueError(
                f"processes is {self.processes}: {self.vcpus:g} vCPUs hold at most {most}, "
                f"{limits.PROCESSES_PER_VCPU_MAX} for each, since tasks that share one take "
                "longer; take fewer processes, or more vcpus"
            )
        if self.max_vcpus < self.vcpus:
            raise ValueError(
                f"max_vcpus is {self.max_vcpus}: one worker alone needs {self.vcpus:g} vCPUs, "
                f"so none could start; raise max_vcpus to at least {self.vcpus:g}"
            )
        return self

    def _check_ec2(self) -> None:
        if self.vcpus != int(self.vcpus):
            raise ValueError(f"vcpus is {self.vcpus:g}: EC2 jobs take whole vCPUs; round up")
        if self.gpus and self.architecture == "arm64":
            raise ValueError(
                "gpus with architecture arm64: AWS Batch's NVIDIA machine image is for x86_64; "
                "set architecture: x86_64"
            )

    def _check_fargate(self) -> None:
        if self.gpus:
            raise ValueError(
                f"gpus is {self.gpus}: Fargate has no GPUs; set platform: ec2, or gpus: 0"
            )
        if self.instance_types:
            raise ValueError(
                f"instance_types is {list(self.instance_types)}: Fargate has no instances to "
                "choose; set platform: ec2, or leave instance_types out"
            )
        sizes = limits.FARGATE_MEMORY_MIB_BY_VCPUS.get(self.vcpus)
        if sizes is None:
            offered = ", ".join(f"{vcpus:g}" for vcpus in limits.FARGATE_MEMORY_MIB_BY_VCPUS)
            raise ValueError(
                f"vcpus is {self.vcpus:g}: Fargate offers {offered} vCPUs; "
                "take one of these, or set platform: ec2"
            )
        if self.memory_mib not in sizes:
            fitting = next((size for size in sizes if size >= self.memory_mib), sizes[-1])
            raise ValueError(
                f"memory_mib is {self.memory_mib}: with {self.vcpus:g} vCPUs Fargate offers "
                f"{sizes[0]} to {sizes[-1]} MiB in fixed steps; take {fitting}, "
                "or other vcpus"
            )
        low, high = limits.FARGATE_SCRATCH_GIB_MIN, limits.FARGATE_SCRATCH_GIB_MAX
        if not low <= self.scratch_gib <= high:
            raise ValueError(
                f"scratch_gib is {self.scratch_gib}: Fargate's ephemeral storage is {low} to "
                f"{high} GiB; take a size in that range, or set platform: ec2"
            )


class Scaling(_Record):
    """When workers start, how many, and how long an idle one lingers.

    Mode `alarms`: each alarm acts once, when it *enters* ALARM; depth is the number of visible
    messages. Mode `controller`: a state machine asks the launcher, again and again while there
    is work, how many workers to start. The comments below say which settings belong to which mode.
    """

    mode: ScalingMode = "controller"

    # Mode `alarms`.
    low_depth: int = Field(default=5, ge=1)
    low_workers: int = Field(default=1, ge=1, le=limits.ARRAY_SIZE_MAX)
    high_depth: int = Field(default=50, ge=2)
    high_workers: int = Field(default=10)
    """The size of the array job that high_depth starts."""

    # Both modes.
    start_within_seconds: int = Field(default=600, ge=60)
    """The longest that a message should wait for a worker: the SLA on age."""
    startup_seconds: int = Field(default=120, ge=0)
    """From SubmitJob to the worker's first receive, as a prior."""
    idle_seconds: int = Field(default=30, ge=0)
    """How long a worker that finds its task queue empty waits for more before it leaves."""
    worker_lifetime_seconds: int = Field(default=24 * 60 * 60, ge=limits.JOB_TIMEOUT_SECONDS_MIN)
    """Batch ends a worker that lives longer: the guard against a stuck one."""

    # Mode `controller`.
    max_workers: int = Field(default=100, ge=1)
    """Workers at once, whatever the backlog; resources.max_vcpus bounds them too."""
    drain_within_seconds: int = Field(default=3600, ge=60)
    """A backlog gets at least as many workers as finish it in this time."""
    task_seconds: float = Field(default=60, gt=0)
    """The time of a task, as a prior: from the first measured tasks on, their mean counts."""
    break_even: float = Field(default=1.5, gt=0)
    """How many times its own cost, start-up and idle end, a worker's share of the work should
    be worth: higher starts fewer workers for short tasks. The deadline comes first."""
    wake_on_send: bool = False
    """An application may put an event on the stack's bus when it has sent a task, and the launcher
    is asked at once."""
    round_seconds: int = Field(default=30, ge=1, le=600)
    """The pause between two decisions while there is work."""
    breaker_failures: int = Field(default=5, ge=1)
    """So many workers that failed in a row, without progress, stop the starting."""
    breaker_cooldown_seconds: int = Field(default=1800, ge=1)
    """How long after the last of these failures one worker is started to try again."""
    vcpu_hours_per_day: float = Field(default=200, gt=0)
    """The vCPU hours of all workers in any 24 hours; when they are used, no more are started."""
    cap: Cap = "halt"
    """With `halt` the workers that run go on then; `stop` ends them too, and their tasks wait."""

    @model_validator(mode="after")
    def _makes_sense_together(self) -> Self:
        if self.low_depth >= self.high_depth:
            raise ValueError(
                f"low_depth is {self.low_depth} and high_depth is {self.high_depth}: the low "
                "threshold must lie below the high one; lower low_depth or raise high_depth"
            )
        low, high = limits.ARRAY_SIZE_MIN, limits.ARRAY_SIZE_MAX
        if not low <= self.high_workers <= high:
            raise ValueError(
                f"high_workers is {self.high_workers}: it is the size of an array job, and AWS "
                f"Batch takes {low} to {high:_} children; choose a number in that range"
            )
        if self.cap == "stop" and self.mode == "alarms":
            raise ValueError(
                "cap is stop in mode alarms: nobody looks at what workers used there; leave cap "
                "out, or set mode to controller"
            )
        if self.wake_on_send and self.mode == "alarms":
            raise ValueError(
                "wake_on_send is True in mode alarms: an event wakes the state machine of mode "
                "controller; set mode: controller, or leave wake_on_send out"
            )
        least = self.startup_seconds + limits.METRIC_PERIOD_SECONDS
        if self.start_within_seconds < least:
            raise ValueError(
                f"start_within_seconds is {self.start_within_seconds}: a worker needs "
                f"{self.startup_seconds} s to start and the metric comes once in "
                f"{limits.METRIC_PERIOD_SECONDS} s; allow at least {least}"
            )
        if self.drain_within_seconds <= self.startup_seconds:
            raise ValueError(
                f"drain_within_seconds is {self.drain_within_seconds}: a worker needs "
                f"{self.startup_seconds} s to start (startup_seconds), so nothing could be done in "
                f"that time; allow more than {self.startup_seconds}"
            )
        return self


class Queue(_Record):
    """The task queue: how long a message is held, kept and tried again.

    A worker extends the visibility of the message of a running task for as long as it runs,
    so that the visibility time-out says how soon a message of a worker that vanished comes
    back, and not how long a task may take.
    """

    visibility_timeout_seconds: int = Field(default=90, ge=MIN_LEASE_SECONDS)
    max_attempts: int = Field(default=3, ge=1)
    """Attempts that end by the task's own doing: an exception, the time limit, a lost process."""
    max_receives: int = Field(default=10, ge=1, le=limits.MAX_RECEIVES_MAX)
    """Receives before SQS moves a message to the dead-letter queue: attempts, and workers that
    were taken away in the middle of one."""
    retry_backoff_seconds: float = Field(default=10, ge=0)
    """How long a task waits after its first failed attempt; it doubles each time."""
    retry_backoff_max_seconds: float = Field(default=600, ge=0, le=limits.VISIBILITY_SECONDS_MAX)
    retention_seconds: int = Field(
        default=4 * 24 * 60 * 60,
        ge=limits.MESSAGE_RETENTION_SECONDS_MIN,
        le=limits.MESSAGE_RETENTION_SECONDS_MAX,
    )
    task_time_limit_seconds: int = Field(default=900, ge=limits.JOB_TIMEOUT_SECONDS_MIN)
    """A task that runs longer is ended and counts as a failed attempt."""
    stop_grace_seconds: float = Field(default=20, ge=0)
    """How long a running task may go on after the worker was asked to leave."""
    escalate_to: _DeploymentName | None = None
    """Another deployment of the same pack, with more of what a task died of: it gets the task
    instead of the dead-letter queue."""
    escalate_on: tuple[Death, ...] = ("memory",)
    """The causes of its last attempt's end for which a task is sent there."""

    @model_validator(mode="after")
    def _stays_within_what_sqs_allows(self) -> Self:
        if self.visibility_timeout_seconds > limits.VISIBILITY_SECONDS_MAX:
            raise ValueError(
                f"visibility_timeout_seconds is {self.visibility_timeout_seconds}: SQS hides a "
                f"message for at most {limits.VISIBILITY_SECONDS_MAX} s (12 h); shorten it: "
                "workers extend it while a task runs"
            )
        if self.task_time_limit_seconds >= limits.VISIBILITY_SECONDS_MAX:
            raise ValueError(
                f"task_time_limit_seconds is {self.task_time_limit_seconds}: SQS hides a message "
                f"for at most {limits.VISIBILITY_SECONDS_MAX} s (12 h) in all; split tasks that "
                "run longer"
            )
        if self.max_receives < self.max_attempts:
            raise ValueError(
                f"max_receives is {self.max_receives} and max_attempts is {self.max_attempts}: "
                "every attempt takes a receive; raise max_receives"
            )
        return self


class Image(_Record):
    """The content of the pack's container image beyond the worker and requirements.txt."""

    apt: tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")], ...] = ()
    """Debian packages."""
    base: Annotated[str, Field(pattern=r"^[a-z0-9][\w.:/@-]+$")] | None = None
    """The image to build from: any image based on Debian with `python` (3.11 to 3.13) and pip.
    None is the Dockerfile's own. An image that the stack builds needs it with its digest, as
    NAME:TAG@sha256:DIGEST."""
    uri: Annotated[str, Field(pattern=r"^[a-z0-9][\w.:/@-]+$")] | None = None
    """An image that is there already, as REGISTRY/NAME:TAG; a deployment's override. It holds
    the worker and the pack; what else stands here is not built then."""


class Permissions(_Record):
    """The permissions of the pack's tasks in AWS, beyond their own queue, results and logs."""

    read: tuple[Annotated[str, Field(pattern=_S3_PREFIX)], ...] = ()
    """S3 prefixes, as s3://bucket/prefix, that tasks may read."""
    write: tuple[Annotated[str, Field(pattern=_S3_PREFIX)], ...] = ()
    """S3 prefixes that tasks may write."""
    statements: tuple[Mapping[str, Any], ...] = ()
    """Further IAM policy statements, as they stand in a policy document. They name their
    actions and resources (`taskpacks.statements`)."""
    allow_wildcard: bool = False
    """The statements may say "*" for a resource also where their actions take a narrower one."""

    @model_validator(mode="after")
    def _names_what_it_allows(self) -> Self:
        if refused := [
            f"statements[{index}]: {refusal}"
            for index, statement in enumerate(self.statements)
            for refusal in statements.refusals(statement, allow_wildcard=self.allow_wildcard)
        ]:
            raise ValueError("; ".join(refused))
        return self


class PackSpec(_Record):
    """All that a pack declares about what its tasks need."""

    resources: Resources = Resources()
    scaling: Scaling = Scaling()
    queue: Queue = Queue()
    image: Image = Image()
    permissions: Permissions = Permissions()
    environment: Mapping[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], str] = {}
    """Plain variables for the worker. Names starting with TASKPACKS_ and AWS_ are taken. AWS Batch
    drops a variable with an empty value: the worker does not have it."""
    secrets: Mapping[
        Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")],
        Annotated[str, Field(pattern=_REFERENCE)],
    ] = {}
    """Variable -> ARN in Secrets Manager or SSM: the value never passes through Pulumi."""
    app: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    """An existing Celery application, as "proj.celery:app", whose tasks the pack serves."""
    tasks: tuple[str, ...] = ()
    """Name patterns of the tasks that are routed to this pack; empty means "PACK.*"."""
    store_arguments: bool = False
    """Results have the arguments of their tasks beside them (Celery's `result_extended`), for all
    who may read these: docs/security.md."""
    sends_to: tuple[_DeploymentName, ...] = ()
    """Other deployments of the stack that the tasks may send tasks to: by `apply_async`, or as
    the next task of a chain, a chord's body, a callback."""

    @model_validator(mode="after")
    def _leaves_reserved_names_alone(self) -> Self:
        for name in (*self.environment, *self.secrets):
            if name.startswith(RESERVED_PREFIXES):
                raise ValueError(
                    f"environment variable {name}: the prefixes {' and '.join(RESERVED_PREFIXES)} "
                    "belong to the worker and to AWS; choose another name"
                )
        return self

    @model_validator(mode="after")
    def _gives_each_variable_one_source(self) -> Self:
        for name, arn in self.secrets.items():
            if name in self.environment:
                raise ValueError(
                    f"{name} is in environment and in secrets: a variable has one source; leave "
                    f"one out, or, if the pack declares it, remove it with `{name}: null`"
                )
            if any(sign in arn for sign in "*?"):
                raise ValueError(
                    f"secrets.{name} is {arn!r}: a variable holds one secret; write the whole ARN"
                )
        return self

    @model_validator(mode="after")
    def _outlives_its_tasks(self) -> Self:
        lifetime, limit = self.scaling.worker_lifetime_seconds, self.queue.task_time_limit_seconds
        if lifetime <= limit:
            raise ValueError(
                f"scaling.worker_lifetime_seconds is {lifetime} and "
                f"queue.task_time_limit_seconds is {limit}: every worker would be ended in "
                "mid-task; let workers live longer than a task may run"
            )
        return self

    @model_validator(mode="after")
    def _may_use_what_one_worker_needs(self) -> Self:
        scaling, vcpus = self.scaling, self.resources.vcpus
        least = vcpus * (scaling.startup_seconds + scaling.task_seconds) / 3600
        if scaling.vcpu_hours_per_day < least:
            raise ValueError(
                f"scaling.vcpu_hours_per_day is {scaling.vcpu_hours_per_day:g}: one worker of "
                f"{vcpus:g} vCPUs that starts and does one task uses {least:.2f} vCPU-hours; "
                "raise the cap"
            )
        return self

    def patterns(self, pack: str) -> tuple[str, ...]:
        """Returns the name patterns of the tasks that are routed to a deployment of a pack."""
        return self.tasks or (f"{pack}.*",)

    @classmethod
    def declared(cls, values: object, where: str) -> Self:
        """Validates plain data (a YAML mapping, say) as a spec.

        Args:
            values: Nested mappings and sequences.
            where: What the values belong to, for the message: "taskpacks:packs.pi".

        Raises:
            RefusedDeclarationError: With the path, the value, the rule and the remedy of
                every field that is refused, a line each.
        """
        try:
            return cls.model_validate(tupled(values))
        except ValidationError as error:
            raise RefusedDeclarationError(refusals(error, cls, where)) from error

    def overlaid(self, overrides: Mapping[str, Any], where: str) -> Self:
        """Returns this spec with nested overrides applied, validated again as a whole.

        In `environment` and `secrets` a None removes what this spec declares.

        Raises:
            RefusedDeclarationError: As `declared` does; or there is nothing to remove.
        """
        merged = _merged(self.model_dump(), overrides)
        for field in _REMOVABLE:
            merged[field] = _without_removed(
                merged[field], getattr(self, field), f"{where}.{field}"
            )
        return self.declared(merged, where)


def _merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _without_removed(merged: object, declared: Mapping[str, str], where: str) -> object:
    if not isinstance(merged, Mapping):
        return merged  # to be refused
    variables = cast("Mapping[str, object]", merged)
    for name, value in variables.items():
        if value is None and name not in declared:
            raise RefusedDeclarationError(
                f"{where}.{name} is null, which removes what the pack declares, and it declares "
                f"no such variable; leave it out.{nearest(name, declared)}"
            )
    return {name: value for name, value in variables.items() if value is not None}


def tupled(value: Any) -> Any:
    """YAML knows lists only; strict records hold tuples."""
    if isinstance(value, Mapping):
        return {key: tupled(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return tuple(tupled(below) for below in value)
    return value


_RULES = {
    "string_type": "it is a text; quote it",
    "bool_type": "it is true or false",
    "int_type": "it is a whole number",
    "int_from_float": "it is a whole number",
    "float_type": "it is a number",
    "tuple_type": "it is a list",
    "dict_type": "it is a mapping",
    "literal_error": "it is one of {expected}",
    "greater_than": "it is more than {gt:g}",
    "greater_than_equal": "it is at least {ge}",
    "less_than_equal": "it is at most {le}",
    "string_pattern_mismatch": "it has the form {pattern}",
    "string_too_short": "it is not empty; write it, or leave it out",
}
"""Pydantic's kinds of refusal, in our words; others keep its own."""


def refusals(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """Says in our words what pydantic refused, a line for each field."""
    return "\n".join(_refusal(each, model, where) for each in error.errors())


def _refusal(refusal: ErrorDetails, model: type[BaseModel], where: str) -> str:
    kind, given, context = refusal["type"], refusal["input"], refusal.get("ctx", {})
    below = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in refusal["loc"])
    path = f"{where}{below.removeprefix('.') if where.endswith(':') else below}"
    if kind == "extra_forbidden":
        *above, name = map(str, refusal["loc"])
        fields = _model_at(model, above).model_fields
        known = [field.alias or key for key, field in fields.items()]
        return f"{path}: there is no such setting.{nearest(name, known)}"
    if kind == "value_error":  # a rule on several fields, which names them and their values
        return f"{path}{'' if path.endswith(':') else ': '}{refusal['msg'].partition(', ')[2]}."
    rule = _RULES[kind].format_map(context) if kind in _RULES else refusal["msg"]
    hint = nearest(str(given), re.findall("'(.*?)'", rule)) if kind == "literal_error" else ""
    return f"{path} is {given!r}: {rule}.{hint if 'mean' in hint else ''}"


def _model_at(model: type[BaseModel], path: list[str]) -> type[BaseModel]:
    for name in path:
        below = model.model_fields[name].annotation
        if not (isinstance(below, type) and issubclass(below, BaseModel)):
            break
        model = below
    return model
