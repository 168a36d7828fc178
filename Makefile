# Everything a newcomer runs: make demo, make test.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint lock clean

demo: $(VENV)/.installed
	$(BIN)/msbatch demo

test: lint
	$(BIN)/pytest -n 2 --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The locked environment, and the wheels of the plain install, so that the tests of the wheel need no network.
$(VENV)/.installed: requirements.lock requirements-light.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/pip download --disable-pip-version-check --quiet --require-hashes -r requirements-light.lock -d .wheels
	touch $@

# torch 2.10 is the last that is built for CUDA 12, which the drivers of most clusters accept.
LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate
lock:
	$(PYTHON) -m venv .lock-venv
	.lock-venv/bin/pip install --quiet uv
	printf 'torch>=2.10,<2.11\ntorchvision>=0.25,<0.26\n' > .lock-venv/limits.txt
	.lock-venv/bin/uv pip compile pyproject.toml --extra train --group dev $(LOCK) -c .lock-venv/limits.txt -o requirements.lock
	.lock-venv/bin/uv pip compile pyproject.toml $(LOCK) -c requirements.lock -o requirements-light.lock
	rm -rf .lock-venv

clean:
	rm -rf $(VENV) .wheels dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
