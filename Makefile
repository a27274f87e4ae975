# Everything sets itself up: the first run of a target makes .venv, later ones install nothing.

PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
BIN := .venv/bin
SEEDS ?= 10000
SOAK_SEEDS ?= 20
MUTANTS ?= 300
SEED ?= 1
MINUTES ?= 5
BASE_PORT ?= 7101
PINS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo sim test soak coverage mutation fuzz recording check format clean

help: ## list every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/installed ## start 5 nodes, spray 1000 increments, show them agree
	@$(BIN)/bench converge --increments 1000

sim: .venv/installed ## judge SEEDS=10000 simulated runs in which everything goes wrong
	@$(BIN)/bench judge --seeds $(SEEDS)

test: .venv/developing ## lint, types and every test that a change needs (some 5 minutes)
	@$(MAKE) --no-print-directory check
	$(BIN)/pytest -n auto -m "not soak"

soak: .venv/developing ## long campaigns: real processes tortured, then SOAK_SEEDS=20 simulated runs (7 minutes)
	$(BIN)/pytest -n auto -m soak
	$(BIN)/bench judge --first-seed 1000 --seeds $(SOAK_SEEDS)

coverage: .venv/developing ## which lines the tests of make test run in their own processes
	$(BIN)/pytest -n auto -m "not soak" --cov --cov-report=term:skip-covered

mutation: .venv/mutating ## how many of MUTANTS=300 small changes to node/core/ a test notices (0: all; SEED=1 draws them)
	$(BIN)/python -m tests.mutation --mutants $(MUTANTS) --seed $(SEED)

fuzz: .venv/fuzzing ## for MINUTES=5, let coverage lead the way to inputs that go wrong (atheris)
	$(BIN)/bench fuzz --guided --minutes $(MINUTES) --seed $(SEED) --corpus tests/corpus

recording: .venv/installed ## record the live table for the README: a node is killed and recovers (BASE_PORT=7101)
	$(BIN)/python -m gossip_counter.bench.recording docs/recording.svg --base-port $(BASE_PORT)

check: .venv/developing ## lint and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/developing ## put the code into its standard layout
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what the other targets made
	rm -rf .venv .coverage build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or say make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "a virtual environment can't be made: on Debian, apt-get install python3-venv"; exit 1; }

.venv/installed: $(PINS) | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lua]'
	@touch $@

.venv/developing: $(PINS) | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,compat]'
	@touch .venv/installed $@

.venv/mutating: $(PINS) | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'
	@touch .venv/installed $@

.venv/fuzzing: $(PINS) | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz,lua]'
	@touch .venv/installed $@
