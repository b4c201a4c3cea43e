# make demo, make test: each makes .venv first, where it is not there yet. Options for pip: make demo PIP_OPTIONS=...
PYTHON ?= python3.11
PIP_OPTIONS ?=
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test test-all lint docs bench clean

demo: $(INSTALLED)
	$(BIN)/turncoat demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow and not peer and not cluster and not browser and not package"

test-all: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(INSTALLED)
	$(BIN)/python benchmarks/rules.py
	$(BIN)/python benchmarks/training.py

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_OPTIONS) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet $(PIP_OPTIONS) -c constraints.txt -e '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf .venv site dist results demo
