# Every verb of the project. `make` alone lists them.
# Needs Python >= 3.11 with venv, git and make; everything else is brought into this folder by `setup`.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh
BIN := .venv/bin
SEED ?=
STEPS ?=
CASES ?= 1000000
ARGS ?=
PEERS ?=

# The first Python that is new enough; say PYTHON=… to choose another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)

.PHONY: help setup demo up down test test-s3 sizes chaos webhooks promotions soak check types lint format sim sim-autoscaling sim-promotions fuzz bench bench-gateway schema diagram golden bench-autoscale bench-replay bench-weights

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv and .venv-truss from the pinned requirements (quick when nothing changed)
	@test -n "$(PYTHON)" || { echo "setup: Python 3.11 or newer is needed; found: $$(python3 --version 2>&1 || echo none)." \
	"Install one, or say PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) ops/bootstrap.py

demo: setup ## the whole main job on this machine: push, predict, scale to zero, promote, replay, audit
	@$(BIN)/causeway demo $(ARGS)

up: setup ## start the local stack and stay with it (Ctrl-C stops it)
	@$(BIN)/causeway up $(ARGS)

down: setup ## stop the local stack
	@$(BIN)/causeway down $(ARGS)

test: setup ## every test; ARGS="tests/ops -k name" narrows it
	@$(BIN)/python -m pytest -n 3 --dist loadscope $(ARGS)

test-s3: setup ## all that speaks S3 against a real Ceph RGW, started for it; its Debian packages must be there
	@$(BIN)/python -m tests.s3 $(ARGS)

check: lint types ## everything that is decided without running the system
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q tests/architecture
	@$(BIN)/python -m ops.schema --check
	@$(BIN)/python -m ops.promotion_diagram --check

sizes: setup ## functions and files that have grown past the guide
	@$(BIN)/python -m pytest -q -rP tests/architecture/test_sizes.py

lint: setup
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted; run: make format" >&2; exit 1; }

types: setup ## mypy --strict over code and tests
	@$(BIN)/mypy --strict

format: setup ## put every file into the one format
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

sim: setup ## the simulator: SEED=… replays one, STEPS=… sets its length
	@$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS)) $(ARGS)

sim-autoscaling: setup ## 10,000 steps of ramps, spikes, sawteeth, lost nodes and autoscalers that die
	@$(BIN)/python -m pytest -q tests/sim/test_autoscaling.py $(ARGS)

sim-promotions: setup ## 10,000 steps of promotions, rollbacks, pauses and cancels while every process dies
	@$(BIN)/python -m tests.sim --acts promotions --seeds 0:100 --steps 100 --jobs $$(nproc) $(ARGS)

fuzz: setup ## malformed HTTP at the gateway, against h11: CASES=… (a million) and SEED=… repeat a run
	@$(BIN)/python -m tests.gateway.fuzz --cases $(CASES) $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos: setup ## the gateway under load while all around it, and it itself, is killed: 50,000 requests, none may fail
	@$(BIN)/python -m tests.gateway.chaos.run --requests $(or $(REQUESTS),50000)

webhooks: setup ## 10,000 events on JetStream to 20 webhooks, one of them dead: all delivered, in order
	@$(BIN)/python -m tests.gateway.webhooks.run --events $(or $(EVENTS),10000)

promotions: setup ## promotions of a real model under load, rolling, failed and back: 20,000 requests each, none may fail
	@$(BIN)/python -m tests.e2e.promoting --requests $(or $(REQUESTS),20000)

soak: setup ## 1,000,000 requests with disconnects and waiting: memory, descriptors and tasks must stay as they were
	@$(BIN)/python -m tests.gateway.soak.run --requests $(or $(REQUESTS),1000000)

bench: setup ## measure this machine and write ops/bench/RESULTS.md
	@$(BIN)/python -m ops.bench $(ARGS)

bench-gateway: setup ## our gateway beside nginx, HAProxy, Envoy…; PEERS=all brings the ones that are Python wheels
	@$(BIN)/python -m ops.bench.gateway --write $(if $(PEERS),--peers $(PEERS)) $(ARGS)

bench-autoscale: setup ## what a tick of the autoscaler costs a deployment, from a thousand to a hundred thousand
	@$(BIN)/python -m ops.bench.autoscale $(ARGS)

bench-replay: setup ## looking back over 1,000,000 events: follow and fold, the state at any position
	@$(BIN)/python -m ops.bench.replay --write $(ARGS)

bench-weights: setup ## weights to a node: from the mirror, from another node, from its cache; beside bare copies
	@$(BIN)/python -m ops.bench.weights --write $(ARGS)

schema: setup ## write events/schema.json anew from the event types
	@$(BIN)/python -m ops.schema

diagram: setup ## draw the states of a promotion anew in ops/docs/promotion.md
	@$(BIN)/python -m ops.promotion_diagram

golden: setup ## freeze fixtures for event types that have none yet (never rewrites one)
	@$(BIN)/python -m tests.golden
