# `make help` lists what there is. PYTHON picks the interpreter (3.11 or newer) that makes .venv; INDEX names another
# package index for torch, e.g. INDEX=https://download.pytorch.org/whl/cpu for CPU-only wheels.
PYTHON ?= python3
INDEX ?=
# Kept in .venv and written last: the lock it was made from. A half-made .venv has none.
MADE_FROM := .venv/.made-from-lock
IS_MADE := $(shell cmp -s requirements.lock $(MADE_FROM) && .venv/bin/python -c '' 2>/dev/null && echo yes)
REFUSE_OLD = import sys; sys.version_info < (3, 11) and sys.exit("error: $(PYTHON) is Python %d.%d, and 3.11 or newer \
	is needed: make setup PYTHON=python3.12" % sys.version_info[:2])
START := git init && git add -A && git commit -m start
# Tests that run the whole study by DVC; the others take as long beside them.
STUDIES := $(addprefix tests/test_,kills.py interruptions.py verify.py end_to_end.py)
# Not in requirements.lock, on which the stages depend; what is in there stays as it is.
# aiobotocore: else pip tries its versions for minutes.
SERVERS := 'dvc[ssh,s3,webdav]' 'moto[server]' wsgidav cheroot 'aiobotocore>=3.10'
OUTSIDE := $(PATH)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup environment repository lock repro sweep hybrid bench verify test test-fast test-remotes soak lint

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(if $(IS_MADE),,environment)  ## make .venv from requirements.lock, unless it was made from the very same
	@[ -e .git ] || echo "note: this copy is no git repository, which tests and DVC need: $(START)"

environment: export PATH := $(OUTSIDE)
environment: requirements.lock
	@[ ! -L .venv ] || { echo "error: .venv is a link to $$(readlink .venv), which was not made from this" \
		"requirements.lock and stays as it is; remove the link (rm .venv), then make setup" >&2; exit 1; }
	@$(PYTHON) -c '$(REFUSE_OLD)'
	@rm -f $(MADE_FROM)
	$(PYTHON) -m venv --clear .venv
	@cp requirements.lock $(MADE_FROM).part
	grep -v '^torch==' $(MADE_FROM).part | .venv/bin/python -m pip install -q --require-hashes -r /dev/stdin
	.venv/bin/python -m pip install -q $(if $(INDEX),--index-url $(INDEX)) "$$(grep '^torch==' $(MADE_FROM).part)"
	@mv $(MADE_FROM).part $(MADE_FROM)

repository:
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "error: DVC needs a git repository here: $(START)" >&2; exit 1; }

lock:  ## renew the hashes in requirements.lock after editing a version in it (needs uv, e.g. pipx install uv)
	@sed -n '1,/^torch==/p' requirements.lock > requirements.lock.tmp
	grep -o '^[^ #]*==[^ ]*' requirements.lock | uv pip compile -q --no-deps --no-emit-package torch --universal \
		--python-version 3.11 --generate-hashes --no-annotate --no-header - >> requirements.lock.tmp
	@mv requirements.lock.tmp requirements.lock

repro: repository setup  ## run the study (two stages side by side) and print its answer
	dvc repro -q probe solve
	dvc repro -s train_sparse train_own train_cnn reconstruct_map & other=$$!; \
	dvc repro -s train_baseline train_dense train_wide limit; code=$$?; wait $$other && exit $$code
	dvc repro
	@python src/study.py answer

sweep: repository setup  ## repeat the study over doses, overlaps and seeds (hours; goes on where it stopped), draw the results
	OMP_NUM_THREADS=1 python src/sweep.py run
	python src/sweep.py draw

hybrid: setup  ## remake the committed bundle of the hybrid arm (an hour of one core)
	python src/train_hybrid.py

bench: setup  ## CPU seconds of every arm on this machine -> metrics/bench.json (after `make repro`)
	python src/bench.py

verify: setup  ## re-read every artifact and compare it with manifest.json and dvc.lock
	python src/study.py verify

test: setup  ## run all tests that CI runs (fast and slow), two halves side by side
	@mkdir -p logs
	export OMP_NUM_THREADS=1; python -m pytest -m "not soak" $(STUDIES) > logs/studies.txt 2>&1 & studies=$$!; \
	python -m pytest -m "not soak" $(addprefix --ignore=,$(STUDIES)); code=$$?; \
	wait $$studies || code=1; cat logs/studies.txt; exit $$code

test-fast: setup  ## run the fast tests (under 3 minutes)
	OMP_NUM_THREADS=1 python -m pytest -m "not soak and not slow"

test-remotes: setup  ## push, pull, verify over ssh, S3 and WebDAV on this machine: adds plug-ins and servers to .venv
	@if grep -o '^[^ ]*==[^ ]*' requirements.lock | .venv/bin/python -m pip install -q -c /dev/stdin $(SERVERS); \
		then python -m pytest tests/test_remotes.py tests/test_remote_kinds.py; \
		else echo "note: the plug-ins cannot be installed here, so remotes beyond folders were not tested" >&2; fi

soak: setup  ## run the long tests of a release (hours): 20 kills a stage, fuzzing, determinism -> metrics/soak.json
	OMP_NUM_THREADS=1 python -m pytest -m soak
	PYTHONPATH=src python tests/trust.py --write

lint: setup  ## lint, format check, types
	ruff check . && ruff format --check . && mypy

