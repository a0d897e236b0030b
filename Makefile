# `make demo` and `make test` install everything that they need. `make help` lists all targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AIRFLOW_STAMP := .airflow-venv/.installed
# Hides TensorFlow's messages about processors and accelerators.
export TF_CPP_MIN_LOG_LEVEL ?= 2
# Tests in one module share expensive fixtures, and some continue from earlier ones, so each module
# runs on a single worker. There are three workers for two cores, because at any time one of them
# usually waits for a server or for a process to start.
SPREAD := -n 3 --dist loadscope --no-loadscope-reorder

$(STAMP): deploy/set_up.sh deploy/relink_wheels.py requirements/locked.txt requirements/uv.txt pyproject.toml
	@bash deploy/set_up.sh $(VENV)
	@touch $@

$(AIRFLOW_STAMP): $(STAMP) deploy/set_up_airflow.sh requirements/airflow.txt
	@bash deploy/set_up_airflow.sh .airflow-venv
	@touch $@

.PHONY: help setup demo airflow airflow-venv dag-nodes test test-airflow check check-fast lint types imports format docs lock audit licences bench faults fuzz clean
help: ## lists these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

setup: $(STAMP) ## installs the environment in .venv, with the command .venv/bin/nocturne

demo: $(STAMP) ## plays a corpus, trains, generates, and writes demo/index.html
	@$(BIN)/nocturne demo --root demo

airflow-venv: $(AIRFLOW_STAMP) ## installs Airflow in an environment of its own

airflow: $(AIRFLOW_STAMP) ## serves Airflow on 127.0.0.1:8080 with the weekly and the nightly DAG
	@bash deploy/airflow.sh

dag-nodes: $(STAMP) ## writes the pipelines' nodes to the file that the DAGs read
	@bash deploy/dag_nodes.sh

lint: $(STAMP) ## checks style and format with ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP) ## checks types with mypy
	@$(BIN)/mypy

imports: $(STAMP) ## checks with import-linter which folder imports which
	@$(BIN)/lint-imports

docs: $(STAMP) ## builds the documentation in site/; a dead link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --clean
	@echo "docs: site/index.html"

check: lint types imports ## runs lint, types and imports

check-fast: check ## runs check and the tests that take under three minutes together
	@$(BIN)/pytest -q $(SPREAD) -m "not slow"

test: check $(AIRFLOW_STAMP) ## runs every check and test
	@$(BIN)/pytest -q $(SPREAD)

test-airflow: $(AIRFLOW_STAMP) ## runs the tests that need Airflow
	@$(BIN)/pytest -q $(SPREAD) tests/dags

format: $(STAMP) ## rewrites the code in the project's format
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(STAMP) ## runs every program in benchmarks/, one after the other
	@status=0; for program in benchmarks/bench_*.py; do $(BIN)/python $$program || status=1; done; exit $$status

fuzz: $(STAMP) ## damages sound files for ten minutes, and compares what is read of them with FFmpeg
	@$(BIN)/python benchmarks/fuzz_decoders.py

faults: $(STAMP) ## kills the stages and lets their files fail, COUNT times (default: 300)
	@$(BIN)/python -m tests.support.inject_faults --count $(or $(COUNT),300)

lock: $(STAMP) ## pins the newest allowed versions in requirements/; KEEP=1 moves only what must move
	@bash deploy/lock.sh $(if $(KEEP),--keep)

audit: $(STAMP) ## asks PyPI for known vulnerabilities in the locks
	@$(BIN)/pip-audit --strict --disable-pip --requirement requirements/locked.txt --requirement requirements/airflow.txt

licences: $(STAMP) ## prints the licences of all installed packages
	@$(BIN)/pip-licenses --format=markdown

clean: ## removes what these targets made, except the environments
	@rm -rf demo build dist site .pytest_cache .mypy_cache .ruff_cache *.egg-info
