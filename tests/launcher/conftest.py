"""A launcher over clients that answer as a test says, and a clock that stands."""

import json
from datetime import UTC, datetime

import pytest

from launcher.handler import Handler
from tests.launcher.fakes import EXECUTION, MACHINE, NOW, SETTINGS, FakeAws


@pytest.fixture
def aws():
    return FakeAws()


@pytest.fixture
def ask(aws):
    """Asks the launcher as the state machine does."""
    return asking(aws, SETTINGS)


def asking(aws, settings):
    """Asks a launcher with these settings."""
    launcher = Handler(settings, aws, now=lambda: aws.now)

    def ask(state=None, **more):
        event = {
            "execution": EXECUTION,
            "started_at": datetime.fromtimestamp(NOW, UTC).isoformat(),
            "state_machine": MACHINE,
            "state": state,
            **more,
        }
        return json.loads(json.dumps(launcher.answer(json.loads(json.dumps(event)))))

    return ask
