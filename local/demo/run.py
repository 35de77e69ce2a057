"""The demo from beginning to end: cloud, `up`, tasks, workers, checks, figures."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from celery import Celery, Signature
from kombu.exceptions import KombuError

from local.cloud import LocalCloud
from local.demo.display import Display, counted
from local.demo.logs import WorkerLogs
from local.demo.progress import Progress, Task
from local.engine import Engine
from taskpacks import DemoContext, TaskpacksError, manager

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from celery.result import AsyncResult
    from rich.console import Console

WORKERS_AT_ONCE: Final = 8
"""More than the CPUs of a small machine: workers mostly wait, and arrays should be seen at work."""
LOOK_SECONDS: Final = 0.5
"""Between two looks at the cloud."""
RESULT_SECONDS: Final = 10
"""How long the result of a finished task may take to be read."""
WITH_FILES: Final = MappingProxyType({"taskpacks:uri_schemes": ["s3", "file"]})
"""Not in the stack's own file, which could be deployed to AWS, where `file` is refused."""


class DemoFailedError(TaskpacksError):
    """The demo ran, and something in it was not right."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """How to run the demo.

    Attributes:
        project_folder: Where Pulumi.yaml lies.
        stack: Its stack, as in Pulumi.STACK.yaml.
        output_folder: Where each run makes a folder of its own.
        pace: Cloud seconds that pass in a second.
        time_limit_seconds: After which the demo gives up.
    """

    project_folder: Path
    stack: str
    output_folder: Path
    pace: float
    time_limit_seconds: float


@dataclass(frozen=True)
class Sample:
    """A sample task that was sent, and what is needed to check its result."""

    pack: manager.Pack
    context: DemoContext
    signature: Signature
    result: AsyncResult[Any]


def run(options: DemoOptions, console: Console) -> None:
    """Runs the demo.

    Raises:
        DemoFailedError: A task failed, a result is wrong, or time ran out.
        TaskpacksError: The stack or a pack is refused.
    """
    display = Display(console)
    folder = options.output_folder.resolve() / datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    display.say(f"starting a cloud on this machine, {options.pace:g} times faster than real")
    try:
        with LocalCloud(
            folder / "cloud",
            pace=options.pace,
            program_folder=options.project_folder,
            max_running_jobs=WORKERS_AT_ONCE,
        ) as cloud:
            _tell_the_story(options, cloud, folder, display)
    except (BotoCoreError, ClientError, KombuError) as error:
        raise DemoFailedError(
            f"the cloud on this machine did not answer as it should: {error}. Run the demo "
            "again; if it stays so, `make test` shows which part is broken."
        ) from error


def _tell_the_story(
    options: DemoOptions, cloud: LocalCloud, folder: Path, display: Display
) -> None:
    outputs = _deploy(options, cloud, folder, display)
    progress = Progress(outputs["deployments"])
    cloud.subscribe(progress.on_event)
    cloud.subscribe(display.on_event)
    cloud.subscribe(WorkerLogs(folder / "logs").on_event)
    try:
        samples = _send(outputs, folder, progress, display)
        _watch(options, cloud, progress, display)
        display.story(progress)
        display.say("the packs check their results, independently of the code that made them")
        _check(samples, progress, display)
    finally:
        display.say(f"the outputs are in {folder}, the workers' logs in logs/")


def _deploy(
    options: DemoOptions, cloud: LocalCloud, folder: Path, display: Display
) -> dict[str, Any]:
    display.say(f"deploying Pulumi.{options.stack}.yaml")
    engine = Engine(
        options.project_folder,
        options.stack,
        endpoint_url=cloud.endpoint_url,
        state_file=folder / "cloud" / "state.json",
        config=WITH_FILES,
    )
    summary = engine.up()
    counts = ", ".join(f"{count} {action}" for action, count in summary.counts.items())
    display.say(f"deployed: {counts} resources")
    return engine.outputs()


def _send(
    outputs: Mapping[str, Any], folder: Path, progress: Progress, display: Display
) -> list[Sample]:
    app = Celery("demo", set_as_current=False)
    app.conf.update(outputs["producer"], task_serializer="json", accept_content=["json"])
    samples: list[Sample] = []
    for name, facts in outputs["deployments"].items():
        pack = manager.load(facts["pack"])
        context = DemoContext(
            output=(folder / name).as_uri(),
            sends_to=frozenset(filter(None, facts.get("sends_to", "").split(","))),
        )
        signatures: Sequence[Signature] = pack.hooks.taskpack_demo(context=context) or ()
        for given in signatures:
            signature: Any = Signature.from_dict(given, app=app)
            result = signature.apply_async(queue=name)
            _note(signature, result, name, progress)
            samples.append(Sample(pack, context, given, result))
        display.say(f"sent to {name}: {counted(len(signatures), 'task')}")
    return samples


def _note(signature: Any, result: Any, deployment: str, progress: Progress) -> None:
    """Notes a task that was sent, or all tasks of a chain: the first goes to the deployment."""
    steps = list(signature.tasks) if signature.task == "celery.chain" else [signature]
    for step in reversed(steps):
        first = step is steps[0]
        place = (
            deployment if first else signature.app.amqp.router.route({}, step.task)["queue"].name
        )
        progress.sent(result.id, Task(name=step.task, deployment=place))
        result = result.parent


def _watch(options: DemoOptions, cloud: LocalCloud, progress: Progress, display: Display) -> None:
    """Waits until every task is reported and every worker has left.

    Raises:
        DemoFailedError: Time ran out.
    """
    sqs, cloudwatch = cloud.client("sqs"), cloud.client("cloudwatch")
    give_up_at = time.monotonic() + options.time_limit_seconds
    with display.live(progress) as refresh:
        while True:
            progress.observe(sqs, cloudwatch)
            refresh()
            if progress.unfinished() == 0 and _ended(progress):
                return
            if hopeless := _hopeless(progress):
                raise DemoFailedError(hopeless)
            if time.monotonic() > give_up_at:
                raise DemoFailedError(
                    f"the demo did not end in {options.time_limit_seconds:g} s: "
                    f"{what_lasts(progress)}; the log above says what happened. On a slow machine "
                    "give it longer: taskpacks demo --time-limit SECONDS."
                )
            time.sleep(LOOK_SECONDS)


def what_lasts(progress: Progress) -> str:
    """Says what the demo still waits for, and how many tasks failed meanwhile."""
    working = sum(made.working for made in progress.deployments.values())
    parts = (
        (progress.unfinished(), "task", "without a final report"),
        (len(progress.unsuccessful()), "task", "failed"),
        (working, "worker", "still there"),
    )
    return ", ".join(f"{counted(number, what)} {how}" for number, what, how in parts if number)


def _hopeless(progress: Progress) -> str | None:
    """Why waiting longer would be in vain; None when it would not."""
    for made in progress.deployments.values():
        if made.refused:
            return f"{made.name}: its worker cannot start; the log above says why."
        if made.decision and made.decision.halts and progress.unfinished():
            return f"{made.name}: the launcher halted: {made.decision.reason}"
        if made.dead and progress.unfinished() and progress.at_rest():
            return (
                f"{made.name}: {made.dead} messages went to the dead-letter queue without having "
                "been run; the log above says why."
            )
    return None


def _ended(progress: Progress) -> bool:
    # A failed attempt stays in its queue until its visibility ends: that is not waited for.
    return progress.workers_left() if progress.unsuccessful() else progress.at_rest()


def _check(samples: Sequence[Sample], progress: Progress, display: Display) -> None:
    """Has every pack check its own results.

    Raises:
        DemoFailedError: A task failed or a result is wrong.
    """
    right: dict[str, list[str]] = {name: [] for name in progress.deployments}
    wrong: list[str] = []
    for sample in samples:
        task = progress.tasks[sample.result.id]
        try:
            right[task.deployment].append(_finding(sample, task))
        except AssertionError as error:
            arguments = sample.signature.kwargs or sample.signature.args
            wrong.append(f"{task.deployment}: {task.name}({arguments}): {error}")
    display.findings(right, wrong)
    if wrong:
        raise DemoFailedError(f"{len(wrong)} of {len(samples)} tasks are not right; see above.")
    display.say(f"{counted(len(progress.tasks), 'task')} done")


def _finding(sample: Sample, task: Task) -> str:
    """Returns what the pack found to be right, or the result when the pack does not check it.

    Raises:
        AssertionError: The task failed, or its result is wrong.
    """
    if task.outcome != "done":
        error = sample.result.result
        raise AssertionError(f"{task.outcome}: {type(error).__name__}: {error}")
    value = sample.result.get(timeout=RESULT_SECONDS)
    sentence = sample.pack.hooks.taskpack_demo_check(
        context=sample.context, task=sample.signature, result=value
    )
    return f"checked: {sentence}" if sentence else f"not checked (no hook for it), gave {value!r}"
