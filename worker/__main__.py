"""`python -m worker`: what a Batch job runs."""

import logging
import os
import sys

from worker.lifecycle import run

logging.basicConfig(
    stream=sys.stdout,
    level=logging.INFO,
    format="%(asctime)s %(levelname)s %(name)s: %(message)s",
)
sys.exit(run(os.environ))
