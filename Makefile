# `make help` lists what there is. PYTHON picks the interpreter (3.11 or newer) that makes .venv; INDEX names another
# package index for torch, e.g. INDEX=https://download.pytorch.org/whl/cpu for CPU-only wheels.
PYTHON ?= python3
INDEX ?=
STAMP := .venv/.made-from-lock
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup repro verify test test-fast lint

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv from requirements.lock

$(STAMP): requirements.lock
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install -q $(if $(INDEX),--index-url $(INDEX)) "$$(grep '^torch==' requirements.lock)"
	.venv/bin/python -m pip install -q -r requirements.lock
	@touch $@

repro: setup  ## run the study (both trainings side by side) and print its answer
	dvc repro -q overlap
	dvc repro -s train_dense & dense=$$!; dvc repro -s train_baseline; code=$$?; wait $$dense && exit $$code
	dvc repro
	@python src/study.py answer

verify: setup  ## re-read every artifact and compare it with manifest.json and dvc.lock
	python src/study.py verify

test: setup  ## run all tests that CI runs (fast and slow)
	OMP_NUM_THREADS=1 python -m pytest -m "not soak"

test-fast: setup  ## run the fast tests (under 3 minutes)
	OMP_NUM_THREADS=1 python -m pytest -m "not soak and not slow"

lint: setup  ## lint, format check, types
	ruff check . && ruff format --check . && mypy

