# `make` lists the targets. Every target sets up what it needs, in $(VENV), from the lock file.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python -m
READY = $(VENV)/.ready
PULUMI = build/bin/pulumi
# Tests with the real engine take the CLI that is built here, or the one on PATH. Without both, and
# where it cannot be built, they are skipped; in CI (the variable CI) that is an error.
CLI = $(if $(shell command -v pulumi),:,$(if $(shell command -v go),$(MAKE) -s pulumi || test -z "$$CI",:))
CHECKOV ?= build/checkov
DECLARED = pyproject.toml requirements.lock $(wildcard taskpacks/*/requirements.txt taskpacks/*/demo-requirements.txt)

.DEFAULT_GOAL := help
.PHONY: help setup demo test engine celery-suite scan check words format lock pulumi clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Set up the environment: uv where it is there, else venv and pip.

$(READY): $(DECLARED)
	PYTHON="$(PYTHON)" VENV="$(VENV)" LOCK=requirements.lock sh tools/setup.sh
	@touch $@

demo: $(READY) ## Run the whole system on this machine: no cloud account, no Pulumi CLI.
	$(RUN) cli demo

# Many tests wait for real workers: one more than the processors can run keeps these busy.
AT_ONCE = $$(($$(getconf _NPROCESSORS_ONLN) + 1))

test: $(READY) ## Run the tests, some at the same time.
	@$(CLI)
	$(RUN) pytest -q -n $(AT_ONCE) --dist worksteal -m "not engine"

engine: $(READY) ## Run whole lives of the shipped stacks on Pulumi's engine and on the local one.
	@$(CLI)
	$(RUN) pytest -q -n auto --dist worksteal -m engine tests/stack

celery-suite: $(READY) ## Run Celery's own integration tests with a plain worker and with ours.
	$(RUN) tests.celery_suite $(ARGUMENTS)

pulumi: $(PULUMI) ## Build the Pulumi CLI (needs Go; a few minutes the first time).

$(PULUMI): tools/pulumi/go.mod tools/pulumi/go.sum tools/pulumi.sh
	@sh tools/pulumi.sh $@

scan: $(READY) $(CHECKOV)/.ready ## Let checkov read the stacks; it has an environment of its own.
	CHECKOV="$(CHECKOV)" $(RUN) pytest -q tests/stack/scan.py

$(CHECKOV)/.ready: tools/checkov.lock
	PYTHON="$(PYTHON)" VENV="$(CHECKOV)" LOCK=$< sh tools/setup.sh
	@touch $@

check: $(READY) words ## Check words, format, lint, types, import contracts and left-over marks.
	$(RUN) ruff format --check --quiet .
	$(RUN) ruff check --quiet .
	$(VENV)/bin/basedpyright --level error
	$(VENV)/bin/lint-imports
	@git grep -nE '(TODO|FIXME|XXX)' -- '*.py' '*.md' '*.yaml'; test $$? -eq 1 || { echo 'left-over marks (finish them or open an issue), or no git checkout' >&2; exit 1; }

words: ## Check the words of messages, docstrings, comments and docs.
	@$(PYTHON) tools/words.py

format: $(READY) ## Format the code and fix what lint can fix.
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

LOCKED = $(RUN) uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header --no-emit-index-url --no-emit-find-links

lock: $(READY) ## Write both lock files: of the project, and of checkov.
	$(LOCKED) pyproject.toml --group dev taskpacks/*/requirements.txt --output-file requirements.lock
	$(LOCKED) tools/checkov.in --output-file tools/checkov.lock

clean: ## Remove the environment and what the demo wrote.
	rm -rf $(VENV) demo-output build *.egg-info
