# `make demo` and `make test` need Python 3.11+, make and git; they make the environment themselves.
PYTHON ?= python3
DEMO ?= digits
BUDGET ?= 150
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-slow check audit format docs clean

install: .venv-stamp

.venv-stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "autotl needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch .venv-stamp

demo: .venv-stamp
	$(BIN)/autotl demo --data $(DEMO) --budget $(BUDGET)

# A process a core, each on one thread: small networks gain nothing from more.
test: .venv-stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 8 --dist loadscope

test-slow: .venv-stamp
	$(BIN)/python -m pytest -m slow

check: .venv-stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Known vulnerabilities of the pinned packages; asks PyPI, and fails where PyPI doesn't answer.
audit: .venv-stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip-audit
	$(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip --strict

format: .venv-stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv-stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) .venv-stamp autotl-runs site
