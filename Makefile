# The newcomer's commands: `make watch` and `make test`. Both need Python 3.11+ and work again without a network.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
META := setup.cfg pyproject.toml
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: watch test test-devices check format bench faults clean

watch: $(VENV)/run.stamp
	@$(BIN)/camera-agent watch $(ARGS)

# Three files at a time, the first begun first: most tests wait for clocks and disks, and two cores are enough.
test: $(VENV)/test.stamp
	@.ci/prepare
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-devices: $(VENV)/test.stamp
	@$(BIN)/python -m pytest -m devices -rs tests/devices $(ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/test.stamp
	@$(BIN)/python -m bench $(ARGS)

# About an hour for a machine of your own: as root, with gcc, e2fsprogs, faketime and what ../shared/tools/faults needs.
faults: $(VENV)/test.stamp
	@.ci/prepare
	@$(BIN)/python -m pytest tests/faults -m 'nightly or not nightly' -rs $(ARGS)
	@$(BIN)/python -m tests.faults.outside all

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A Raspberry Pi's camera is reached through apt's libcamera and picamera2, which need the numpy they were built for.
KEEP := import libcamera, numpy; print("numpy<%d" % (int(numpy.__version__.split(".")[0]) + 1))

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "camera-agent needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.11 watch"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv is missing. Install it: sudo apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $$($(PYTHON) -c 'import libcamera' 2>/dev/null && echo --system-site-packages) $(VENV)

$(VENV)/run.stamp: $(BIN)/python $(META)
	@echo "installing camera-agent into $(VENV) (the first time only; a minute or two)"
	@$(PIP) install -e . $$($(BIN)/python -c '$(KEEP)' 2>/dev/null)
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp
	@echo "installing what the tests need"
	@$(PIP) install -e '.[test]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/test.stamp
	@$(PIP) install -e '.[test,dev]'
	@touch $@
