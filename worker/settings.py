"""A worker's settings, read once from its environment and refused with a sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from taskpacks import limits
from taskpacks.contract import Variable
from taskpacks.errors import RefusedSettingsError, quoted
from worker.policies import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_SECONDS: Final = 3
"""How long a call of SQS may take to connect."""
ANSWER_SECONDS: Final = 5
"""How long SQS may be silent: longer than the long poll of a receive."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The settings that a worker needs to serve its task queue."""

    stack: str
    pack: str
    deployment: str
    queue_url: str
    routes: Mapping[str, tuple[str, ...]]
    """Name patterns of tasks by deployment, its own first; empty where the pack's are meant."""
    addresses: str | None
    """SSM parameter with the addresses of the other task queues; None: it sends to its own."""
    escalate_to: str | None
    """The deployment that gets what died here; None leaves it to the dead-letter queue."""
    escalate_on: frozenset[str]
    region: str
    result_backend: str | None
    store_arguments: bool
    vcpus: float
    memory_mib: int
    processes: int
    """How many tasks run at a time."""
    idle_seconds: float
    task_time_limit_seconds: float
    uri_schemes: frozenset[str]
    retry: RetryPolicy
    stop_grace_seconds: float
    spot_endpoint: str | None
    """Where to look for Spot notices; None does not look."""

    @property
    def client_settings(self) -> dict[str, Any]:
        """Returns botocore's settings of task queue clients, which retry and never hang."""
        return {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": ANSWER_SECONDS,
            "retries": {"mode": "standard", "total_max_attempts": 3},
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> WorkerSettings:
        """Reads and checks the variables of `taskpacks.contract.Variable`.

        Raises:
            RefusedSettingsError: Naming the variable, its value and what it should be.
        """
        return cls(
            stack=_text(environment, Variable.STACK),
            pack=_text(environment, Variable.PACK),
            deployment=_text(environment, Variable.DEPLOYMENT),
            queue_url=_text(environment, Variable.QUEUE_URL),
            routes=_routes(environment.get(Variable.ROUTES) or "{}"),
            addresses=environment.get(Variable.ADDRESSES) or None,
            escalate_to=environment.get(Variable.ESCALATE_TO) or None,
            escalate_on=frozenset((environment.get(Variable.ESCALATE_ON) or "").split(",")) - {""},
            region=_text(environment, Variable.REGION),
            result_backend=environment.get(Variable.RESULT_BACKEND) or None,
            store_arguments=environment.get(Variable.STORE_ARGUMENTS) == "true",
            vcpus=_number(environment, Variable.VCPUS, above=0),
            memory_mib=int(_number(environment, Variable.MEMORY_MIB, above=0)),
            processes=_processes(environment.get(Variable.PROCESSES) or "1"),
            idle_seconds=_number(environment, Variable.IDLE_SECONDS),
            task_time_limit_seconds=_number(environment, Variable.TASK_TIME_LIMIT_SECONDS, above=0),
            uri_schemes=frozenset(_text(environment, Variable.URI_SCHEMES).split(",")),
            retry=RetryPolicy(
                max_attempts=int(_number(environment, Variable.MAX_ATTEMPTS, above=0)),
                backoff_seconds=_number(environment, Variable.RETRY_BACKOFF_SECONDS),
                backoff_max_seconds=_number(environment, Variable.RETRY_BACKOFF_MAX_SECONDS),
            ),
            stop_grace_seconds=_number(environment, Variable.STOP_GRACE_SECONDS),
            spot_endpoint=environment.get(Variable.SPOT_ENDPOINT) or None,
        )


def _routes(text: str) -> dict[str, tuple[str, ...]]:
    try:
        return {name: tuple(patterns) for name, patterns in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise RefusedSettingsError(
            f"{Variable.ROUTES.value} is {quoted(text)}: it must be a JSON object with a list of "
            "name patterns for each deployment; correct the job definition."
        ) from error


def _processes(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= limits.PROCESSES_MAX):
        raise RefusedSettingsError(
            f"{Variable.PROCESSES.value} is {quoted(text)}: it must be a whole number from 1 to "
            f"{limits.PROCESSES_MAX}; correct the job definition."
        )
    return int(text)


def _text(environment: Mapping[str, str], variable: Variable) -> str:
    value = environment.get(variable, "")
    if not value:
        raise RefusedSettingsError(
            f"{variable.value} is not set: the job definition sets it; start the worker through "
            "AWS Batch, or set every variable of taskpacks/contract.py."
        )
    return value


def _number(
    environment: Mapping[str, str], variable: Variable, *, above: float | None = None
) -> float:
    text = _text(environment, variable)
    try:
        value = float(text)
    except ValueError as error:
        raise RefusedSettingsError(
            f"{variable.value} is {quoted(text)}: it must be a number; correct the job definition."
        ) from error
    least_is_wrong = value <= above if above is not None else value < 0
    if least_is_wrong or value != value:  # noqa: PLR0124 -- NaN is the value that differs from itself
        bound = f"above {above:g}" if above is not None else "0 or more"
        raise RefusedSettingsError(
            f"{variable.value} is {quoted(text)}: it must be {bound}; correct the job definition."
        )
    return value
