# Two commands: `make demo` reconstructs a real head from a fresh machine; `make test` runs the tests.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := mrrecon operators priors benchmarks examples tests setup.py

.PHONY: help demo test check format bench clean

help:
	@echo "make demo    set up .venv and reconstruct a real head, with a diffusion prior too (results in demo_output/)"
	@echo "make test    set up .venv and run the tests (ARGS='-k espirit' to choose)"
	@echo "make check   lint, format check and type check"
	@echo "make format  rewrite the sources in the project's format"
	@echo "make bench   run every benchmark against its peer (needs BART on the PATH) and rewrite the tables"
	@echo "make clean   remove .venv and everything built"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip

# One stamp per extra: set-up is redone only when the metadata or the pins change.
$(VENV)/.with-%: pyproject.toml setup.py constraints.txt | $(BIN)/python
	$(INSTALL) --editable ".[$*]"
	@touch $@

demo: $(VENV)/.with-demo
	$(BIN)/mrrecon demo --output demo_output

test: $(VENV)/.with-test
	$(BIN)/pytest $(ARGS)

# Types are checked on a normal install: editable installs hide mrrecon.operators from mypy.
# tests/types/public_names.py says what the public names are.
check: $(VENV)/.with-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	rm -rf build/typecheck build/lib && $(INSTALL) --no-deps --target build/typecheck .
	cd build/typecheck && $(abspath $(BIN))/mypy --config-file ../../pyproject.toml --python-executable $(abspath $(BIN))/python -p mrrecon -m public_names

format: $(VENV)/.with-dev
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: $(VENV)/.with-dev
	$(BIN)/python benchmarks/run_all.py

clean:
	rm -rf $(VENV) build dist *.egg-info demo_output .pytest_cache .mypy_cache .ruff_cache .hypothesis
