"""Sends a task that died here to a deployment with more of what it died of.

The task stays the same one: its id, its arguments, its group, what follows it and its tenant go
with it, and so does the number of its failed attempts, for those who read about it. The other
deployment counts its own, from none: what was too large for this one may not be for that.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from worker.routes import DEPLOYMENT_OPTION, on_behalf_of

if TYPE_CHECKING:
    from taskpacks.types import Death

logger = logging.getLogger(__name__)

ATTEMPTS_BEFORE_HEADER: Final = "taskpacks_attempts_before"
"""The message's header with the attempts that failed in other deployments."""


def attempts_before(request: Any) -> int:
    """Attempts of a task that failed in the deployments that it was sent on from.

    Args:
        request: The task's, as Celery has it. What a sender wrote there may be anything.
    """
    said = request.get(ATTEMPTS_BEFORE_HEADER)
    return said if isinstance(said, int) and said > 0 else 0


@dataclass(frozen=True)
class Escalation:
    """Where tasks go that died here.

    Attributes:
        to: The other deployment; None leaves them to the dead-letter queue.
        on: What they must have died of.
    """

    to: str | None
    on: frozenset[str]

    def takes(self, death: Death | None) -> bool:
        """Says whether a task whose last attempt died of that is sent there; None is no death."""
        return self.to is not None and death in self.on

    def escalate(self, task: Any, request: Any, attempts: int) -> None:
        """Sends a task there, and stores nothing.

        Args:
            task: The task.
            request: Its request, as Celery has it: Celery's `Context`.
            attempts: Its failed attempts in this deployment.
        """
        before = attempts_before(request)
        hard, soft = request.timelimit or (None, None)
        most = getattr(task, "time_limit_max", None)
        signature = task.signature_from_request(
            request,
            request.args,
            request.kwargs,
            # This deployment's limit is not that one's; a shorter one is the sender's word.
            time_limit=None if most and hard and hard >= most else hard,
            soft_time_limit=soft,
            **{DEPLOYMENT_OPTION: self.to},
        )
        headers = dict(signature.options.get("headers") or {})
        headers[ATTEMPTS_BEFORE_HEADER] = before + attempts
        with on_behalf_of(request):
            signature.apply_async(headers=headers, add_to_parent=False)
        logger.warning(
            "task %s[%s] is sent on to %s after %d attempts here",
            task.name,
            request.id,
            self.to,
            attempts,
        )
