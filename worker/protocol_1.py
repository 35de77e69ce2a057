"""Rewrites a message of Celery's protocol 1 (the setting `task_protocol`) as one of protocol 2.

Protocol 1 has in the body what protocol 2 has in the headers:
https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADERS: Final = ("task", "id", "eta", "expires", "retries", "timelimit", "group_index")
_EMBEDDED: Final = ("callbacks", "errbacks", "chord")


def rewritten(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Returns headers and a body of protocol 2, neither of them checked.

    Args:
        body: Of protocol 1; whatever it has more is left out.
    """
    headers = {name: body[name] for name in _HEADERS if body.get(name) is not None}
    group = body.get("group", body.get("taskset"))
    embedded = {**{name: body.get(name) for name in _EMBEDDED}, "chain": None}
    return (
        {"lang": "py", "root_id": body.get("id"), "group": group, **headers},
        [body.get("args", []), body.get("kwargs", {}), embedded],
    )
