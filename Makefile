# make demo | pictures | test | lint | docs | compare | operations | env | clean
#
# Needs python3 (3.10 or newer), make and git. Everything else comes from uv.lock into .venv: by the uv on PATH with
# its usual cache or, where there is none, by one that is fetched into build/uv and keeps its cache and
# interpreters in build/ as well, so that nothing outside this folder is written.

.PHONY: help env demo pictures test lint docs compare operations clean print-uv
.DELETE_ON_ERROR:

PYTHON ?= python3
JOBS ?= 2
UV := $(if $(shell uv --version 2>/dev/null),uv,build/uv/bin/uv)
BIN := .venv/bin

ifneq ($(UV),uv)
export UV_CACHE_DIR := $(CURDIR)/build/uv-cache
export UV_PYTHON_INSTALL_DIR := $(CURDIR)/build/python
endif
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv
unexport VIRTUAL_ENV

help:
	@echo "make demo      train DAT-Tiny on the built-in digits, measure it and name some of them"
	@echo "make pictures  draw what that network looks at: for the README, the pages and its model card"
	@echo "make test      run all tests (JOBS=2 processes)"
	@echo "make lint      ruff and mypy"
	@echo "make docs      build the documentation into site/"
	@echo "make compare   how fast this tree is against revision BASE (HEAD=. ARGS=\"dat_tiny --batch_size 8\")"
	@echo "make operations  accept what the networks compute now as what the tests hold them to"
	@echo "make env       only make the environment, in .venv"
	@echo "make clean     remove what these commands made, runs/ excepted"

env: .venv/.from-lock

# Offline afterwards: the other targets call what lies in .venv.
.venv/.from-lock: pyproject.toml uv.lock $(filter-out uv,$(UV))
	$(UV) sync --frozen --all-groups
	@touch $@

# Debian splits venv from Python, other images leave pip out: one of the two is enough.
build/uv/bin/uv:
	@echo "Fetching uv into build/uv"
	@rm -rf build/uv && mkdir -p build
	@{ $(PYTHON) -m venv build/uv && build/uv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check uv; } >build/uv.log 2>&1 \
	|| { rm -rf build/uv && $(PYTHON) -m pip install --quiet --no-cache-dir --disable-pip-version-check --target build/uv uv; } >>build/uv.log 2>&1 \
	|| { cat build/uv.log; \
	     echo "uv could not be fetched with $(PYTHON). If venv and pip are missing, install them (Debian, Ubuntu:"; \
	     echo "apt install python3-venv python3-pip) or install uv (https://docs.astral.sh/uv), then run make again."; \
	     exit 1; } >&2
	@touch $@

# 48 pixels instead of 64 make room for more epochs, which the accuracy needs more.
demo: env
	$(BIN)/dat fit --config tiny --data.image_size 48 --trainer.max_epochs 8 --output_dir runs --name demo
	$(BIN)/dat validate --weights runs/demo
	$(BIN)/python docs/examples/digits_to_images.py runs/digits
	$(BIN)/dat predict --weights runs/demo --top_k 1 runs/digits
	@echo
	@echo "Each file is named after the digit that it shows, and none of them was trained on."
	@echo "Pictures: runs/digits. Weights, numbers and configuration: $$(ls -dt runs/demo/version_* | head -n 1)"

# Those of docs/pictures, and those that dat push sends with the weights, because they lie beside them. The map of the
# comparison is drawn for a larger image: of 48 pixels, 3 x 3 cells are left, of which a window is all.
pictures: env runs/demo
	$(BIN)/dat explain --weights runs/demo --size 1200 --output docs/pictures --picture points,attention,saliency $(DIGIT)
	$(BIN)/dat explain --weights runs/demo --size 1200 --output docs/pictures --picture compare --image_size 224 --query 3.2,5 $(DIGIT)
	$(BIN)/dat explain --weights runs/demo --size 1200 --picture points,saliency $(DIGIT) \
	  --output "$$(ls -dt runs/demo/version_* | head -n 1)/pictures"

DIGIT := runs/digits/6_001.png

runs/demo:
	@$(MAKE) demo

# One thread a process: the processes share the cores already.
test: env
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) $(PYTEST_ARGS)

lint: env
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Both revisions in turn on this machine, so that its load and its make fall on both alike.
compare: env
	@$(BIN)/python -m benchmarks.compare "$(BASE)" "$(HEAD)" $(ARGS)

BASE ?= HEAD
HEAD ?= .

operations: env
	$(BIN)/python -m tests.operations.count --accept

clean:
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache

# For .ci/run, which builds and installs the wheel with the same uv.
print-uv: env
	@echo "$(if $(filter uv,$(UV)),uv,$(CURDIR)/$(UV))"
