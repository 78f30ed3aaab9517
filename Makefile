# Everything a fresh clone needs: each target sets up what it uses. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TYPES := out/typecheck
# TensorRT for RTX has wheels for this processor.
ENGINES := $(if $(filter x86_64,$(shell uname -m)),--target tensorrt-rtx)

.PHONY: setup demo test test-full check lint format bench weights gpu-check gpu-wheels clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The main job: export (which verifies, and builds engines), look at the bundle, depth from a photo.
demo: $(READY)
	$(BIN)/apdepth-deploy export tiny --precision fp32 --precision fp16 \
	    --height 240 --width 320 $(ENGINES) --output out/demo/bundle
	$(BIN)/apdepth-deploy inspect out/demo/bundle
	$(BIN)/apdepth-deploy verify out/demo/bundle
	$(BIN)/apdepth-deploy infer out/demo/bundle apdepth_deploy/data/bicycle.jpg --output out/demo/depth

# In the order of the tests, which begin with what takes longest: by default, files with few tests come
# last, and the README's commands would run alone.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# Full-size networks: minutes, and up to 10 GB of memory.
test-full: $(READY)
	$(BIN)/python -m pytest -m full

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf $(TYPES)
	mkdir -p $(TYPES)/apdepth_deploy
	ln -s $(CURDIR)/apdepth_deploy/* $(addprefix $(CURDIR)/,training export runtime) $(TYPES)/apdepth_deploy
	MYPYPATH=$(TYPES) $(BIN)/mypy -p apdepth_deploy

# What a change needs before a commit, in a minute: lint, types, and the tests that it can reach.
check: lint
	$(BIN)/python tests/changed.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python benchmarks/export_and_latency.py
	$(BIN)/python benchmarks/engines.py
	$(BIN)/python benchmarks/backends.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/ort_start.py
	$(BIN)/python benchmarks/first_depth.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/stabilizer.py
	$(BIN)/python benchmarks/metres.py
	$(BIN)/python benchmarks/live.py

# The weights that ship, from nothing: scenes, then VAE, prior and U-Net; prior and U-Net again on other
# scenes; and the U-Net once more. Some four and a half hours on two cores.
weights: $(READY)
	$(BIN)/apdepth-deploy synthesize --output out/synthetic --train 5000
	$(BIN)/apdepth-deploy train training/recipes/tiny_vae.toml
	$(BIN)/apdepth-deploy train training/recipes/tiny_prior.toml
	$(BIN)/apdepth-deploy train training/recipes/tiny_unet.toml
	$(BIN)/apdepth-deploy synthesize --output out/synthetic_2 --seed 1 --spp 1 --views 4 --train 6000 --val 0 --test 0
	$(BIN)/apdepth-deploy train training/recipes/tiny_prior_2.toml
	$(BIN)/apdepth-deploy train training/recipes/tiny_unet_2.toml
	$(BIN)/apdepth-deploy train training/recipes/tiny_unet_3.toml
	$(BIN)/apdepth-deploy evaluate out/tiny/unet_3/checkpoint out/synthetic --set synthetic \
	    --output out/tiny/evaluation
	$(BIN)/python -m apdepth_deploy.training.ship out/tiny apdepth_deploy/data/weights/tiny

# What an NVIDIA GPU shows; skips with a reason what this machine can't do.
gpu-check: $(READY)
	$(BIN)/python benchmarks/gpu_check.py

# Wheels for a machine that has torch and no package index, but this Python and processor; what is over
# 60 MB in parts, for the way there:
# python benchmarks/gpu_check.py --wheels out/gpu-wheels
gpu-wheels: $(READY)
	rm -rf out/gpu-wheels out/wheel
	$(BIN)/python -m pip wheel --quiet --constraint constraints.txt --wheel-dir out/gpu-wheels \
	    '.[export,rtx]' onnxruntime-gpu
	rm out/gpu-wheels/torch-* out/gpu-wheels/onnxruntime-[0-9]*
	find out/gpu-wheels -size +57M -exec split --bytes 57M --numeric-suffixes {} {}.part \; -delete

clean:
	rm -rf out $(VENV) *.egg-info
