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
logging.getLogger("botocore").setLevel(logging.WARNING)
sys.exit(run(os.environ))
