"""A stack's life on both engines, step by step: what each of them did, beside the other.

`python -m tests.stack.lives [STACK …]` prints the two lists side by side.
"""

from __future__ import annotations

import copy
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pulumi import automation

from local.cloud import LocalCloud
from local.engine import EngineError
from tests.stack.engines import ROOT, LocalStack, RealStack, Stack
from tests.stack.inventory import inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STACKS = ("dev", "local", "production")
_REFUSAL = re.compile(r"holds \d+ visible|run.program")
_OWN = re.compile(r"-[0-9a-f]{6}(?=-|$)|(?<=Stack taskpacks-)\w+$")
"""The digests of machines, which the stack's name and tags go into; and that name."""
_WIDTH = 68


@dataclass(frozen=True)
class Change:
    """One entry of changes.yaml."""

    change: str
    stack: str
    settings: Mapping[str, Any]
    row: str | None = None
    in_order: Sequence[str] = ()
    besides: Sequence[str] | None = None


def changes(stack: str | None = None) -> list[Change]:
    """Reads the changes of a stack, or of all."""
    entries = yaml.safe_load((ROOT / "tests" / "stack" / "changes.yaml").read_text())
    found = [Change(**entry) for entry in entries]
    return [each for each in found if stack in {None, each.stack}]


def laid_over(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merges settings, mapping by mapping; null removes."""
    merged = dict(copy.deepcopy(base))
    for key, value in above.items():
        if isinstance(value, Mapping):
            merged[key] = laid_over(merged.get(key) or {}, value)
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


@dataclass(frozen=True)
class Step:
    """The operations of one command on both engines."""

    title: str
    real: list[str]
    local: list[str]
    leads_to: Change | None = None
    """Where this is what a change leads to."""

    def __str__(self) -> str:
        lines = [f"{self.title}: {len(self.real)} operations"]
        for left, right in zip_longest(self.real, self.local, fillvalue=""):
            lines.append(f"  {left:<{_WIDTH}} | {right}")
        return "\n".join(lines)


class Pair:
    """One stack's settings, deployed by both engines into one cloud, under two names."""

    def __init__(self, folder: Path, stack: str, cloud: LocalCloud) -> None:
        self.real = RealStack(folder / "real", "real", cloud.endpoint_url)
        self.local = LocalStack(folder / "local", "same", cloud.endpoint_url)
        self.client = self.real.client
        self.config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
        self.deployments = list(self.config["taskpacks:packs"])
        self.select({})

    def select(self, settings: Mapping[str, Any]) -> None:
        """Settings for both, laid over those of the stack."""
        ec2 = self.client("ec2")
        account = {
            "SUBNET": ec2.describe_subnets()["Subnets"][0]["SubnetId"],
            "GROUP": ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
        }
        own = {f"taskpacks:{key}": value for key, value in settings.items()}
        text = yaml.safe_dump(laid_over(self.config, own))
        for placeholder, actual in account.items():
            text = re.sub(rf"\b{placeholder}\b", actual, text)
        for each in (self.real, self.local):
            each.select(yaml.safe_load(text))

    def both(
        self, title: str, command: Callable[[Stack], list[str]], leads_to: Change | None = None
    ) -> Step:
        """Runs a command on one engine, then on the other."""
        real, local = (
            [_OWN.sub("-…", each) for each in command(stack)] for stack in (self.real, self.local)
        )
        return Step(title, real, local, leads_to)


def life(pair: Pair, stack: str) -> Iterator[Step]:
    """A stack is made, changed in every way and back, repaired, and ended."""
    before = inventory(pair.client)
    yield pair.both("preview", preview)
    yield pair.both("up", up)
    yield pair.both("up again", up)
    for change in changes(stack):
        pair.select(change.settings)
        yield pair.both(f"preview of {change.change}", preview)
        yield pair.both(change.change, up, change)
        pair.select({})
        yield pair.both(f"back from {change.change}", up)
    yield from _messages(pair)
    yield from _drift(pair)
    yield pair.both(
        "destroy without the program", refused(lambda it: it.destroy(run_program=False))
    )
    _emptied(pair)
    yield pair.both("destroy", destroy)
    left = sorted(kind for kind, _ in inventory(pair.client) - before)
    yield Step("what is left", left, left)


def interrupted_life(pair: Pair) -> Iterator[Step]:
    """The first `up` is interrupted, and repeated."""
    expected = pair.both("preview", preview)
    yield expected

    def broken_off_and_repeated(stack: Stack) -> list[str]:
        first = stack.up_interrupted(after=len(expected.real) // 3)
        assert 0 < len(first) < len(expected.real)
        return [*first, *stack.up()]

    yield pair.both("up, interrupted and repeated", broken_off_and_repeated)
    yield pair.both("up again", up)
    yield pair.both("refresh", refresh)
    yield pair.both("destroy", destroy)


def _messages(pair: Pair) -> Iterator[Step]:
    """A deployment is taken out while its task queue holds a message."""
    *_, name = pair.deployments
    sqs = pair.client("sqs")
    queues = [each.outputs()["deployments"][name]["queue_url"] for each in (pair.real, pair.local)]
    for url in queues:
        sqs.send_message(QueueUrl=url, MessageBody="work")
    pair.select({"packs": {name: None}})
    yield pair.both("a deployment less, whose queue holds a message", refused(up))
    pair.select({})
    yield pair.both("the deployment is put back", up)


def _emptied(pair: Pair) -> None:
    """Deletes all messages: a worker may have had the one above, and made it a dead letter."""
    for each in (pair.real, pair.local):
        for told in each.outputs()["deployments"].values():
            for url in (told["queue_url"], told["dead_letter_url"]):
                pair.client("sqs").purge_queue(QueueUrl=url)


def _drift(pair: Pair) -> Iterator[Step]:
    """One alarm is changed behind the stack, another deleted."""
    cloudwatch = pair.client("cloudwatch")
    settable = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape.members
    for stack in (pair.real, pair.local):
        changed, deleted = (_alarm_on_dead_letters(stack, each) for each in pair.deployments[:2])
        same = {key: value for key, value in changed.items() if key in settable}
        cloudwatch.put_metric_alarm(**{**same, "Threshold": 99})
        cloudwatch.delete_alarms(AlarmNames=[deleted["AlarmName"]])
    yield pair.both("up, which does not look for drift", up)
    yield pair.both("refresh", refresh)
    yield pair.both("up, which repairs", up)
    yield pair.both("refresh again", refresh)


def _alarm_on_dead_letters(stack: Stack, deployment: str) -> dict[str, Any]:
    queue = stack.outputs()["deployments"][deployment]["dead_letter_url"].rpartition("/")[2]
    found = stack.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{deployment}-dead")
    (alarm,) = [
        each
        for each in found["MetricAlarms"]
        if {"Name": "QueueName", "Value": queue} in each["Dimensions"]
    ]
    return alarm


def preview(stack: Stack) -> list[str]:
    return stack.preview()


def up(stack: Stack) -> list[str]:
    return stack.up()


def refresh(stack: Stack) -> list[str]:
    return stack.refresh()


def destroy(stack: Stack) -> list[str]:
    return stack.destroy()


def refused(command: Callable[[Stack], list[str]]) -> Callable[[Stack], list[str]]:
    """Runs what the engine must refuse; tells by what words."""

    def run(stack: Stack) -> list[str]:
        with pytest.raises((EngineError, automation.errors.CommandError)) as caught:
            command(stack)
        words = _REFUSAL.search(str(caught.value)).group()
        return [f"refused: {words.replace('_', '-')}"]

    return run


def main(stacks: Sequence[str]) -> None:
    """Prints the lives of stacks."""
    for stack in stacks:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with LocalCloud(folder / "cloud", program_folder=ROOT, pace=1) as cloud:
                for step in life(Pair(folder, stack, cloud), stack):
                    sys.stdout.write(f"{stack}, {step}\n\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:] or STACKS)
