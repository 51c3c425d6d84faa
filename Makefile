# Two commands to begin with: `make demo` and `make test`. Everything they need goes into .venv, from hashed pins.

PYTHON ?= python3
BIN := .venv/bin
SOURCE ?= simulation
FOREVER ?=
SEED ?= 1

.PHONY: demo test lint lock clean help

help:  ## show this
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/runtime  ## three months of a simulated platform in two minutes (SOURCE=sample, FOREVER=1)
	@$(BIN)/encore demo --source $(SOURCE) --seed $(SEED) $(if $(FOREVER),--forever)

test: .venv/development  ## the whole suite, on an embedded broker and on a real Kafka
	@$(BIN)/python -m pytest $(ARGS)

lint: .venv/development  ## what reads the code: ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

lock: .venv/development  ## renew the pins
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --group build -o requirements.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --group build --group dev -c requirements.txt -o requirements-dev.txt

clean:  ## remove what was installed and built
	rm -rf .venv build *.egg-info deploy/kafka/jars deploy/kafka/target

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
