# make demo: set up and run the main job. make test: set up and run the tests. The rest is for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow lint docs mutants pin clean

demo: $(STAMP)
	$(BIN)/augment synthesize --output runs/demo/digits --per_class 20 --steps 20
	$(BIN)/classify study --config configs/study/demo.yaml
	$(BIN)/augment browse runs/demo/digits

test: $(STAMP) lint docs
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Changes the pure functions and formats in some 2,400 places, one at a time, and shows what no test and no type notices.
mutants: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" mutmut run
	$(BIN)/mutmut results

# The documentation as a site that opens from disk: site/index.html. A warning is an error.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Installed once; again when the project's needs or its pins change.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Rewrites the pins from what is installed now.
pin: $(STAMP)
	$(BIN)/python -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' > constraints.txt

clean:
	rm -rf $(VENV) runs mutants site *.egg-info
