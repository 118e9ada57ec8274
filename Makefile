# Targets with a `## help` are for people: `make help` lists them.
SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
SEEDS ?= 2000
APT := crun runc conmon skopeo nftables iproute2 busybox-static procps golang-github-containers-common python3-venv

.PHONY: help setup base apt demo demo-down test test-others test-places check map sim bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

apt: ## install the Debian packages that pyswarm drives (needs root)
	@missing=(); for p in $(APT); do dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || missing+=($$p); done; \
	if (( $${#missing[@]} )); then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -q && apt-get install -y -q --no-install-recommends "$${missing[@]}"; \
	fi

$(VENV)/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[test,fast]'
	@touch $@

tests/clients/.done: tests/clients/setup.sh tests/clients/package-lock.json
	tests/clients/setup.sh
	@touch $@

base: apt $(VENV)/.done

setup: base tests/clients/.done ## everything that the other targets need

demo: base ## a five-host lab on this machine with three replicas on three hosts
	@$(BIN)/pyswarm lab demo

demo-down: ## remove every process, namespace, mount and cgroup of the demo
	@if [ -x $(BIN)/pyswarm ]; then $(BIN)/pyswarm lab down; else echo "nothing to do: no $(VENV) yet"; fi

check: $(VENV)/.done ## ruff, mypy --strict and the import arrows
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

map: $(VENV)/.done ## print packages, rooms and what imports what, from the code; draw docs/map.svg
	@$(BIN)/python -m tests.arch.map

test: setup ## all tests, then the quick ones on the newest other Python that is here
	$(BIN)/python -m pytest
	$(BIN)/python -m tests.interpreters --newest

test-others: setup ## the quick tests on every other Python (3.11, 3.12, 3.13) that is here
	$(BIN)/python -m tests.interpreters

NETWORK_TESTS := tests/e2e/test_networks.py tests/e2e/test_mesh.py tests/e2e/test_network_kinds.py tests/e2e/test_network_check.py tests/e2e/test_membership.py
test-places: setup ## the network tests with the hosts on other subnets, behind routes, and over IPv6
	for place in readme docker routes dual; do PYSWARM_LAB=$$place $(BIN)/python -m pytest $(NETWORK_TESTS) || exit; done

sim: setup ## raft under simulated faults: make sim SEEDS=2000
	$(BIN)/python -m tests.sim.run --seeds $(SEEDS)

bench: setup ## the figures of docs/bench.md
	$(BIN)/python -m bench.raft --api && $(BIN)/python -m bench.start && $(BIN)/python -m bench.recovery

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .venv-3.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
