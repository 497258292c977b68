# Every target sets up what it needs: .venv is made on demand, and a stamp in it says
# which extras are installed, so that a second call starts at once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo install test test-long test-data test-slow test-ecosystem test-newest test-lowest coverage lint type docs linkcheck release-check clean

help:
	@echo "make demo         compare single modalities and fusions on real data, write a report"
	@echo "make test         the tests and the examples in the docstrings"
	@echo "make test-long    the tests that take some seconds each"
	@echo "make test-data    the tests on real data, those of SKFUSION_DATA included"
	@echo "make test-slow    the tests that take minutes"
	@echo "make test-ecosystem  the page on other packages, which are installed for it"
	@echo "make test-newest  the tests with the newest release of every package"
	@echo "make test-lowest  the tests with the oldest releases that pyproject.toml allows"
	@echo "make coverage     the tests with branch coverage"
	@echo "make lint         ruff, the import rules and the spelling"
	@echo "make type         mypy"
	@echo "make docs         the documentation, into docs/_build/html, and its links checked"
	@echo "make linkcheck    the links to other sites, which needs a network"
	@echo "make release-check  build the distributions, and install the wheel by itself"
	@echo "make install      set up .venv for all of these"
	@echo "make clean        remove .venv and everything that was built"

# An environment whose making was interrupted has no working pip: it is made anew.
$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "skfusion needs Python 3.11 or newer, and $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>&1): name another with make PYTHON=..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || \
	    $(PYTHON) -m venv --clear $(VENV)
	@touch $@

# .venv/.stamp-demo, -dev and -docs: one for each extra that a target installs.
$(VENV)/.stamp-%: pyproject.toml constraints.txt $(VENV)/.stamp-venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$*]"
	@touch $@

demo: $(VENV)/.stamp-demo
	$(BIN)/skfusion demo $(ARGS)

test: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest $(ARGS)

install: $(VENV)/.stamp-dev $(VENV)/.stamp-docs

test-long: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -m "long and not slow and not data and not network" $(ARGS)

test-data: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -m "data and not slow and not network" $(ARGS)

test-slow: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -m "slow and not network" $(ARGS)

test-ecosystem: $(VENV)/.stamp-dev $(VENV)/.stamp-oracles $(VENV)/.stamp-timm $(VENV)/.stamp-hf
	$(BIN)/python -m pytest -m "slow or not slow" tests/test_ecosystem.py \
	    tests/image/networks/test_cut_families.py tests/image/networks/test_hubs.py $(ARGS)

# Nothing is pinned, and the upper bounds of pyproject.toml do not hold for torch: this
# shows what a release breaks before a user meets it. It takes an environment of its own.
# NEWEST_TORCH names another pair, such as "torch==2.13.0 torchvision==0.28.0".
# Many packages drop an old Python early: numpy 2.5, scipy 1.18 and XGBoost 3.3 need 3.12.
# The newest releases are therefore tested with, for example, PYTHON=python3.13. One page
# prints numbers of the pinned XGBoost and is left out.
ALL_BUT_SLOW := not slow and not network and not data
NEWEST_VENV ?= .venv-newest
NEWEST_TORCH ?= torch torchvision
test-newest:
	$(PYTHON) -m venv --clear $(NEWEST_VENV)
	$(NEWEST_VENV)/bin/python -m pip install --quiet $(NEWEST_TORCH)
	$(NEWEST_VENV)/bin/python -m pip install --quiet --upgrade \
	    --upgrade-strategy eager $(NEWEST_TORCH) -e ".[test]" || { \
	    $(NEWEST_VENV)/bin/python -m pip install --quiet -e ".[test]" && \
	    $(NEWEST_VENV)/bin/python -m pip install --quiet --upgrade $(NEWEST_TORCH); }
	$(NEWEST_VENV)/bin/python -m pip freeze | grep -i -E \
	    "^(numpy|pandas|scikit-learn|scipy|skorch|torch|torchvision|xgboost)"
	$(NEWEST_VENV)/bin/python -m pytest -m "$(ALL_BUT_SLOW)" \
	    --deselect docs/importance.md::importance.md $(ARGS)

# The lower bounds of pyproject.toml, on Python 3.11, for which the old releases have
# wheels. Where the index has no CPU-only torch of this age, the CUDA libraries come along
# (5 GB). The page that prints numbers of the pinned XGBoost is left out.
LOWEST_VENV ?= .venv-lowest
test-lowest:
	$(PYTHON) -m venv --clear $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/python -m pip install --quiet -c constraints-lowest.txt -e ".[test]"
	$(LOWEST_VENV)/bin/python -m pip freeze | grep -i -E \
	    "^(numpy|pandas|scikit-learn|scipy|skorch|torch|torchvision|xgboost)"
	$(LOWEST_VENV)/bin/python -m pytest -m "$(ALL_BUT_SLOW)" \
	    --deselect docs/importance.md::importance.md $(ARGS)

coverage: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest --cov --cov-report=term --cov-report=xml $(ARGS)

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell

type: $(VENV)/.stamp-dev
	$(BIN)/mypy

docs: $(VENV)/.stamp-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check_site.py docs/_build/html

# Opens every external link, which needs a network.
linkcheck: $(VENV)/.stamp-docs
	$(BIN)/python -m sphinx -b linkcheck -D plot_gallery=0 docs docs/_build/linkcheck

# The wheel in environments with its requirements only, for each Python that is there:
# with the pinned versions, the oldest and the newest ones.
RELEASE_PYTHONS ?= python3.11 python3.12 python3.13
release-check:
	rm -rf dist build .venv-release && $(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip install --quiet build twine
	.venv-release/bin/python -m build --quiet
	.venv-release/bin/python -m twine check --strict dist/*
	@for python in $(RELEASE_PYTHONS); do \
	    $$python --version >/dev/null 2>&1 || { echo "$$python: not there"; continue; }; \
	    for pins in "-c constraints.txt" "-c constraints-lowest.txt" ""; do \
	        [ "$$pins" != "-c constraints-lowest.txt" ] || [ $$python = python3.11 ] || continue; \
	        rm -rf .venv-release && $$python -m venv .venv-release && \
	        .venv-release/bin/python -m pip install --quiet $$pins dist/*.whl && \
	        cp tests/release_smoke.py .venv-release/ && \
	        (cd .venv-release && bin/python release_smoke.py) || exit 1; \
	    done; \
	done

clean:
	rm -rf $(VENV) .venv-release $(NEWEST_VENV) $(LOWEST_VENV) build dist *.egg-info .coverage .coverage.* coverage.xml htmlcov
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	rm -rf docs/_build docs/auto_examples docs/generated docs/public_names.rst
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
