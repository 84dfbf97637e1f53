# Everything here works from a bare clone with Python 3.10 or newer, git and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check lint services collector bench bench-advice lock compat clean
.DELETE_ON_ERROR:

help:  ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## see dbvitals at work, without a database of your own
	@$(BIN)/dbvitals demo $(ARGS)

test: $(VENV)/.dev  ## all tests, against real servers that are started for them (ARGS='-k pool' for some)
	@$(BIN)/coverage erase
	@$(BIN)/python scripts/services.py run -- $(BIN)/python -m pytest --cov $(ARGS)

check: lint test  ## everything that must pass before a commit

lint: $(VENV)/.dev  ## ruff, mypy, import-linter
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

services: | $(BIN)/python  ## start the servers and leave them running; prints their addresses, for the shell's eval
	@$(BIN)/python scripts/services.py up

collector: $(VENV)/.dev  ## build the pipeline's OpenTelemetry Collector, once; takes minutes
	@$(BIN)/python scripts/collector.py build

bench: $(VENV)/.dev  ## what dbvitals costs a query
	@$(BIN)/python bench/overhead.py $(ARGS)

bench-advice: $(VENV)/.dev  ## how good the index advisor's advice is, beside an expert's; takes minutes
	@$(BIN)/python bench/advice/run.py $(ARGS)

compat: $(VENV)/.dev  ## the instrumentation's tests against the lowest bounds and SQLAlchemy 1.4, 2.0, 2.1
	@$(BIN)/python scripts/services.py run -- $(BIN)/python scripts/compat.py $(ARGS)

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-strip-extras --custom-compile-command "make lock"
lock: $(VENV)/.dev  ## renew the locked requirements (ARGS=--upgrade for newer versions)
	@$(LOCK) --group dev --extra demo --output-file requirements-dev.txt $(ARGS) pyproject.toml
	@$(LOCK) --extra demo --constraint requirements-dev.txt --output-file requirements-demo.txt $(ARGS) pyproject.toml

clean:  ## remove everything that was made, servers left running included
	@-$(PYTHON) scripts/services.py down
	rm -rf $(VENV) .venv-* .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "make: dbvitals needs Python 3.10 or newer: make PYTHON=/path/to/python3.X" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "make: $(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# Both take the locked versions, hashes checked. The development environment has all that the demo needs.
$(VENV)/.demo: requirements-demo.txt pyproject.toml | $(BIN)/python
	@echo "installing dbvitals into $(VENV)"
	@test -e $(VENV)/.dev || $(PIP) install --requirement requirements-demo.txt
	@test -e $(VENV)/.dev || $(PIP) install --no-deps --editable '.[demo]'
	@touch $@

$(VENV)/.dev: requirements-dev.txt pyproject.toml | $(BIN)/python
	@echo "installing the development environment into $(VENV)"
	@$(PIP) install --requirement requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
