# Every target works alone on a fresh checkout: it makes the environment that it needs.
PYTHON ?= python3
BIN := .venv/bin
DEMO_READY := .venv/.demo-installed
READY := .venv/.installed
GPU_BIN := .venv-gpu/bin
GPU_READY := .venv-gpu/.installed
DOCS_BIN := .venv-docs/bin
DOCS_READY := .venv-docs/.installed
MTML_MUST_RUN ?= torch,ort,tensorrt

.DEFAULT_GOAL := help
.PHONY: help demo demo-model test test-slow test-gpu gpu-env lint docs bench reference clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(DEMO_READY) ## render vehicles, train, export, rank: demo/report.html
	$(BIN)/python examples/demo.py

demo-model: $(READY) ## train anew the model of mtml-deploy demo
	$(BIN)/python examples/make_demo_model.py

# one thread per test process: two processes of two threads each fight for two cores
test: $(READY) ## all tests that need no GPU and no minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not gpu and not slow" $(PYTEST_ARGS)

# such as three deaths of a database server
test-slow: $(READY) ## the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow $(PYTEST_ARGS)

# one process: tests that share a GPU must not wait for memory of each other; a backend that must
# run fails where it would skip
test-gpu: $(GPU_READY) ## the tests that need a GPU
	MTML_MUST_RUN=$(MTML_MUST_RUN) $(GPU_BIN)/python -m pytest -m gpu $(PYTEST_ARGS)

gpu-env: $(GPU_READY) ## .venv-gpu alone: what test-gpu runs in

lint: $(READY) ## style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# a link that leads nowhere is an error, and so is what a browser would load from another host
docs: $(DOCS_READY) ## the documentation as a site: site/index.html
	NO_MKDOCS_2_WARNING=1 $(DOCS_BIN)/mkdocs build --quiet --strict
	! grep -rlE '<(script|link|img|iframe)[^>]+(src|href)="(https?:)?//' --include='*.html' site

reference: $(READY) ## docs/reference.md, from the docstrings of the public names
	$(BIN)/python docs/make_reference.py

bench: $(READY) ## measure the model that make demo trained
	@test -d demo/model-trained || { echo "run make demo first: its artifact is measured"; exit 1; }
	$(BIN)/python -m benchmarks all demo/model-trained --images 'veri:demo/data#gallery' \
		--run demo/run --data veri:demo/data --out demo/benchmarks --overwrite

clean: ## remove environments, demo and builds
	rm -rf .venv .venv-gpu .venv-docs site demo build dist *.egg-info

define check_python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 to 3.13 is needed; name one with make PYTHON=python3.12"; exit 1; }
endef

# a part of what tests need, and much sooner there
$(DEMO_READY): pyproject.toml constraints.txt
	$(check_python)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,train,report]'
	@touch $@

$(READY): $(DEMO_READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[cpu,train,report,rtx,dev]'
	@touch $@

$(GPU_READY): pyproject.toml constraints.txt
	$(check_python)
	$(PYTHON) -m venv .venv-gpu
	$(GPU_BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[gpu,tensorrt,rtx,pycuda,train,report,bench,dev]'
	@touch $@

$(DOCS_READY): pyproject.toml constraints.txt
	$(check_python)
	$(PYTHON) -m venv .venv-docs
	$(DOCS_BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@
