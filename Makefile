# `make help` lists the targets. The virtual environment .venv is made once and reused.
PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=
TEST_PROCESSES ?= logical
CONFIGS := projects/stageinteractor/configs

FAULTS = tests/faults $(shell find tests -name 'test_*properties.py') tests/data/test_odd_images.py \
	tests/integrations/test_not_finite.py tests/e2e/test_replay.py tests/e2e/test_resume.py \
	tests/engine/test_launch.py tests/engine/test_gradients.py tests/engine/test_process_monitor.py

.DEFAULT_GOAL := help
.PHONY: help install demo demo-real demo-deformable benchmark test test-core test-faults audit lint docs image-steps clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' \
		| while IFS='|' read -r name text; do printf '  make %-16s %s\n' "$$name" "$$text"; done

install: $(STAMP) ## make .venv with the tested versions, detectron2 and this package

# An interrupted or hand-made .venv is completed, not replaced.
$(STAMP): pyproject.toml setup.py constraints.txt tools/install_detectron2.py
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo 'installing into $(VENV): about 7 GB with the CUDA libraries of torch, some minutes'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[train,demo,dev]'
	@# trackers asks for opencv-python, whose files opencv-python-headless has
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt --no-deps trackers
	$(BIN)/python tools/install_detectron2.py
	@touch $@

demo: $(STAMP) ## train and evaluate on the embedded data (CPU, minutes): output/demo
	$(call train_and_report,digits_in_photos,output/demo,train.amp.enabled=true)

demo-real: $(STAMP) ## the same on real aerial photographs: output/demo-real
	$(call train_and_report,tree_crowns,output/demo-real)

demo-deformable: $(STAMP) ## Hugging Face's Deformable DETR with the assigner and without: both APs
	$(call prepare,digits_in_photos)
	$(call train,digits_in_photos_deformable_detr_per_stage,output/demo_deformable_per_stage)
	$(call train,digits_in_photos_deformable_detr,output/demo_deformable)
	$(BIN)/python tools/report.py output/demo_deformable_per_stage output/demo_deformable

benchmark: $(STAMP) ## time and memory of every part, beside this machine's limits: output/benchmark
	$(BIN)/python -m benchmarks --config-file $(CONFIGS)/stageinteractor_r50_duplicate_removal_1x.py \
		--reference --anchors --scaling output/benchmark/scaling.png \
		--json output/benchmark/result.json

define prepare
$(BIN)/python tools/prepare_dataset.py $(1)
$(BIN)/python tools/prepare_weights.py efficientnet_lite0
endef

define train
$(BIN)/python tools/train_net.py --config-file $(CONFIGS)/demo/$(1).py train.output_dir=$(2) $(3)
endef

define train_and_report
$(call prepare,$(1))
$(call train,$(1),$(2),$(3))
$(BIN)/python tools/report.py $(2)
endef

test-faults: $(STAMP) ## kills, full disks, failing processes, bad input, a long run; prints the counts
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(FAULTS) $(PYTEST_ARGS)

audit: $(STAMP) ## known vulnerabilities of the pinned versions, from PyPI: a report, never a failure
	$(BIN)/python tools/audit.py

lint: $(STAMP) ## ruff (lint and format), mypy, and who may import whom
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	PYTHONPATH=projects $(BIN)/lint-imports

test: $(STAMP) ## lint, documentation, then all tests, one process a core; PYTEST_ARGS="-m 'not slow'" for the quick ones
	$(MAKE) --no-print-directory -j2 -Otarget lint docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --maxprocesses 8 --dist worksteal $(PYTEST_ARGS)

docs: $(STAMP) ## the documentation as a site that works offline: output/site/index.html
	$(BIN)/python -W ignore::FutureWarning -m sphinx -W --keep-going -q docs output/site

test-core: $(STAMP) ## assigner, criterion, decoder, parity, zoo, a training: minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m 'core and not slow' -n $(TEST_PROCESSES) \
		--maxprocesses 8 --dist worksteal $(PYTEST_ARGS)

image-steps: $(STAMP) ## the steps of the Dockerfile without docker, in a clean environment: output/image
	rm -rf dist output/image
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python tools/image_steps.py --folder output/image

clean: ## remove caches and build folders; .venv, datasets and output stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find configs projects tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
