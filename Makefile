# `make demo` and `make test` need only Python 3.11 or newer, make and a package registry.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow check bench bench-serving clean

demo: $(VENV)/.core
	$(BIN)/equipoise demo

test: $(VENV)/.dev
	$(MAKE) check

test-slow: $(VENV)/.dev
	$(BIN)/pytest -m slow tests

# Every static check, then the tests; `make check TESTS=tests/stats` runs a part of them. What times models has the cores
# for itself; all else shares them two files at a time.
ALONE := tests/benchmarks tests/cli/test_profile.py tests/cli/test_resume.py tests/flow tests/host tests/measure \
	tests/test_examples.py tests/test_readme.py
PYTEST := $(BIN)/pytest -m "not slow" --durations=10
TESTS ?=
check: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports
ifeq ($(TESTS),)
	$(PYTEST) -n 2 --dist loadfile $(addprefix --ignore=,$(ALONE)) src tests
	$(PYTEST) $(ALONE)
else
	$(PYTEST) $(TESTS)
endif

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/false_accepts.py
	$(BIN)/python benchmarks/false_accepts_composed.py
	$(BIN)/python benchmarks/false_accepts_degraded.py
	$(BIN)/python benchmarks/simulator.py
	$(BIN)/python benchmarks/optimizers/run.py
	$(BIN)/python benchmarks/engines/run.py
	$(BIN)/python benchmarks/sparse_weights.py
	$(BIN)/python benchmarks/anatomy.py

bench-serving: $(VENV)/.dev
	$(BIN)/python benchmarks/serving/peers.py
	$(BIN)/python benchmarks/serving/engine_overhead.py
	$(BIN)/python benchmarks/serving/forecast.py
	$(BIN)/python benchmarks/serving/overload.py
	$(BIN)/python benchmarks/serving/soak.py
	$(BIN)/python benchmarks/serving/shutdown.py

clean:
	rm -rf $(VENV) .venvs .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

# torch by its exact version first: where only the build for CPUs is offered, that one is taken, and kept.
$(VENV)/.dev: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@
