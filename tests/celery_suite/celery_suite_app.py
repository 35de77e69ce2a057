"""The application of Celery's own integration tests, as a team would bring it to a worker.

The tests' fixtures make theirs in the test's process; this is the same one for a worker in a
process of its own, be it a plain one or ours.
"""

import json
import os

from celery import Celery
from celery.contrib.testing import tasks as _ping  # noqa: F401 -- registers celery.ping
from t.integration.tasks import ClassBasedAutoRetryTask

SETTINGS = "CELERY_SUITE_SETTINGS"

app = Celery("celery.tests")
app.conf.update(json.loads(os.environ[SETTINGS]))
app.register_task(ClassBasedAutoRetryTask)
