"""Fetches Celery's own integration tests, of exactly the locked version, and what they need."""

import re
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
BUILD = ROOT / "build" / "celery-suite"
PACKAGES = BUILD / "packages"
"""Where the Redis client is installed, beside the project's environment and not in it."""
LOCKED = re.compile(r"^celery==(\S+) \\\n(?:    --hash=\S+(?: \\)?\n)+", re.MULTILINE)


def locked_celery(lock):
    """Finds Celery in the text of a lock file.

    Returns:
        Its version, and its lines with the hashes.
    """
    found = LOCKED.search(lock)
    if found is None:
        raise SystemExit("requirements.lock has no line 'celery==…' with hashes: run `make lock`")
    return found[1], found[0]


def fetch():
    """Downloads what is not there yet, each file checked against its hash.

    Returns:
        A folder with Celery's folder `t`, and nothing else of it: what is tested is installed.
    """
    version, lines = locked_celery((ROOT / "requirements.lock").read_text())
    folder = BUILD / f"celery-{version}"
    if not (folder / "t").exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        wanted = BUILD / "celery.txt"
        wanted.write_text(lines)
        _pip(
            *("download", "--no-deps", "--no-binary", "celery", "--no-build-isolation"),
            *("--require-hashes", "--dest", str(BUILD), "-r", str(wanted)),
        )
        with tarfile.open(BUILD / f"celery-{version}.tar.gz") as archive:
            prefix = f"celery-{version}/t/"
            tests = [each for each in archive.getmembers() if each.name.startswith(prefix)]
            archive.extractall(BUILD, members=tests, filter="data")
    if not PACKAGES.exists():
        _pip(
            *("install", "--no-deps", "--require-hashes", "--target", str(PACKAGES)),
            *("-r", str(HERE / "requirements.txt")),
        )
    return folder


def _pip(*arguments):
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        check=True,
    )
