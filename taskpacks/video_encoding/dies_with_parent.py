"""Becomes another program that the kernel kills when its parent dies (on Linux).

A program of its own, run by its path: after a fork, a process with threads may do little but
start another program. Arguments: the parent's process id, then the program and its arguments.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html"""


def main(parent: str, *command: str) -> None:
    """Sets the signal, which survives exec, and becomes the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            return  # it died before the signal was set
    os.execv(command[0], command)  # noqa: S606 - a list from ffmpeg.py, no shell


if __name__ == "__main__":
    main(*sys.argv[1:])
