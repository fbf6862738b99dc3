# Everything runs in .venv, which is made, and made anew when pyproject.toml or the lock changes, by whatever needs it.
PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install run test check engines ghz lint protos protos-baseline lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(INSTALLED) ## set up .venv; PYTHON=python3.12 chooses the interpreter

run: $(INSTALLED) ## run a cell on 127.0.0.1:50051; ARGS="--help" shows what can be set
	@exec $(BIN)/cell run $(ARGS)

test: check ## check, then run every test; ARGS are passed to pytest
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile $(ARGS)

check: $(INSTALLED) ## report what ruff and mypy find, change nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

engines: $(INSTALLED) ## run Kafka and Cassandra on free ports until Ctrl-C; ARGS="--kafka 3 --no-cassandra"
	@exec $(BIN)/python -m engines $(ARGS)

ghz: $(INSTALLED) ## measure a cell with ghz, and with our own client after it; ARGS="--install --seconds 20"
	$(BIN)/python -m check.ghz $(ARGS)

lint: $(INSTALLED) ## repair what ruff can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: $(INSTALLED) ## make the generated code beside the .proto files
	$(BIN)/python protos/generate.py

protos-baseline: $(INSTALLED) ## accept today's contracts as what later ones may only add to
	$(BIN)/python protos/generate.py --baseline

lock: $(INSTALLED) ## resolve requirements.lock anew; ARGS="--upgrade" takes newer versions
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-emit-index-url --custom-compile-command "make lock" \
		--quiet $(ARGS) --output-file requirements.lock

clean: ## remove .venv, caches and build results; the data of a cell is left alone
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || { \
		echo "The cell needs Python 3.11 or newer, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: its modules venv and ensurepip are missing." >&2; \
		echo "On Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
