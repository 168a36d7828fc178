# Everything a newcomer runs: make demo, make test; and on a machine that may be changed, as root: make cluster-up cluster-test.

PYTHON ?= python3.11
FAULTS ?= --seed 1
CLUSTER ?= /tmp/msbatch-cluster
TRUTH ?= /tmp/msbatch-truth
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test trust truth bench lint lock release licences audit clean cluster-up cluster-test cluster-down faults soak fuzz kills

demo: $(VENV)/.installed
	$(BIN)/msbatch demo

test: lint
	$(BIN)/pytest -n 2 --dist loadfile -m "not cluster"

# The methods against cohorts whose truth is known, on two cores for about an hour; it goes on where it was stopped.
truth: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python tests/truth/truth.py --outcomes $(TRUTH)

# Each promise about faults, hostile files and privacy with the outcome of its tests; with MSBATCH_CLUSTER the cluster's, too.
trust: $(VENV)/.installed
	$(BIN)/python tests/trust/trust.py

# Everything that is measured, as ratios to references in the same run, in about 15 minutes on two quiet cores.
bench: $(VENV)/.installed
	$(BIN)/python tests/benchmarks/bench.py

# A real Slurm and Apptainer on this machine, as root: see tests/cluster/README.md.
cluster-up: $(VENV)/.installed
	tests/cluster/up $(CLUSTER)

cluster-test: $(VENV)/.installed
	MSBATCH_CLUSTER=$(CLUSTER) $(BIN)/pytest -m cluster tests/cluster/real tests/cluster/faults

cluster-down:
	tests/cluster/down $(CLUSTER)

# Faults on clusters of its own, at most an hour; the same code goes on where it was stopped.
faults: $(VENV)/.installed
	PYTHONPATH=tests/cluster $(BIN)/python tests/cluster/faults/campaign.py $(FAULTS)

# Studies on one cluster, several at a time, disturbed at random for MINUTES; what SEED draws is the same each time.
soak: $(VENV)/.installed
	PYTHONPATH=tests/cluster $(BIN)/python tests/cluster/faults/soak.py --minutes $(or $(MINUTES),60) --seed $(or $(SEED),1) --cluster $(CLUSTER)

# Damaged and hostile files into every reader of them: what is no plain refusal is a crash, and is kept.
fuzz: $(VENV)/.installed
	$(BIN)/python tests/fuzz/fuzz.py --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1)

# SIGKILL at random moments to whatever writes; the last line says what was unreadable, lost or different afterwards.
kills: $(VENV)/.installed
	$(BIN)/python tests/kills/kills.py --kills $(or $(KILLS),240) --seed $(or $(SEED),1)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

# Every wheel is fetched once: for this environment, for the tests of the plain install, and for the container image.
.wheels/.fetched: requirements.lock | $(BIN)/pip
	$(BIN)/pip download --disable-pip-version-check --quiet --require-hashes -r requirements.lock -d .wheels
	touch $@

$(VENV)/.installed: .wheels/.fetched pyproject.toml
	$(BIN)/pip install --disable-pip-version-check --no-index --find-links .wheels --require-hashes -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
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

# What is committed, and nothing else; the same commit gives the same bytes, wherever, whenever and by whomever it is built.
release: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
release: $(VENV)/.installed
	rm -rf dist
	mkdir -p dist/tree
	git archive HEAD | tar --extract --directory dist/tree
	cd dist/tree && $(abspath $(BIN))/python -m hatchling build --target sdist --target wheel --directory ..
	rm -r dist/tree
	cd dist && sha256sum msbatch-* >SHA256SUMS && cat SHA256SUMS

# Every locked dependency with its licence; fails if one is unknown or not permitted.
licences: $(VENV)/.installed
	@$(BIN)/python tests/supply/licences.py

# Without a network: what is installed is what was locked, unchanged, and above the versions with known weaknesses.
audit: $(VENV)/.installed
	$(BIN)/python tests/supply/audit.py

clean:
	rm -rf $(VENV) .wheels dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
