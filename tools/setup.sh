#!/bin/sh
# Sets up $VENV from $LOCK: with uv where it is there, else with venv and pip. Only where that is
# requirements.lock, the packs and the project itself follow.
# Every package of the lock is checked against its hash; pip is one of them, since uv makes
# environments without it and the Pulumi CLI runs it. What a pack declares that the lock does not
# hold yet (a new pack's requirements.txt) is installed after it.
set -eu

stop() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}

supported() {
    "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

if command -v uv >/dev/null; then
    supported || PYTHON='>=3.11,<3.14' # uv finds or fetches one
    uv venv --quiet --allow-existing --python "$PYTHON" "$VENV"
    install() { uv pip install --quiet --python "$VENV/bin/python" "$@"; }
else
    command -v "$PYTHON" >/dev/null ||
        stop "there is no $PYTHON on PATH; install Python 3.11, 3.12 or 3.13, or give its name: make PYTHON=python3.12"
    supported ||
        stop "$PYTHON is $("$PYTHON" --version 2>&1); Taskpacks needs 3.11 to 3.13: make PYTHON=python3.12"
    "$PYTHON" -m venv "$VENV" ||
        stop "$PYTHON cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"
    install() { "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
fi

echo "setup: installing the locked packages into $VENV (a few minutes the first time)" >&2
install --require-hashes -r "$LOCK"
[ "$LOCK" = requirements.lock ] || exit 0
for file in taskpacks/*/requirements.txt; do
    [ ! -f "$file" ] || install -r "$file"
done
# Sample data: only the files inside are wanted, not what the packages depend on.
for file in taskpacks/*/demo-requirements.txt; do
    [ ! -f "$file" ] || install --require-hashes --no-deps --no-build-isolation -r "$file"
done
install --no-deps --no-build-isolation --editable .
