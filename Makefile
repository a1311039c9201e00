# One entry for people and for CI: `make` alone lists what there is.
# Every target installs what it needs into .venv, and again when pyproject.toml or constraints.txt change.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first interpreter on the PATH that is new enough; `make PYTHON=/path/to/python test` overrides it.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	command -v $$name >/dev/null 2>&1 \
	&& $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v $$name; break; }; done)
BIN := .venv/bin
# One stamp per set of tools: the demo needs none, tests and checks each their own.
RUN := .venv/.installed
TEST := .venv/.installed-test
CHECK := .venv/.installed-check

PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

SEEDS ?= 100
MINUTES ?= 10
QUICK ?=
ARGS ?=

.PHONY: help demo test lint format types .mypy .pyright bench simulate soak readme constraints clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(RUN) ## run the real daemon on the starter config: fill, claim, use, release, backfill
	@$(BIN)/python -m stoker.daemon.demo

# Four at a time also on two cores: many tests wait for a daemon more than they compute.
test: $(TEST) ## run every test (ARGS='-k claim' chooses)
	@$(BIN)/pytest -n 4 --dist worksteal -m 'not serial' $(ARGS)
	@$(BIN)/pytest -n 0 -m serial $(ARGS) || test $$? -eq 5

lint: $(TEST) $(CHECK) ## ruff, formatting and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

format: $(CHECK) ## let ruff repair and format everything
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(TEST) $(CHECK) ## mypy --strict and pyright strict
	@$(MAKE) --jobs=2 --output-sync=target .mypy .pyright

.mypy:
	@$(BIN)/mypy

.pyright:
	@$(BIN)/pyright

bench: $(TEST) ## measure against floors taken in the same run (QUICK=1: a minute, for a first look)
	@$(BIN)/python -m loadtests.bench $(if $(QUICK),--quick) $(ARGS)

simulate: $(TEST) ## simulate SEEDS=100 histories of crashes, faults and changes under a virtual clock
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

soak: $(TEST) ## kill -9 the real daemon under claim load for MINUTES=10
	@$(BIN)/python -m loadtests.soak --minutes $(MINUTES) $(ARGS)

readme: $(TEST) ## put the demo as it runs now, and the newest figures, into README.md
	@$(BIN)/python -m loadtests.readme

constraints: $(TEST) $(CHECK) ## write constraints.txt from what .venv holds now
	@{ echo "# What was installed and tested together: names and versions only. Written by 'make constraints'."; \
		$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable --disable-pip-version-check; } > .venv/constraints.new
	@mv .venv/constraints.new constraints.txt

clean: ## remove what building and testing left, .venv included
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "stoker needs Python 3.11 or newer on the PATH (python3.11 … python3.14); install one, or say make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv \
		|| { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into .venv …"
	@$(PIP) --upgrade 'pip>=25.1'  # the first that knows --group
	@$(PIP) --constraint constraints.txt --editable .
	@touch $@

$(TEST) $(CHECK): .venv/.installed-%: $(RUN)
	@echo "installing what 'make $*' needs …"
	@$(PIP) --constraint constraints.txt --group $*
	@touch $@
