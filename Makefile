# `make` alone lists what there is. Another interpreter: `make test PYTHON=python3.12`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RESOLUTION ?= 256
BATCH ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format evidence table bench fuzz interop clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: $(STAMP) ## find, shut and draw a subject in the embedded world
	$(BIN)/cones demo

test: $(STAMP) ## the quick tests
	$(BIN)/python -m pytest

test-slow: $(STAMP) ## the slow tests: the model's gate and the built package
	$(BIN)/python -m pytest -m slow --timeout 1800

lint: $(STAMP) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

evidence: $(STAMP) ## measure concept neurons against controls and write docs/evidence.*; resumes
	$(BIN)/python -m benchmarks.evidence --out docs

table: $(STAMP) ## compare all methods on the test subjects and write docs/table.*; resumes
	$(BIN)/cones compare --subjects examples/subjects/test --out docs --cache benchmarks/results

bench: $(STAMP) ## time the search and switching; at 512 pixels: RESOLUTION=512 BATCH=1
	$(BIN)/python -m benchmarks.step --resolution $(RESOLUTION) --batch $(BATCH)
	$(BIN)/python -m benchmarks.switch --resolution $(RESOLUTION)

interop: $(STAMP) ## open exports in copies of ComfyUI, Forge, A1111: COMFYUI_DIR=... FORGE_DIR=...
	@test -z "$(COMFYUI_DIR)" || \
		grep -hE "^(comfy-aimdo|comfy-kitchen|einops|scipy|torchsde)" "$(COMFYUI_DIR)/requirements.txt" \
		| xargs $(BIN)/python -m pip install -q -c constraints.txt
	$(BIN)/python -m pytest -m interop -rs

fuzz: $(STAMP) ## read half a million damaged and forged files; half an hour of one processor
	$(BIN)/python -m benchmarks.fuzz --inputs 500000

clean: ## remove build products and caches; the environment stays
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
		echo "cones: $(PYTHON) was not found; install Python 3.11 to 3.13," \
		     "or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "cones: needs Python 3.11 to 3.13, but $(PYTHON) is" \
		     "`$(PYTHON) --version`; name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "cones: $(PYTHON) has no venv module; install it (on Debian and Ubuntu:" \
		     "apt-get install python3-venv)" >&2; exit 1; }
	@echo "cones: installing into $(VENV); the first time takes some minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q -c constraints.txt setuptools
	@$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@
