# make demo   a first look: fits on bundled digits, prints tables, draws pictures
# make test   the whole test suite
# make lint   style and format
# Each sets up .venv the first time and re-uses it afterwards.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint clean

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY)
	$(BIN)/python -m pytest -n 2 -q

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "skvqdraw needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,plot]"
	@touch $@

clean:
	rm -rf .venv *.egg-info demo-*.png
