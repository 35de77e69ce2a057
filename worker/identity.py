"""The names of this worker and of its log, which results have beside the task's.

AWS Batch sets the job's id (of a child of an array: with its index), and ECS names the log stream:
https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-examples.html
"""

from __future__ import annotations

import json
import logging
import socket
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from worker.task_output import ATTEMPT_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

JOB_ID: Final = "AWS_BATCH_JOB_ID"
METADATA_URI: Final = "ECS_CONTAINER_METADATA_URI_V4"
_ANSWER_SECONDS: Final = 2
_ANSWER_BYTES: Final = 2**18


@dataclass(frozen=True)
class Identity:
    """The names of a worker.

    Attributes:
        worker: The id of its job; of its machine, where it is none of AWS Batch's.
        log_stream: In CloudWatch Logs; None where ECS does not say.
    """

    worker: str
    log_stream: str | None

    def of(self, request: Any) -> dict[str, Any]:
        """Returns what a result says of the run that it is from: only what is known.

        Args:
            request: The task's, Celery's `Context`; None where Celery has none.
        """
        attempt = request.get(ATTEMPT_HEADER) if request else None
        said = {
            "worker": self.worker,
            "log_stream": self.log_stream,
            "task": request.get("task") if request else None,
            "attempt": attempt if isinstance(attempt, int) else None,
        }
        return {name: value for name, value in said.items() if value is not None}


def identify(environment: Mapping[str, str]) -> Identity:
    """Finds the names out.

    Args:
        environment: The worker's, as AWS Batch and ECS set it.
    """
    uri = environment.get(METADATA_URI)
    return Identity(
        worker=environment.get(JOB_ID) or socket.gethostname(),
        log_stream=_log_stream(uri) if uri else None,
    )


def _log_stream(uri: str) -> str | None:
    """Asks ECS, once; a log that is not in CloudWatch has no stream."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on the machine
    try:
        with opener.open(uri, timeout=_ANSWER_SECONDS) as answer:
            said: Any = json.loads(answer.read(_ANSWER_BYTES))
        stream = said["LogOptions"]["awslogs-stream"] if said["LogDriver"] == "awslogs" else None
    except Exception as error:  # noqa: BLE001 -- whatever comes, a worker does without the name
        logger.warning(
            "results will not name the log stream: ECS's metadata cannot be read: %s: %.200s",
            type(error).__name__,
            error,
        )
        return None
    return stream if isinstance(stream, str) else None
