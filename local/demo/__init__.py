"""`taskpacks demo`: the whole system on this machine, from `up` to the last worker's exit."""

from local.demo.run import DemoFailedError, DemoOptions, run

__all__ = ["DemoFailedError", "DemoOptions", "run"]
