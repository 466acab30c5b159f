# Every target sets the environment up by itself; a fresh one is left alone. Windows or no make: README, "Without make".
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
LESSON ?=
PROFILE ?= quick
MARK   := $(VENV)/.setup-done

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow test-gpu lab build solutions bench lock clean

help:
	@echo "make run        run the lessons (LESSON=02_restormer for one, PROFILE=smoke|quick|gpu|paper)"
	@echo "make test       the tests          make test-slow / test-gpu   the long ones / those that need CUDA"
	@echo "make lab        JupyterLab on notebooks/"
	@echo "make build      solutions/*.py -> notebooks/   make solutions   the same, executed"
	@echo "make bench      speed beside a plain reference form"

setup: $(MARK)

# The mark is newer than the lock and pyproject.toml when the environment is fresh, so a second call does nothing.
$(MARK): requirements.lock pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup.sh

run: $(MARK)
	$(BIN)/course run $(LESSON) --profile $(PROFILE)

test: $(MARK)
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-slow: $(MARK)
	$(BIN)/python -m pytest -m "slow and not gpu" --timeout 1800

test-gpu: $(MARK)
	$(BIN)/python -m pytest -m gpu

lab: $(MARK)
	$(BIN)/jupyter lab notebooks

build: $(MARK)
	$(BIN)/course build

solutions: $(MARK)
	$(BIN)/course build --execute

bench: $(MARK)
	$(BIN)/course bench restormer

lock: $(MARK)
	$(BIN)/uv pip compile --universal --python-version 3.11 --no-header --no-annotate --all-extras --upgrade pyproject.toml -o requirements.lock

clean:
	rm -rf runs .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
	@echo "kept: $(VENV) (delete it by hand to set up again)"
