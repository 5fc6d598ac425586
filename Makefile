# Bare `make` explains the targets. Everything runs in the locked environment (.venv), made on first use.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo picture test test-faults test-sdks lint bench schemas format clean

# uv from the path, else one of our own in .cache.
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .cache/uv/bin/uv)
RUN := $(UV) run --locked --no-sync
BENCH :=
FAULTS :=
# Tests and benchmarks start hundreds of Pythons: whatever the shell says, compiled code is kept.
unexport PYTHONDONTWRITEBYTECODE

help:  ## This list
	@echo 'rtcdp: events in Kafka become profiles, segments and triggers.'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/synced  ## A shop's clickstream turned into profiles, segments and triggers, live in the terminal
	@$(RUN) rtcdp demo

picture: .venv/synced  ## Save the demo's last screen as the picture of the README
	@$(RUN) rtcdp demo --picture docs/images/demo.svg

test: .venv/synced  ## The everyday tests, against a real Apache Kafka and Redis started for the run (needs Java 17 and Maven, or Docker)
	@$(RUN) pytest -n 5 --dist loadfile --no-loadscope-reorder $(TEST)

test-faults: .venv/synced  ## Processes killed, paused, restarted and rebalanced on a real Kafka, a table and docs/reliability.json (hours; a look: FAULTS="--share 0.05 --rows 1,4")
	@$(RUN) pytest -m faults $(TEST)
	@PYTHONPATH=tests $(RUN) python -m faults $(FAULTS)

test-sdks: .venv/synced  ## Segment's SDKs against the collector, analytics.js in a browser (needs node, npm and Chromium)
	@$(RUN) pytest -m sdks tests/collector $(TEST)

lint: .venv/synced  ## ruff, mypy --strict and the import contracts
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) lint-imports --no-logo

bench: .venv/synced  ## The benchmarks on a Kafka of their own: a table and benchmarks/results.json (about 45 minutes; a quick look: BENCH=--quick)
	@$(RUN) python -m benchmarks $(BENCH)

schemas: .venv/synced  ## Write schemas/ anew from the code's own types
	@$(RUN) python -m rtcdp.schemas

format: .venv/synced  ## Format the code, and mend what ruff can mend
	$(RUN) ruff check --fix
	$(RUN) ruff format

clean:  ## Remove the environment and all caches of this checkout
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/synced: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --locked --quiet
	@touch $@

.cache/uv/bin/uv:
	@echo 'uv is not on the path: installing it into .cache/uv'
	@command -v python3 >/dev/null || { echo 'Python 3.11 or later is needed, and python3 is not on the path.' >&2; exit 1; }
	@python3 -m venv .cache/uv || python3 -m pip install --quiet --target .cache/uv uv
	@test -x $@ || .cache/uv/bin/python -m pip install --quiet uv
