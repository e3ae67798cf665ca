# make demo | test | test-slow | test-gpu | gpu-env | lint | bench | reference: each works alone on a fresh checkout.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
GPU_BIN := .venv-gpu/bin
GPU_READY := .venv-gpu/.installed
MTML_MUST_RUN ?= torch,ort,tensorrt

.PHONY: demo test test-slow test-gpu gpu-env lint bench reference clean

demo: $(READY)
	$(BIN)/python examples/demo.py

# one thread per test process: two processes of two threads each fight for two cores
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not gpu and not slow" $(PYTEST_ARGS)

# the tests that take minutes, such as three deaths of a database server
test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow $(PYTEST_ARGS)

# one process: tests that share a GPU must not wait for memory of each other; a backend that must
# run fails where it would skip
test-gpu: $(GPU_READY)
	MTML_MUST_RUN=$(MTML_MUST_RUN) $(GPU_BIN)/python -m pytest -m gpu $(PYTEST_ARGS)

# what test-gpu runs in: libraries for GPUs in place of those for CPUs
gpu-env: $(GPU_READY)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# docs/reference.md, from the docstrings of the public names
reference: $(READY)
	$(BIN)/python docs/make_reference.py

# measures the artifact that the demo made
bench: $(READY)
	@test -d demo/model-trained || { echo "run make demo first: its artifact is measured"; exit 1; }
	$(BIN)/python -m benchmarks all --artifact demo/model-trained --images 'veri:demo/data#gallery' \
		--run demo/run --data veri:demo/data --out demo/benchmarks --overwrite

define check_python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 to 3.13 is needed; name one with make PYTHON=python3.12"; exit 1; }
endef

$(READY): pyproject.toml constraints.txt
	$(check_python)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[cpu,train,report,rtx,dev]'
	@touch $@

# onnxruntime and onnxruntime-gpu are one Python module, and training brings the one for CPUs
$(GPU_READY): pyproject.toml constraints.txt
	$(check_python)
	$(PYTHON) -m venv .venv-gpu
	$(GPU_BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[gpu,tensorrt,rtx,pycuda,train,bench,dev]'
	$(GPU_BIN)/python -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu
	$(GPU_BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps onnxruntime-gpu
	@touch $@

clean:
	rm -rf .venv .venv-gpu demo build dist *.egg-info
