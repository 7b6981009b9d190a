# `make help` lists what there is. PYTHON picks the interpreter (3.11 or newer) that makes .venv; INDEX names another
# package index for torch, e.g. INDEX=https://download.pytorch.org/whl/cpu for CPU-only wheels.
PYTHON ?= python3
INDEX ?=
STAMP := .venv/.made-from-lock
ATTACKS := $(addprefix tests/test_,kills.py interruptions.py verify.py verify_repair.py determinism.py)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup repro sweep hybrid bench verify test test-fast soak lint

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv from requirements.lock

$(STAMP): requirements.lock
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install -q $(if $(INDEX),--index-url $(INDEX)) "$$(grep '^torch==' requirements.lock)"
	.venv/bin/python -m pip install -q -r requirements.lock
	@touch $@

repro: setup  ## run the study (two stages side by side) and print its answer
	dvc repro -q probe overlap
	dvc repro -s train_dense train_sparse train_own & other=$$!; \
	dvc repro -s train_baseline train_cnn reconstruct_map limit; code=$$?; wait $$other && exit $$code
	dvc repro
	@python src/study.py answer

sweep: setup  ## repeat the study over doses, overlaps and seeds (hours; goes on where it stopped), draw the results
	OMP_NUM_THREADS=1 python src/sweep.py run
	python src/sweep.py draw

hybrid: setup  ## remake the committed bundle of the hybrid arm (half an hour of one core)
	python src/train_hybrid.py

bench: setup  ## CPU seconds of every arm on this machine -> metrics/bench.json (after `make repro`)
	python src/bench.py

verify: setup  ## re-read every artifact and compare it with manifest.json and dvc.lock
	python src/study.py verify

test: setup  ## run all tests that CI runs (fast and slow), attacks on the study beside the rest
	@mkdir -p logs
	export OMP_NUM_THREADS=1; python -m pytest -m "not soak" $(ATTACKS) > logs/attacks.txt 2>&1 & attacks=$$!; \
	python -m pytest -m "not soak" $(addprefix --ignore=,$(ATTACKS)); code=$$?; \
	wait $$attacks || code=1; cat logs/attacks.txt; exit $$code

test-fast: setup  ## run the fast tests (under 3 minutes)
	OMP_NUM_THREADS=1 python -m pytest -m "not soak and not slow"

soak: setup  ## run the long tests of a release (hours): 20 kills a stage, fuzzing, determinism -> metrics/soak.json
	OMP_NUM_THREADS=1 python -m pytest -m soak
	PYTHONPATH=src python tests/trust.py --write

lint: setup  ## lint, format check, types
	ruff check . && ruff format --check . && mypy

