# One command for each task of a developer or a CI machine. `make` lists them.
# Requires only python3 (3.11 or newer, with venv and pip) and make. Targets create .venv with the
# pinned packages first, and again when requirements-dev.txt changes.

SHELL := /bin/bash
.DEFAULT_GOAL := help
export PYTHONPATH := emulator/src
# Every process of a test run would compile the code anew.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
DEMO_READY := $(VENV)/.installed-demo

# Atheris has wheels only for Linux and some Pythons, so it gets its own environment, created on
# first use.
FUZZ_VENV := .venv-fuzz
FUZZ_READY := $(FUZZ_VENV)/.installed
FUZZ_PINS := tests/assurance/hostile/requirements-fuzz.txt
ANSIBLE_PINS := emulator/tests/ansible/requirements.txt

# So do the tools that examine what is deployed.
SUPPLY_VENV := .venv-supply
SUPPLY_PINS := deploy/requirements-supply.txt
SUPPLY_READY := $(SUPPLY_VENV)/.installed

# The Pulumi program's, which its Pulumi.yaml names.
PULUMI_VENV := .venv-pulumi
PULUMI_PINS := deploy/pulumi/requirements.txt
PULUMI_READY := $(PULUMI_VENV)/.installed

# Beside the Python of .venv, the functions' next ones: the first tests run with each that is
# installed.
OTHER_PYTHONS := 3.13 3.14
OTHER_TESTS := tests/rollout tests/journeys/test_first_release.py

# The first interpreter that is new enough, unless PYTHON is set.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
	echo "$$p" && break; done)

