# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export ICB_HOME ?= $(CURDIR)/home
export DAGSTER_HOME := $(ICB_HOME)/dagster
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1
export PYTHONWARNINGS := ignore

.PHONY: help demo test test-slow lint types format ui bench manifest lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements.lock pyproject.toml
	@echo "installing into $(VENV) (once)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| (echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.11 ..." && exit 1)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## set up, bill the demo carrier's month, compare with what must come out
	@$(BIN)/icb demo

test: $(STAMP) ## set up and run the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(STAMP) ## the tests that take minutes
	@$(BIN)/python -m pytest -m slow

lint: $(STAMP) ## ruff, sqlfluff and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/sqlfluff lint dbt_project/models dbt_project/tests --disable-progress-bar
	@$(BIN)/basedpyright

format: $(STAMP) ## format Python and SQL
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/sqlfluff fix dbt_project/models dbt_project/tests --disable-progress-bar

ui: $(STAMP) ## Dagster's web server and daemon on the demo's home, http://localhost:3000
	@mkdir -p $(DAGSTER_HOME)
	@$(BIN)/icb home >/dev/null
	@$(BIN)/dagster dev -w workspace.yaml

bench: $(STAMP) ## rating speed against a plain copy, a Python loop and a DuckDB join
	@$(BIN)/icb bench rating

manifest: $(STAMP) ## write dbt's manifest, from which the definitions load
	@$(BIN)/python -m billing_assets.orchestration.dbt_manifest

lock: $(STAMP) ## renew requirements.lock (hashes, no addresses) from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-strip-extras --generate-hashes \
		--no-annotate --no-header --extra dev pyproject.toml -o requirements.lock

clean: ## remove the virtual environment, caches and the demo's home
	rm -rf $(VENV) home .pytest_cache .ruff_cache .hypothesis build *.egg-info
