"""Jobs that a person cancels or terminates, with the reasons that the docs' own commands give."""

import re
from dataclasses import replace

import pytest

from launcher.observe import Observer
from stack.before_delete import workers
from stack.documents.launcher_settings import launcher_settings
from taskpacks import PackSpec
from tests.launcher.fakes import DEFINITION, QUEUE, SETTINGS
from tests.stack.conftest import ROOT

DEPLOYED = launcher_settings(
    stack="prod",
    deployment="pi",
    pack="pi",
    spec=PackSpec(),
    queue_url=SETTINGS.queue_url,
    queue_name=SETTINGS.queue_name,
    job_queue_arn=QUEUE,
    job_definition_arn=DEFINITION,
)
REFUSAL = workers.refusal(
    "small", [workers.Job("job-1", "small-worker", "RUNNING")], 60, "eu-west-1"
)
COMMANDS = {
    "operations.md": (ROOT / "docs" / "operations.md").read_text(),
    "deploying.md": REFUSAL,
}


REASONS = [
    pytest.param(reason, id=f"{place}-{number}")
    for place, text in COMMANDS.items()
    for number, reason in enumerate(re.findall(r"-job [^`]*?--reason ['\"]?([^'\"`]+)", text))
]


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("exit_code", [137, None], ids=["while it ran", "before it ran"])
def test_a_job_that_the_docs_commands_end_has_not_failed(aws, reason, exit_code):
    container = {} if exit_code is None else {"container": {"exitCode": exit_code}}
    aws.job("ended", "FAILED", statusReason=reason, **container)
    observer = Observer(replace(DEPLOYED, limits=SETTINGS.limits), aws, now=lambda: aws.now)
    assert observer.observe(()).endings == ()


def test_every_command_that_ends_jobs_is_looked_at():
    assert len(REASONS) == 4
