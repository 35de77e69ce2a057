"""The engine's refusals, by condition. Every message names the value, the rule and the remedy."""

from taskpacks.errors import TaskpacksError


class EngineError(TaskpacksError):
    """The base of every error that the engine raises on purpose."""


class UnsupportedError(EngineError):
    """The program asks for something that only the real CLI and provider can do."""


class DuplicateUrnError(EngineError):
    """Two resources of one program have the same URN."""


class ProtectedError(EngineError):
    """A protected resource would have to be deleted or replaced."""


class CloudError(EngineError):
    """The cloud refused a call; the message holds the call, its subject and the cloud's words."""


class HookError(EngineError):
    """A hook of the program refused what was to be done, or could not be asked."""


class StateError(EngineError):
    """The state file is held by another process or cannot be read."""


class ProjectError(EngineError):
    """The project's YAML files cannot be used."""


class ProgramError(EngineError):
    """The program raised an error of its own, which is this error's cause."""
