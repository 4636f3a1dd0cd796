# Everything a developer or a machine does here, one command each; `make` alone lists them.
# Only python3 (3.11 or newer, with venv and pip) and make are assumed. Every target first makes .venv with the pinned
# packages, which costs nothing once .venv/.installed is newer than requirements-dev.txt.

SHELL := /bin/bash
.DEFAULT_GOAL := help
export PYTHONPATH := emulator/src

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

# Atheris has wheels for Linux and some Pythons alone, so that it gets a place of its own, made when it is first asked for.
FUZZ_VENV := .venv-fuzz
FUZZ_READY := $(FUZZ_VENV)/.installed
FUZZ_PINS := tests/assurance/hostile/requirements-fuzz.txt

# The first interpreter that is new enough; PYTHON=... on the command line decides otherwise.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

# Tests that share one emulator carry the same xdist_group and so land on one worker.
TEST_WORKERS ?= 2
TEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
SOAK_ARGS ?=
FUZZ_ARGS ?= -max_total_time=600
MUTATION_ARGS ?=
MUTANTS_ARGS ?=
SHELL_SCRIPTS := .ci/run $(wildcard bench/*.sh deploy/*.sh)

.PHONY: help setup test mutation mutants soak fuzz fuzz-keep golden check lint format types imports schema-check schema shell-check demo bench lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with the pinned packages

$(READY): requirements-dev.txt emulator/pyproject.toml
	@test -n "$(PYTHON)" || { echo "Slipway needs Python 3.11 or newer, and no python3 here is: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv or pip (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Making $(VENV) with the pinned packages (once; about half a minute) ..."
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable ./emulator
	@touch $@

test: $(READY) ## run the tests (TEST_ARGS="tests/journeys -k retire")
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup -rfEs $(TEST_ARGS)

mutation: $(READY) ## change the pure core in thousands of ways; which do its tests notice? (MUTATION_ARGS="--only 'rollout.gates.health*'")
	$(BIN)/python -m tests.assurance.mutation $(MUTATION_ARGS)

mutants: $(READY) ## make one mistake after another in the code; which test notices? (MUTANTS_ARGS="--only 'no-*' --workers 2 --anew")
	$(BIN)/python -m tests.assurance.mutants $(MUTANTS_ARGS)

soak: $(READY) ## simulate 100,000 schedules, all double crashes, all stalled workers (SOAK_ARGS="--minutes 60"); 200 behind the emulators
	$(BIN)/python -m tests.assurance.simulation --seeds 100000 --crashes --double-crashes --stalls $(SOAK_ARGS)
	SLIPWAY_SCHEDULES=200 $(BIN)/python -m pytest -q tests/emulators
	SLIPWAY_SOAK=1 $(BIN)/python -m pytest -q -n $(TEST_WORKERS) --timeout 3600 tests/assurance/hostile

fuzz: $(FUZZ_READY) ## look for bytes that break decoding or validation (FUZZ_ARGS="-max_total_time=600"); what it finds goes to .fuzz
	$(FUZZ_VENV)/bin/python -m tests.assurance.hostile.fuzz $(FUZZ_ARGS)

fuzz-keep: $(FUZZ_READY) ## make the corpus that the tests replay anew, of itself and .fuzz: the fewest files that reach as much
	$(FUZZ_VENV)/bin/python -m tests.assurance.hostile.fuzz --keep

$(FUZZ_READY): requirements.txt $(FUZZ_PINS)
	@test -n "$(PYTHON)" || { echo "Slipway needs Python 3.11 or newer, and no python3 here is: make fuzz PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Making $(FUZZ_VENV) with Atheris and the functions' packages (once; about half a minute) ..."
	@test -x $(FUZZ_VENV)/bin/python || "$(PYTHON)" -m venv $(FUZZ_VENV)
	@$(FUZZ_VENV)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --only-binary atheris \
		-r requirements.txt -r $(FUZZ_PINS) || { echo "Atheris cannot be installed here: it has wheels for \
	x86-64 Linux with Python 3.11, 3.12 or 3.13 (this is $$("$(PYTHON)" -V) on $$(uname -sm)), and PyPI must be in reach. \
	Another Python: rm -rf $(FUZZ_VENV) && make fuzz PYTHON=/path/to/python3.12" >&2; exit 1; }
	@touch $@

golden: $(READY) ## keep a history of each moment that has none yet; those that are there stay as an older release wrote them
	$(BIN)/python -m tests.assurance.golden.make

check: lint types imports schema-check shell-check ## lint, format, types, import contracts, schema, shell scripts

lint: $(READY) ## ruff: lint, and is everything formatted?
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## ruff: format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## mypy, strict
	$(BIN)/mypy

imports: $(READY) ## the import contracts: main -> handlers -> infra -> rollout
	$(BIN)/lint-imports

schema-check: $(READY) ## are the committed JSON Schema and docs/spec.md those the types make?
	$(BIN)/python -m schemas.generate --check

schema: $(READY) ## write the JSON Schema and docs/spec.md from the types
	$(BIN)/python -m schemas.generate

shell-check: ## shell scripts: syntax, and shellcheck where it is installed
	@for script in $(SHELL_SCRIPTS); do bash -n "$$script" || exit 1; done
	@if command -v shellcheck >/dev/null; then shellcheck $(SHELL_SCRIPTS); \
		else echo "shellcheck is not installed: shell scripts were checked for syntax only"; fi

demo: $(READY) ## run the main job on this machine (DEMO_ARGS="--keep" leaves the stack running)
	$(BIN)/python -m local.demo $(DEMO_ARGS)

bench: $(READY) ## measure speed and size: a table and bench/results.json
	$(BIN)/python -m bench $(BENCH_ARGS)

lock: $(READY) ## move the pinned packages to their newest versions
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile $(UV_ARGS) --output-file requirements.txt requirements.in
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile $(UV_ARGS) --output-file requirements-dev.txt requirements-dev.in
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile $(UV_ARGS) --output-file $(FUZZ_PINS) $(FUZZ_PINS:.txt=.in)

# 3.11 is the oldest Python the pins must hold for; universal pins carry markers instead of one machine's platform.
UV_ARGS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes

clean: ## remove .venv and every cache
	rm -rf $(VENV) $(FUZZ_VENV) mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
