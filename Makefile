# Start with `make demo` or `make test`. Both install what they need into .venv, with pinned versions and hashes.

PYTHON ?= python3
BIN := .venv/bin
SOURCE ?= simulation
FOREVER ?=
SEED ?= 1
PARTS ?= a,b,c,d,e,f,g,h
QUICK ?=
ROUNDS ?=
JSON ?=
MODEL ?= logistic
UNIT_WORKERS ?= 2
INTEGRATION_WORKERS ?= 3
# What ARGS selects may have no test of one of the two kinds: pytest then ends with 5.
NO_TEST = $(if $(ARGS),|| [ $$? -eq 5 ])

.PHONY: demo test unit integration lint lock bench clean help

help:  ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/runtime  ## play three months of a simulated platform in two minutes (SOURCE=sample, FOREVER=1, DRIFT=hazard)
	@$(BIN)/encore demo --source $(SOURCE) --seed $(SEED) $(if $(FOREVER),--forever) $(if $(DRIFT),--drift $(DRIFT))

test: unit integration  ## run all tests: the unit tests, then the integration tests

unit: .venv/development  ## run the tests that need no broker; stop at the first that fails
	@$(BIN)/python -m pytest -m "not integration" -n $(UNIT_WORKERS) --maxfail=1 $(ARGS) $(NO_TEST)

integration: .venv/development  ## run the tests that start a broker or workers (a real Kafka and the embedded broker)
	@$(BIN)/python -m pytest -m integration -n $(INTEGRATION_WORKERS) --dist loadgroup $(ARGS) $(NO_TEST)

lint: .venv/development  ## check the code with ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: .venv/development $(if $(findstring c,$(PARTS)),.venv-peers/ready)  ## benchmark Encore and comparable systems (PARTS=a,c MODEL=net QUICK=1 ROUNDS=5 JSON=FILE)
	@$(BIN)/python -m tests.benchmarks --seed $(SEED) --parts $(PARTS) --model $(MODEL) $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JSON),--json $(JSON))

# requirements.txt: what a worker and the demo need. requirements-dev.txt: that, the extra `evaluation`, and the tools.
lock: .venv/development  ## renew the pinned versions
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --group build -o requirements.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --extra evaluation --group build --group dev -c requirements.txt -o requirements-dev.txt
	sed -n '/^confluent-kafka/d; /^[a-z]/s/ \\$$//p' requirements.txt >.venv/ours.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		tests/benchmarks/peers.in -c .venv/ours.txt -o tests/benchmarks/peers.txt

clean:  ## remove everything that was installed or built
	rm -rf .venv .venv-peers build *.egg-info deploy/kafka/jars deploy/kafka/target

.venv/runtime: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Encore needs Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "installing Encore into .venv (once; about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

.venv/development: .venv/runtime requirements-dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

# The systems that `make bench` compares with. They need other versions than Encore does.
.venv-peers/ready: tests/benchmarks/peers.txt
	@echo "installing the peers into .venv-peers (once; about a minute)"
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r tests/benchmarks/peers.txt
	@touch $@
