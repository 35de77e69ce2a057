"""Limits for tests: those of a pack that says nothing, with a few changes."""

from dataclasses import replace

from stack.documents.launcher_settings import limits_of
from taskpacks import PackSpec


def limits_with(**changes):
    return replace(limits_of(PackSpec()), **changes)
