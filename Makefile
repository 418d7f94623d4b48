# The targets below; `make` alone prints them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The trial scripts of the examples are started with this environment's Python.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run test check bench sweep sim test-kubernetes test-postgresql test-slurm test-systemd test-http fix clean

help: ## print the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(VENV)/.run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[examples]'
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(INSTALL) --editable '.[examples,test]'
	touch $@

$(VENV)/.check: $(VENV)/.test
	$(INSTALL) --editable '.[examples,test,check]'
	touch $@

run: $(VENV)/.run ## install, then tune a model on scikit-learn's digits
	schedd run configs/digits.yaml

test: $(VENV)/.test ## install, then run the tests
	pytest -n auto --dist worksteal

check: $(VENV)/.check ## ruff, mypy, import-linter
	ruff check
	ruff format --check
	mypy
	lint-imports

sim: $(VENV)/.test ## the simulation, with 20 000 histories, and 1000 on a cluster
	SCHEDD_SIM_HISTORIES=20000 SCHEDD_SIM_CLUSTERS=1000 pytest tests/test_simulation.py tests/test_simulation_kubernetes.py

sweep: $(VENV)/.test ## kill the real thing at every system call, twice too (an hour)
	pytest -m sweep

test-slurm: $(VENV)/.test ## break a real Slurm in every way, kill schedd everywhere (half an hour)
	pytest -m slurm_faults -rs

test-systemd: $(VENV)/.test ## kill, hang and stop the service under a real systemd (as root)
	pytest -m systemd -rs

test-postgresql: $(VENV)/.test ## on PostgreSQL what make test does on SQLite alone (minutes)
	pytest -m postgresql -rs

$(VENV)/http/bin/st:
	$(PYTHON) -m venv $(VENV)/http
	$(VENV)/http/bin/python -m pip install --quiet 'schemathesis==4.32.5'

test-http: $(VENV)/.test $(VENV)/http/bin/st ## hold the API against its description, with schemathesis
	SCHEDD_SCHEMATHESIS=$(CURDIR)/$(VENV)/http/bin/st pytest -m schemathesis

test-kubernetes: $(VENV)/.test ## test against the cluster that KUBECONFIG names
	@test -n "$$KUBECONFIG" || { echo "set KUBECONFIG to a cluster's configuration"; exit 2; }
	pytest -m kubernetes -rs

bench: $(VENV)/.test ## speed, side by side with the peers, in a venv of their own
	python tests/benchmarks/run.py

fix: $(VENV)/.check ## format, and mend what can be mended by itself
	ruff check --fix
	ruff format
	python tests/diagram.py

clean: ## remove what the targets made, experiments of yours left alone
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache
