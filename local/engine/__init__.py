"""A Pulumi engine in this process: the real program, real boto3 calls, a cloud on this machine.

It stands behind pulumi's own Python runtime, in the place of the CLI and its AWS provider.
"""

from local.engine.engine import Engine
from local.engine.errors import (
    CloudError,
    DuplicateUrnError,
    EngineError,
    HookError,
    ProgramError,
    ProjectError,
    ProtectedError,
    StateError,
    UnsupportedError,
)
from local.engine.project import load_for_reading
from local.engine.summary import Action, Change, Summary

__all__ = [
    "Action",
    "Change",
    "CloudError",
    "DuplicateUrnError",
    "Engine",
    "EngineError",
    "HookError",
    "ProgramError",
    "ProjectError",
    "ProtectedError",
    "StateError",
    "Summary",
    "UnsupportedError",
    "load_for_reading",
]
