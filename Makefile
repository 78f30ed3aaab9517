# Everything a fresh clone needs: each target sets up what it uses. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TYPES := out/typecheck

.PHONY: setup demo test test-full lint format bench clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The main job: export (which verifies), look at the bundle, and depth from a photo.
demo: $(READY)
	$(BIN)/apdepth-deploy export tiny --random-weights --precision fp32 --precision fp16 \
	    --height 240 --width 320 --output out/demo/bundle
	$(BIN)/apdepth-deploy inspect out/demo/bundle
	$(BIN)/apdepth-deploy verify out/demo/bundle
	$(BIN)/apdepth-deploy infer out/demo/bundle apdepth_deploy/data/bicycle.jpg --output out/demo/depth

test: $(READY)
	$(BIN)/python -m pytest

# Full-size networks: minutes, and up to 10 GB of memory.
test-full: $(READY)
	$(BIN)/python -m pytest -m full

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf $(TYPES) build
	$(BIN)/python -m pip install --quiet --no-deps --target $(TYPES) .
	MYPYPATH=$(TYPES) $(BIN)/mypy -p apdepth_deploy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python benchmarks/export_and_latency.py

clean:
	rm -rf out build $(VENV) *.egg-info
