"""JSON documents: policies, patterns, state machines."""

from __future__ import annotations

import json
from typing import Any

import pulumi


def as_json(document: pulumi.Output[Any] | dict[str, Any]) -> pulumi.Output[str]:
    """A document as text.

    `pulumi.Output.json_dumps` makes an output of every value within, for the outputs that could
    be among them: a third of the program's time. Here a document is known as a whole, or not.

    Args:
        document: Plain data, or an output of plain data: no outputs inside.
    """
    if isinstance(document, pulumi.Output):
        return document.apply(json.dumps)
    return pulumi.Output.from_input(json.dumps(document))