# Tests run in three tiers (docs/testing.md), by the markers `wide` and `nightly`. One of three
# workers runs what mostly waits, so that the other two have the cores (`GROUPS` in
# tests/conftest.py). The order is random; the end of a run prints the seed that repeats it.
TEST_WORKERS ?= 3
TEST_ARGS ?=
COVERAGE ?=
PYTEST := $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup -rfE
NOT_WIDE := -m "not wide and not nightly"
DEMO_ARGS ?=
BENCH_ARGS ?=
SOAK_ARGS ?=
FUZZ_ARGS ?= -max_total_time=600
MUTATION_ARGS ?=
MUTANTS_ARGS ?=
RECORDINGS_ARGS ?=
SHELL_SCRIPTS := .ci/run $(wildcard bench/*.sh deploy/*.sh)

.PHONY: help setup test test-wide mutation mutants simulate soak soak-tests fuzz fuzz-keep golden \
	recordings check lint format types imports schema-check schema shell-check vocabulary pythons \
	sbom audit licences pulumi demo bench lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with the pinned packages

$(READY): requirements-dev.txt pyproject.toml emulator/pyproject.toml
	@$(CHECK_PYTHON)
	@echo "Creating $(VENV) with the pinned packages (once; one to three minutes) ..."
	@$(call INSTALL,requirements-dev.txt)
	@touch $@ $(DEMO_READY)

# The demo needs about half of the packages. Any later target installs the others.
$(DEMO_READY): requirements-demo.txt pyproject.toml emulator/pyproject.toml
	@$(CHECK_PYTHON)
	@echo "Creating $(VENV) with what the demo needs (once; half a minute to one) ..."
	@$(call INSTALL,requirements-demo.txt)
	@touch $@

define CHECK_PYTHON
test -n "$(PYTHON)" || { echo "Slipway needs Python 3.11 or newer and found none:" \
	"make setup PYTHON=/path/to/python3.11" >&2; exit 1; }; \
"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	{ echo "$(PYTHON) has no venv or pip (on Debian and Ubuntu: apt-get install" \
	"python3-venv)" >&2; exit 1; }
endef

# Says after each tenth package how far it is; pip says nothing itself but what is wrong.
PROGRESS = awk -v all="$$(grep -c '^[a-z]' $(1))" \
	'/^(Collecting|Processing) / && ++n % 10 == 0 { print "  package " n " of " all; fflush() } \
	/^Installing collected/ { print "  installing"; fflush() }'

define INSTALL
set -o pipefail; { test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV); } && \
$(BIN)/python -m pip install --progress-bar off --disable-pip-version-check --require-hashes \
	--no-compile -r $(1) | $(call PROGRESS,$(1)) && \
{ $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true; } && \
$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps \
	--no-build-isolation --editable ./emulator --editable .
endef

test: $(READY) ## run the tests of the first tier (TEST_ARGS="tests/journeys -k retire", COVERAGE=1)
	$(PYTEST) $(NOT_WIDE) $(if $(COVERAGE),--cov --cov-report=term:skip-covered) $(TEST_ARGS)

test-wide: $(READY) ## run the second tier: error matrix, crash points, random schedules, slow tests
	$(PYTEST) -m wide $(TEST_ARGS)

mutation: $(READY) ## mutation score of rollout/ (MUTATION_ARGS="--only 'rollout.gates.health*'")
	$(BIN)/python -m tests.assurance.mutation $(MUTATION_ARGS)

mutants: $(READY) ## do tests find each seeded defect? (MUTANTS_ARGS="--only 'no-*' --workers 2")
	$(BIN)/python -m tests.assurance.mutants $(MUTANTS_ARGS)

simulate: $(READY) ## run 150,000 simulated schedules (SOAK_ARGS="--minutes 60", "--part 2/4")
	$(BIN)/python -m tests.assurance.simulation --seeds 100000 --crashes --double-crashes \
		--stalls $(SOAK_ARGS)

# `make --keep-going soak` runs every part even if one fails.
soak: MUTANTS_ARGS := --all --workers 2
soak: mutants mutation soak-tests simulate ## run the nightly tier

soak-tests: $(READY) $(PULUMI_READY) ## run nightly tests, 200 schedules on Google's emulators, more attacks
	$(PYTEST) -m nightly
	SLIPWAY_SCHEDULES=200 $(PYTEST) --timeout 3600 tests/emulators
	SLIPWAY_SOAK=1 $(PYTEST) --timeout 3600 tests/assurance/hostile

fuzz: $(FUZZ_READY) ## fuzz decoding and validation (FUZZ_ARGS="-max_total_time=600"), into .fuzz
	$(FUZZ_VENV)/bin/python -m tests.assurance.hostile.fuzz $(FUZZ_ARGS)

fuzz-keep: $(FUZZ_READY) ## merge .fuzz into the replayed corpus and minimize it
	$(FUZZ_VENV)/bin/python -m tests.assurance.hostile.fuzz --keep

$(FUZZ_READY): requirements.txt $(FUZZ_PINS)
	@test -n "$(PYTHON)" || { echo "Slipway needs Python 3.11 or newer and found none:" \
		"make fuzz PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Creating $(FUZZ_VENV) with Atheris and the functions' packages (once) ..."
	@test -x $(FUZZ_VENV)/bin/python || "$(PYTHON)" -m venv $(FUZZ_VENV)
	@$(FUZZ_VENV)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes \
		--only-binary atheris -r requirements.txt -r $(FUZZ_PINS) || { \
		echo "Atheris cannot be installed here. It has wheels for x86-64 Linux with Python 3.11," \
		"3.12 or 3.13 (this is $$("$(PYTHON)" -V) on $$(uname -sm)) and PyPI must be reachable." \
		"To use another Python: rm -rf $(FUZZ_VENV) && make fuzz PYTHON=/path/to/python3.12" >&2; \
		exit 1; }
	@touch $@

golden: $(READY) ## write the missing golden histories; existing ones are never rewritten
	$(BIN)/python -m tests.assurance.golden.make

recordings: $(READY) ## compare the emulator with recorded answers of Google's service
	$(BIN)/python -m emulator.tests.recordings $(RECORDINGS_ARGS)

check: lint types imports schema-check shell-check vocabulary pythons ## run every static check

lint: $(READY) ## ruff: lint and check the format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## ruff: format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## mypy, strict
	$(BIN)/mypy

imports: $(READY) ## check the import contracts: main -> handlers -> infra -> rollout
	$(BIN)/lint-imports

schema-check: $(READY) ## check that the JSON Schema and the generated pages match the code
	$(BIN)/python -m schemas.generate --check
	$(BIN)/python -m console.page --check
	$(BIN)/python -m deploy.supply_chain licences --check

schema: $(READY) ## generate the JSON Schema, docs/spec.md, docs/controls.md and docs/cli.md
	$(BIN)/python -m schemas.generate
	$(BIN)/python -m console.page

shell-check: $(READY) ## shellcheck: check the shell scripts
	$(BIN)/shellcheck $(SHELL_SCRIPTS)

vocabulary: $(READY) ## check that no retired word has come back (docs/style.md)
	$(BIN)/python -m tests.assurance.vocabulary

pythons: $(READY) ## test with Python 3.13 and 3.14, where they are installed
	@for version in $(OTHER_PYTHONS); do \
		if ! python$$version -c '' 2>/dev/null; then \
			echo "python$$version is not installed: its tests are left out"; \
		elif [ "$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" \
			!= $$version ]; then \
			$(MAKE) --no-print-directory .venv-$$version/.installed && \
			echo "python$$version:" && \
			.venv-$$version/bin/python -m pytest -q $(NOT_WIDE) $(OTHER_TESTS) || exit 1; \
		fi; \
	done

.venv-3.%/.installed: requirements-dev.txt $(READY)
	@test -x $(@D)/bin/python || python3.$* -m venv $(@D)
	@$(BIN)/uv pip install --quiet --python $(@D)/bin/python --require-hashes -r requirements-dev.txt
	@touch $@

sbom: $(SUPPLY_READY) ## write sbom.cdx.json, the functions' bill of materials (CycloneDX)
	$(SUPPLY_VENV)/bin/python -m deploy.supply_chain sbom

audit: $(SUPPLY_READY) ## compare the functions' packages with the known vulnerabilities
	$(SUPPLY_VENV)/bin/python -m deploy.supply_chain audit

licences: $(READY) ## write docs/licences.md, the licences of the functions' packages
	$(BIN)/python -m deploy.supply_chain licences

$(SUPPLY_READY): $(SUPPLY_PINS) $(READY)
	@test -x $(SUPPLY_VENV)/bin/python || "$(PYTHON)" -m venv $(SUPPLY_VENV)
	@$(BIN)/uv pip install --quiet --python $(SUPPLY_VENV)/bin/python --require-hashes \
		-r $(SUPPLY_PINS)
	@touch $@

pulumi: $(PULUMI_READY) ## test the Pulumi program in its environment, which `pulumi up` uses
	$(BIN)/python -m pytest -n 0 tests/deploy/test_pulumi.py

$(PULUMI_READY): $(PULUMI_PINS) $(READY)
	@test -x $(PULUMI_VENV)/bin/python || "$(PYTHON)" -m venv $(PULUMI_VENV)
	@$(BIN)/uv pip install --quiet --python $(PULUMI_VENV)/bin/python --require-hashes \
		-r $(PULUMI_PINS)
	@touch $@

demo: $(DEMO_READY) ## run a rollout on this machine (DEMO_ARGS="--keep" leaves the stack running)
	$(BIN)/python -m local.demo $(DEMO_ARGS)

bench: $(READY) ## measure speed and size; writes a table and bench/results.json
	$(BIN)/python -m bench $(BENCH_ARGS)

COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --upgrade \
	--universal --python-version 3.11 --generate-hashes

# 3.11 is the oldest supported Python. Universal pins have markers instead of one machine's
# platform.
lock: $(READY) ## upgrade the pinned packages
	$(COMPILE) --output-file requirements.txt requirements.in
	$(COMPILE) --output-file requirements-dev.txt requirements-dev.in
	$(COMPILE) --output-file requirements-demo.txt requirements-demo.in
	$(COMPILE) --output-file $(FUZZ_PINS) $(FUZZ_PINS:.txt=.in)
	$(COMPILE) --output-file $(ANSIBLE_PINS) $(ANSIBLE_PINS:.txt=.in)
	$(COMPILE) --output-file $(SUPPLY_PINS) $(SUPPLY_PINS:.txt=.in)
	$(COMPILE) --output-file $(PULUMI_PINS) $(PULUMI_PINS:.txt=.in)

clean: ## remove the environments and every cache
	rm -rf $(VENV) $(FUZZ_VENV) $(SUPPLY_VENV) $(PULUMI_VENV) .venv-3.* mutants .coverage .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
