"""Processes that must not outlive the one that started them.

Two ways to use it. A process that was forked calls `end_with(parent)`. A program that is
started is put behind `tied_to_this_process(…)`, because a process with threads may do little
between fork and exec, so that a `preexec_fn` would be no safe place. Standard library only.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
"""https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html"""


LOOK_SECONDS: Final = 0.5


def end_with(parent: int) -> None:
    """Has a thread kill this process soon after its parent has ended.

    A thread and not the kernel: to the kernel, the parent is the thread that forked, and a
    pool's processes are forked by threads that end before the process does. Code that holds
    the interpreter's lock delays it.

    Args:
        parent: Id of the process that forked this one.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-death", daemon=True).start()


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent ends. Elsewhere than on Linux: nothing.

    The parent is the thread that started this process: let it live as long as the process.

    Raises:
        OSError: The kernel refused.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def tied_to_this_process(program: str, *arguments: str) -> list[str]:
    """The command that becomes a program which dies with the process that starts it.

    Args:
        program: An absolute path.
        arguments: The program's own.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), program, *arguments]


def _become(parent: int, command: list[str]) -> None:
    die_with_parent()
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 -- no shell is the point


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
