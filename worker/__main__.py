"""`python -m worker`: what a Batch job runs."""

import os
import sys

from worker import logs
from worker.lifecycle import run

logs.set_up()
sys.exit(run(os.environ))
