"""checkov reads the stacks as CloudFormation: `make scan`, which makes the environment for it.

Every finding is fixed, or stands with its reason in the table of docs/security.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from local.engine import load_for_reading
from stack.preflight import synthesis
from stack.preflight.rules.findings import AUTOMATIC_END
from tests.stack.synthesized import as_cloudformation, configs
from tests.stack.synthesized.recording import ROOT, Recorded, Registration, changed

# The first test waits until checkov has read every template.
pytestmark = pytest.mark.timeout(600)

PAGE = ROOT / "docs" / "security.md"
CHECKOV = Path(os.environ.get("CHECKOV", ROOT / "build" / "checkov")).absolute()
"""The environment that checkov is installed in."""
RUN_OFFLINE = (CHECKOV / "bin" / "python", ROOT / "tests" / "stack" / "offline.py")

ALL = "all"
NARROWER = {
    "without `kms_key`": lambda config: not config.get("taskpacks:kms_key"),
    "with `build_images`": lambda config: config.get("taskpacks:build_images") == "true",
}
"""The stacks that a reason may be limited to, and whether a stack is one by its settings."""
ROW = re.compile(
    rf"^\| (CKV\w+) \| `(AWS::\S+)` \| ({'|'.join((ALL, *NARROWER))}) \| \S", re.MULTILINE
)


@dataclass(frozen=True)
class Finding:
    """A resource that does not pass a check, and which of `NARROWER` its stack is."""

    check: str
    title: str
    kind: str
    resource: str
    stack: str
    among: frozenset[str]


# The decision.


def disagreements(findings, page):
    """Findings without a reason on the page, and reasons that no finding needs."""
    found = defaultdict(list)
    for each in findings:
        found[each.check, each.kind].append(each)
    reasons = {(check, kind): stacks for check, kind, stacks in ROW.findall(page)}
    for pair in sorted(found.keys() | reasons.keys()):
        name, cases, reason = " ".join(pair), found[pair], reasons.get(pair)
        if not cases:
            yield f"{name}: no stack has this finding; delete its row"
            continue
        possible = sorted(frozenset.intersection(*(each.among for each in cases)) or {ALL})
        stacks = " or ".join(possible)
        if reason is None:
            where = ", ".join(sorted(f"{each.stack} {each.resource}" for each in cases)[:3])
            yield f"{name} ({cases[0].title}; {where}): fix it, or give a reason ({stacks})"
        elif reason not in possible:
            yield f"{name}: its row says '{reason}', and the stacks are: {stacks}"


QUEUE = "AWS::SQS::Queue"
WITHOUT_KEY, BUILDING = NARROWER
WITH_REASON = f"| CKV_AWS_27 | `{QUEUE}` | {WITHOUT_KEY} | SQS's own key |"


def case(*among):
    return Finding("CKV_AWS_27", "Is encrypted", QUEUE, "Tasks", "dev", frozenset(among))


def test_a_finding_needs_a_reason_and_a_reason_a_finding():
    found = [case(WITHOUT_KEY), case(WITHOUT_KEY, BUILDING)]
    assert list(disagreements(found, WITH_REASON)) == []
    (without,) = disagreements(found, "")
    assert "fix it, or give a reason (without `kms_key`)" in without
    (unneeded,) = disagreements([], WITH_REASON)
    assert "delete its row" in unneeded


def test_a_reason_for_stacks_without_a_key_excuses_no_stack_with_one():
    (wrong,) = disagreements([case(WITHOUT_KEY), case(BUILDING)], WITH_REASON)
    assert "its row says 'without `kms_key`', and the stacks are: all" in wrong


def test_a_reason_for_all_stacks_is_no_wider_than_its_findings():
    page = WITH_REASON.replace(WITHOUT_KEY, ALL)
    assert list(disagreements([case()], page)) == []
    (wrong,) = disagreements([case(WITHOUT_KEY, BUILDING)], page)
    assert "the stacks are: with `build_images` or without `kms_key`" in wrong


# The stacks.

SHIPPED = ("dev", "production")
EGRESS = ("endpoints", "nat", "public")


@dataclass(frozen=True)
class Stack:
    """A stack that checkov reads, and which of `NARROWER` it is."""

    recorded: Recorded
    among: frozenset[str]


def synthesized(stack_file, **settings):
    """A stack as the program registers it, with the names that Pulumi would give."""
    project = load_for_reading(ROOT, stack_file)
    config = project.config | {f"taskpacks:{key}": value for key, value in settings.items()}
    registrations = []
    for each in synthesis.synthesize(
        project.program, config, project=project.name, stack=project.stack
    ):
        name = f"{each.name}{AUTOMATIC_END}"
        inputs = {"name": name, "bucket": name, **each.inputs}
        registrations.append(Registration(each.type, each.name, inputs, {}))
    recorded = Recorded(config["aws:region"], registrations)
    return Stack(recorded, frozenset(words for words, is_one in NARROWER.items() if is_one(config)))


@pytest.fixture(scope="session")
def stacks(tmp_path_factory):
    """By name: dev and production with each egress, and the configurations of the tests."""
    folder = tmp_path_factory.mktemp("stacks")

    found = {
        f"{name} with {egress}": synthesized(ROOT / f"Pulumi.{name}.yaml", egress=egress)
        for name in SHIPPED
        for egress in EGRESS
    }
    for index, (name, config) in enumerate(configs.CONFIGS.items()):
        file = folder / f"Pulumi.test{index}.yaml"
        file.write_text(yaml.safe_dump({"config": config}))
        found[name] = synthesized(file)
    return found


# The scan.


def statement(effect="Allow", **parts):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": effect, **parts}]})


ANYBODY = statement(Principal={"AWS": "*"}, Action="sts:AssumeRole")
EVERYTHING = statement(Action="*", Resource="*")
PLANTED = {
    "a queue that the stack's key does not encrypt": (
        "aws:sqs/queue:Queue", {"kmsMasterKeyId": None}, "CKV_AWS_27"
    ),
    "a topic without encryption": (
        "aws:sns/topic:Topic", {"kmsMasterKeyId": None}, "CKV_AWS_26"
    ),
    "a log group that the stack's key does not encrypt": (
        "aws:cloudwatch/logGroup:LogGroup", {"kmsKeyId": None}, "CKV_AWS_158"
    ),
    "a bucket with public lists": (
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        {"blockPublicAcls": False},
        "CKV_AWS_53",
    ),
    "tags of images that move": (
        "aws:ecr/repository:Repository", {"imageTagMutability": "MUTABLE"}, "CKV_AWS_51"
    ),
    "a role that anybody takes": (
        "aws:iam/role:Role", {"assumeRolePolicy": ANYBODY}, "CKV_AWS_60"
    ),
    "a role that may do everything": (
        "aws:iam/rolePolicy:RolePolicy", {"policy": EVERYTHING}, "CKV_AWS_111"
    ),
}  # fmt: skip
SOUND, DEFECTIVE = "production with endpoints", "the same with every defect"


@pytest.fixture(scope="session")
def findings(stacks, tmp_path_factory):
    """Runs checkov over each stack and one with the planted defects: its findings by stack."""
    folder = tmp_path_factory.mktemp("templates")
    defective = stacks[SOUND].recorded
    for kind, changes, _ in PLANTED.values():
        defective = changed(defective, kind, **changes)
    stacks = {**stacks, DEFECTIVE: Stack(defective, stacks[SOUND].among)}
    names = {f"{index}.json": name for index, name in enumerate(stacks)}
    for file, name in names.items():
        template = as_cloudformation.template(stacks[name].recorded)
        (folder / file).write_text(json.dumps(template))
    found = {name: set() for name in stacks}
    for check in failed_checks(folder):
        name = names[Path(check["file_path"]).name]
        kind, _, resource = check["resource"].partition(".")
        found[name].add(
            Finding(
                check["check_id"], check["check_name"], kind, resource, name, stacks[name].among
            )
        )
    return found


def failed_checks(folder):
    """Runs checkov over a folder of templates, without a platform key and without a network."""
    arguments = ("--framework", "cloudformation", "--skip-download", "--quiet", "--compact")
    # Else it asks PyPI, as soon as it is imported, whether there is a newer checkov.
    settings = {"CKV_SKIP_PACKAGE_UPDATE_CHECK": "true"}
    ended = subprocess.run(
        [*RUN_OFFLINE, "checkov.main", "--directory", ".", *arguments, "--output", "json"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert ended.returncode in {0, 1}, ended.stderr  # 1: it has findings
    report = json.loads(ended.stdout)
    assert report["summary"]["parsing_errors"] == 0
    return report["results"]["failed_checks"]


def test_every_finding_has_a_reason_and_every_reason_a_finding(stacks, findings):
    of_stacks = [finding for name in stacks for finding in findings[name]]
    wrong = list(disagreements(of_stacks, PAGE.read_text("utf-8")))
    assert not wrong, "\n".join(["docs/security.md and checkov disagree:", *wrong])


@pytest.mark.parametrize("defect", PLANTED)
def test_a_planted_defect_is_found(defect, findings):
    *_, check = PLANTED[defect]
    assert check in {each.check for each in findings[DEFECTIVE]}
    assert check not in {each.check for each in findings[SOUND]}


def test_a_program_that_wants_the_network_is_ended(tmp_path):
    module = (
        "import contextlib, socket\nwith contextlib.suppress(Exception): socket.getaddrinfo('a', 1)"
    )
    (tmp_path / "caller.py").write_text(module)
    ended = subprocess.run(
        [*RUN_OFFLINE, "caller"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 69
    assert "caller.py wants the network: socket.getaddrinfo" in ended.stderr
