"""Ids for what follows a task: the signatures that its message embeds (callbacks, errbacks).

A task that runs again, because its worker was cut off before its message was deleted, sends what
follows again. Celery gives callbacks and errbacks a new id each time. Here their ids are made from
the task's, so that what was sent twice is one task, and its lock lets it run once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTS_HEADER: Final = "taskpacks"
"""The message's header with `TaskLock.facts`."""
_CANVAS: Final = ("celery.chain", "celery.group", "celery.chord")
"""Never sent themselves: their tasks are."""
_NAMESPACE: Final = UUID("6cbd4f5f-3d0e-4c19-9a54-3b8f0d9a7c51")


def tasks_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every task in what a message embeds, however deep, but for the canvas's own.

    What is none is passed over: Celery refuses it itself.
    """
    for each in _signatures(value, linked=True):
        if each["task"] not in _CANVAS:
            yield each


def name(request: Any) -> Any:
    """Gives ids to a task's callbacks and errbacks, where they have none.

    Those of callbacks are made from the task's id, since a task succeeds once; those of errbacks
    from its SQS message's, since a dead letter that was moved back may fail once more.

    Args:
        request: The task's request (`celery.app.task.Context`), whose signatures are changed.

    Returns:
        The request.
    """
    facts = request.get(FACTS_HEADER)
    if facts:
        seeds = {"callbacks": request.id, "errbacks": facts["message_id"]}
        for kind, seed in seeds.items():
            for index, each in enumerate(_signatures(request.get(kind), linked=False)):
                if isinstance(each["options"], dict):
                    each["options"].setdefault(
                        "task_id", str(uuid5(_NAMESPACE, f"{kind}/{index}/{seed}"))
                    )
    return request


def _signatures(value: Any, *, linked: bool) -> Iterator[dict[str, Any]]:
    """Signatures and the parts of those of the canvas; arguments of other tasks are data.

    Args:
        value: What Celery embeds.
        linked: Also what is to follow these.
    """
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list | tuple):
            waiting.extend(each)
        elif isinstance(each, dict):
            if isinstance(each.get("task"), str) and "options" in each:
                yield each
                if linked:
                    waiting.append(each["options"])
                if each["task"] in _CANVAS:
                    waiting.append(each.get("kwargs"))
            else:
                waiting.extend(each.values())
