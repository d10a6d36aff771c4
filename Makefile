# Verbs for people and for CI. Each sets up what it needs; only Python 3.11 and make have to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PINS := -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
READY := $(VENV)/.ready

.PHONY: install run demo test test-slow lint format bench docs screenshots reliability soak fuzz conformance load models pins clean

install: $(READY)

$(READY): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

run: $(READY)  ## serve the bundled models and rollouts until Ctrl-C
	$(BIN)/understudy up --models models --rollouts rollouts.yaml

demo: $(READY)  ## watch a canary and a shadow at work, in under 90 seconds
	$(BIN)/python demo/demo.py

test: $(READY)  ## everything but the slow group
	$(BIN)/python -m pytest -m "not slow and not alone" -n 2 --dist loadfile --cov --cov-report=
	$(BIN)/python -m pytest -m "not slow and alone" --cov --cov-append --cov-report=term:skip-covered

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## figures into docs/benchmarks
	$(BIN)/python -m benchmarks $(PARTS)

screenshots: $(READY)  ## pictures of the page into docs/images; needs chromium
	$(BIN)/python tests/dashboard/screenshots.py

docs: $(READY)  ## the documentation site into build/site; its generated pages anew
	$(BIN)/python -m docs.gen
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

reliability: $(READY)  ## every fault under load, into docs/reliability.md; ten minutes
	$(BIN)/python -m benchmarks.reliability

soak: $(READY)  ## SOAK_SECONDS (an hour) of light load with reloads and rollouts
	$(BIN)/python -m benchmarks.soak

fuzz: $(READY)  ## FUZZ_SECONDS (a minute) of inference requests that are nearly right
	$(BIN)/python -m benchmarks.fuzz

conformance: $(READY)  ## the onnx project's 2,024 test models, into docs/benchmarks/conformance.md
	$(BIN)/python -m benchmarks.conformance

load: $(READY)  ## a short Locust run against a server it starts
	$(BIN)/python loadtests/run.py $(LOAD)

models: $(READY)  ## rebuild the bundled models
	$(BIN)/python models/build.py

pins:  ## resolve the dependencies anew; needs uv
	uv pip compile pyproject.toml --extra dev $(PINS) -o constraints.txt
	uv pip compile pyproject.toml --extra postgres --extra otel -c constraints.txt $(PINS) -o constraints-runtime.txt

clean:
	rm -rf $(VENV) build .understudy .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
