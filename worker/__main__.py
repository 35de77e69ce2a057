"""`python -m worker`: what a Batch job runs."""

import logging
import os
import signal
import sys
from typing import NoReturn


def _stop(_number: int, _frame: object) -> NoReturn:
    """Before the worker listens itself, and while it tidies up: there is no task to end."""
    sys.exit(os.EX_TEMPFAIL)  # ExitCode.STOPPED, which is not imported yet


signal.signal(signal.SIGTERM, _stop)

# What follows takes most of the start: a signal must not be a crash meanwhile, nor be lost,
# as it is on a container's first process when nobody handles it.
from worker import output  # noqa: E402 -- see above

output.set_up()

from worker import logs  # noqa: E402 -- its handler writes to the output that was set up
from worker.run import run  # noqa: E402 -- see above

logs.set_up()
code = run(os.environ)
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is leaving, and says by itself why
logging.shutdown()
sys.stdout.flush()
# All is settled and tidied up: what Python would still wait for are billiard's sleeping threads.
os._exit(code)
