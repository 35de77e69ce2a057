"""Task packs and the contract between them, the stack and the worker.

Files here are the contract; folders are packs, and nothing but packs. What a pack needs is
exported here, and importing it takes milliseconds.
"""

from taskpacks.contract import DemoContext, InfrastructureContext, WorkerContext
from taskpacks.errors import BadInputError, TaskpacksError
from taskpacks.hookspecs import hookimpl
from taskpacks.types import Image, PackSpec, Permissions, Queue, Resources, Scaling

__all__ = [
    "BadInputError",
    "DemoContext",
    "Image",
    "InfrastructureContext",
    "PackSpec",
    "Permissions",
    "Queue",
    "Resources",
    "Scaling",
    "TaskpacksError",
    "WorkerContext",
    "hookimpl",
]
