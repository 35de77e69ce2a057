"""A plain Celery application on SQS, for `celery -A benchmarks.plain_app worker`.

Reads from its environment how it is set; see `benchmarks.contenders`.
"""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery
from kombu import Queue

from benchmarks.blocking_sqs import BlockingTransport
from benchmarks.probe_pack import SETTINGS, register


def _made(settings: dict[str, Any]) -> Celery[Any]:
    app = Celery("plain")
    app.conf.update(
        broker_url="sqs://",
        broker_transport_options={
            "region": settings["region"],
            "predefined_queues": {settings["queue"]: {"url": settings["url"]}},
            "sqs_base64_encoding": False,
            "body_encoding": "utf-8",
            **settings["options"],
        },
        task_queues=[Queue(settings["queue"])],
        task_default_queue=settings["queue"],
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        worker_enable_remote_control=False,  # needs a queue that is not predefined
        broker_connection_retry_on_startup=True,
        **settings["celery"],
    )
    if settings["blocking"]:
        app.conf.broker_transport = BlockingTransport
    register(app)
    return app


app = _made(json.loads(os.environ[SETTINGS]))
