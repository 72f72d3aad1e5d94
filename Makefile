# Everything runs in one virtual environment, made on first use.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What is installed is what environment.yml names, torch first: a later package that asks for it then finds it there.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: setup demo test unit bench memory lint clean help

help:
	@echo "make setup   create the virtual environment .venv; every other target does so on first use"
	@echo "make demo    play the demo clip in a window; without a display, analyse it headless"
	@echo "make test    lint, then every test, as CI runs them"
	@echo "make unit    the quick tests only"
	@echo "make bench   frames/s and stage times on this machine; options: make bench BENCH=--steps"
	@echo "make memory  memory over 20 minutes of video"
	@echo "make lint    ruff and mypy"
	@echo "make clean   remove .venv and caches"

setup: $(READY)

$(READY): pyproject.toml environment.yml
	$(PYTHON) -m venv $(VENV)
	sed -n 's/^      - //p' environment.yml > $(VENV)/requirements.txt
	grep '^torch==' $(VENV)/requirements.txt | xargs $(INSTALL)
	$(INSTALL) -r $(VENV)/requirements.txt
	$(INSTALL) --no-deps -e .
	$(BIN)/pip check
	@touch $@

demo: $(READY)
	$(BIN)/python run_live.py --source assets/demo.mp4 $(DEMO)

test: $(READY) lint
	$(BIN)/python -m pytest

unit: $(READY)
	$(BIN)/python -m pytest -m "not slow"

# All of it: make bench BENCH="--against naive --json bench.json", BENCH="--live --minutes 10", BENCH=--steps.
bench: $(READY)
	$(BIN)/python -m realtime_polyp.bench $(BENCH)

memory: $(READY)
	$(BIN)/python -m realtime_polyp.bench --memory-minutes 20

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
