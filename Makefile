# Everything that each target needs is set up on the first call and kept in .venv; later calls reuse it.
#   make demo   make test   make test-slow   make test-suites   make check   make setup   make clean
# AGENTLORA_DEVICE=cpu|gpu chooses the build of vLLM (default: gpu where nvidia-smi works, else cpu).
# ARGS="-k name" is passed on to pytest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help setup demo test test-slow test-suites check clean

# Set-up leaves byte code to the first import. Where Python is told to write none, every process would compile torch and
# its like anew, some 15 s of a CPU each time.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
ARGS ?=
# What the environment was made from; another place, device, pyproject.toml or list means: look again.
KEY := $(shell { echo '$(CURDIR) $(AGENTLORA_DEVICE)'; cat pyproject.toml core/vllm-cpu.txt; } | cksum)

help:
	@sed -n '1,/^$$/s/^# *//p' Makefile

setup:
	@[ "$$(cat .venv/ready 2>/dev/null)" = "$(KEY)" ] || .ci/setup "$(KEY)"

demo: setup
	@$(BIN)/python examples/demo.py

# Two at a time, a file at a time, a thread each: more threads than cores wait for each other.
TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test: setup
	@$(TESTS)

test-slow: setup
	@$(BIN)/python -m pytest -m slow $(ARGS)

# The tests that skip without other people's suites, which are installed for them: 320 MB, and other versions of some packages.
PIP = PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check
test-suites: setup
	@$(PIP) -e '.[suites]'
	@$(PIP) --no-deps bfcl-eval==2026.3.23
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/eval/test_bfcl.py tests/eval/test_suites*.py tests/tasks/test_bfcl_unseen.py $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(TESTS)

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
