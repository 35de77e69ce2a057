"""Becomes a job's command, and sees to it that the job dies with the cloud.

Run as `python -I -S launcher.py PARENT WORD…` in a process of its own: after a thread has
started others, Python must not run between fork and exec, so this cannot be a preexec_fn.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html

if __name__ == "__main__":
    parent, words = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)
    os.execv(words[0], words)  # noqa: S606 - no shell is the point
