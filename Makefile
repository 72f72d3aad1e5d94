# Everything runs in one virtual environment, made on first use. macOS, Windows, conda: docs/install.md.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY_DEMO := $(VENV)/.ready-demo
READY := $(VENV)/.ready
# What is installed is what environment.yml names, torch first: a later package that needs it then finds it there.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: setup demo test unit fuzz bench memory soak audit lint clean help

help:
	@echo "make demo    play the demo clip in a window; without a display, analyse it headless"
	@echo "make setup   install everything for training, measuring and testing"
	@echo "make test    lint, then every test, as CI runs them"
	@echo "make unit    the quick tests only"
	@echo "make fuzz    2,000 mutated files for every reader; make fuzz FUZZ='--seconds 60' ends sooner"
	@echo "make bench   frames/s and stage times on this machine; make bench BENCH=--steps for what each step contributes"
	@echo "make memory  memory over 20 minutes of video"
	@echo "make soak    delay, memory, threads and files over an hour of live video; make soak SOAK='--hours 8 --rate 25 60'"
	@echo "make audit   known vulnerabilities, list of parts and licences of .venv, in build/audit; make audit AUDIT=--offline"
	@echo "make lint    ruff and mypy"
	@echo "make clean   remove .venv, caches and builds"

setup: $(READY)

# What the program and its window need, without what trains and tests it.
$(READY_DEMO): pyproject.toml setup.py
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(INSTALL) "$$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)"
	$(INSTALL) -e '.[viewer]'
	$(BIN)/pip check
	@touch $@

$(READY): $(READY_DEMO) environment.yml
	sed -n 's/^      - //p' environment.yml > $(VENV)/requirements.txt
	$(INSTALL) -r $(VENV)/requirements.txt
	$(BIN)/pip check
	@touch $@

demo: $(READY_DEMO)
	$(BIN)/python run_live.py assets/demo.mp4 $(DEMO)

# Two parts: what only computes, a process per core; then what holds clocks and screens, three files at a time.
# One thread each: threads of several processes that wait for each other take ten times as long.
COMPUTE := $(addprefix tests/,trainers calibration models metrics engines inference preprocess postprocess temporal phantom outputs \
	test_wheel.py test_docs.py test_compiled.py test_golden.py test_json_files.py test_json_mutations.py test_image_files.py \
	test_atomic_write.py test_field_of_view.py test_geometry.py test_pipeline.py test_privacy.py test_project.py test_runtime.py \
	$(addprefix bench/test_bench,_peers.py _steps.py) $(addprefix cli/test_run_live_,alarms.py engines.py) \
	$(addprefix sources/test_,addresses.py late_streams.py gaps.py paths.py sources_file.py sources_hardware.py sources_images.py sources_open.py \
	sources_picture.py))
test: export OMP_NUM_THREADS = 1
test: $(READY) lint
	$(BIN)/python -m pytest -n "$$(getconf _NPROCESSORS_ONLN)" $(COMPUTE)
	$(BIN)/python -m pytest -n 3 --dist loadfile $(addprefix --ignore=,$(COMPUTE)) tests

unit: $(READY)
	$(BIN)/python -m pytest -m "not slow"

# No crash, no hang, no gigabyte, no traceback. What is found lies in build/fuzz: make fuzz FUZZ='--replay FILE'.
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(FUZZ)

# All of it: make bench BENCH="--against naive --json bench.json", BENCH="--live --minutes 10", BENCH=--steps.
bench: $(READY_DEMO)
	$(BIN)/python -m realtime_polyp.bench $(BENCH)

memory: $(READY_DEMO)
	$(BIN)/python -m realtime_polyp.bench --memory-minutes 20

soak: $(READY_DEMO)
	$(BIN)/python -m realtime_polyp.bench --soak $(SOAK)

# The tools have an environment of their own: what they need is no part of what they audit.
AUDIT_TOOLS := build/audit/tools
audit: $(READY_DEMO)
	test -x $(AUDIT_TOOLS)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT_TOOLS) && \
		sed -n '/^audit = /s/^[^[]*\[\(.*\)\].*/\1/p' pyproject.toml | tr -d '" ' | tr ',' '\n' > build/audit/tools.txt && \
		$(AUDIT_TOOLS)/bin/pip install --quiet --disable-pip-version-check -r build/audit/tools.txt; }
	$(BIN)/python -m realtime_polyp.operations.audit --tools $(AUDIT_TOOLS)/bin $(AUDIT)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
