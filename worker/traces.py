"""Carries a message's W3C trace context to its task, and on to what the task sends.

The headers are `traceparent` and `tracestate`: https://www.w3.org/TR/trace-context/. Where
`opentelemetry-api` is installed, the context is current while the task runs.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from taskpacks.errors import quoted

if TYPE_CHECKING:
    from collections.abc import Generator

logger = logging.getLogger(__name__)

PARENT: Final = "traceparent"
STATE: Final = "tracestate"
CHARACTERS_MAX: Final = 512
"""The length of each header. The least that a tracestate must be passed on with is as many:
https://www.w3.org/TR/trace-context/#tracestate-limits"""
_PARENT: Final = re.compile(
    r"(00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"|(?!00|ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?)"
)
"""A version that is to come may have more at its end:
https://www.w3.org/TR/trace-context/#versioning-of-traceparent"""


def headers_of(request: Any) -> dict[str, str]:
    """Returns the trace headers of a task's message; none of them where the first is malformed.

    Args:
        request: The task's, Celery's `Context`. What a sender wrote there may be anything.
    """
    parent, state = request.get(PARENT), request.get(STATE)
    if not _is_short(parent) or not _PARENT.fullmatch(parent):
        return {}
    return {PARENT: parent, STATE: state} if _is_short(state) else {PARENT: parent}


def carried(request: Any) -> dict[str, str]:
    """Returns the trace headers of what is sent now: the current span's, else the message's.

    Args:
        request: Of the task that sends, or is reported; None for none.
    """
    found: dict[str, str] = {}
    if "opentelemetry.trace" in sys.modules and (propagator := _propagator()) is not None:
        propagator.inject(found)
    return found or (headers_of(request) if request is not None else {})


@contextmanager
def attached(request: Any) -> Generator[None]:
    """Makes a message's trace context the current one, unless a span is current already.

    An instrumentation of the pack's own has begun that one, from the same headers.
    """
    headers = headers_of(request)
    if not headers:
        if (said := request.get(PARENT)) is not None:
            logger.debug("%s is %s, and no W3C trace context: it is ignored", PARENT, quoted(said))
        yield
        return
    propagator = _propagator()
    if propagator is None:
        yield
        return
    from opentelemetry import context, trace  # noqa: PLC0415 -- it may not be there

    if trace.get_current_span().get_span_context().is_valid:
        yield
        return
    token = context.attach(propagator.extract(headers))
    try:
        yield
    finally:
        context.detach(token)


@lru_cache(maxsize=1)
def _propagator() -> Any:
    """OpenTelemetry's; None without it. Imported by the first task that has a trace."""
    try:
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 -- as above
            TraceContextTextMapPropagator,
        )
    except ImportError:
        return None
    except Exception as error:  # noqa: BLE001 -- an installation that is broken fails no task
        logger.warning("traces are not passed to tasks: %s: %s", type(error).__name__, error)
        return None
    return TraceContextTextMapPropagator()


def _is_short(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= CHARACTERS_MAX
