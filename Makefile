# `make demo` and `make test` do all the set-up they need. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Every process of ours: no bytecode surprises, no accelerator probing chatter.
export TF_CPP_MIN_LOG_LEVEL ?= 2
# A module's tests share what is dear to make, and some go on from each other: they stay together.
# Three workers on two cores: there is always one that waits for a server or for a process to start.
SPREAD := -n 3 --dist loadscope --no-loadscope-reorder

$(STAMP): deploy/set_up.sh deploy/relink_wheels.py requirements/locked.txt requirements/uv.txt pyproject.toml
	@bash deploy/set_up.sh $(VENV)
	@touch $@

.PHONY: help setup demo airflow airflow-venv dag-nodes test check check-fast lint types imports format docs lock bench clean
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

setup: $(STAMP) ## the environment in .venv, with the nocturne command in .venv/bin

demo: $(STAMP) ## plays a corpus, trains, generates, and writes demo/index.html
	@$(BIN)/nocturne demo --root demo

AIRFLOW_STAMP := .airflow-venv/.installed
$(AIRFLOW_STAMP): $(STAMP) deploy/set_up_airflow.sh requirements/airflow.txt
	@bash deploy/set_up_airflow.sh .airflow-venv
	@touch $@

airflow-venv: $(AIRFLOW_STAMP) ## Airflow in an environment of its own

airflow: $(AIRFLOW_STAMP) ## Airflow on 127.0.0.1:8080 with the weekly and the nightly DAG
	@bash deploy/airflow.sh

dag-nodes: $(STAMP) ## writes the pipelines' nodes to where the DAGs read them
	@bash deploy/dag_nodes.sh

lint: $(STAMP) ## ruff: lint and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP) ## mypy
	@$(BIN)/mypy

imports: $(STAMP) ## import-linter: which folder may import which
	@$(BIN)/lint-imports

docs: $(STAMP) ## the documentation as a site in site/, built strictly: a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --clean
	@echo "docs: site/index.html"

check: lint types imports ## lint, types, import rules

check-fast: check ## check, and the tests that take under three minutes
	@$(BIN)/pytest -q $(SPREAD) -m "not slow"

test: check $(AIRFLOW_STAMP) ## everything that must pass
	@$(BIN)/pytest -q $(SPREAD)

format: $(STAMP) ## rewrites the code in the house's format
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(STAMP) ## every program in benchmarks/, one after the other
	@status=0; for program in benchmarks/bench_*.py; do $(BIN)/python $$program || status=1; done; exit $$status

lock: $(STAMP) ## resolves requirements/*.in anew; KEEP=1 moves only what must
	@bash deploy/lock.sh $(if $(KEEP),--keep)

clean: ## removes what make made, but not the environment
	@rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
