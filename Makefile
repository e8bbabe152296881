# Every target does its own set-up; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install demo test test-languages test-console test-extras campaign lint fix docs release locks protos client protos-baseline bench bench-peers up clean

PYTHON ?= python3
# Processes that run tests; each starts servers of its own, and often waits for them.
WORKERS ?= 3
# Files in their order: the long ones come before the many short ones of tests/unit.
ALL_TESTS = tests --ignore=tests/campaign --ignore=tests/bench --ignore=tests/languages --ignore=tests/console -n $(WORKERS) --dist loadfile --no-loadscope-reorder
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := build/peers/.venv
PROTOS := $(shell find protos/groundswell -name '*.proto')
SERVICE_PROTOS := $(filter %_service.proto,$(PROTOS))

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

install: $(STAMP) ## make .venv with everything for development; does nothing when it is up to date

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: install ## every step on real data: train, evaluate, serve, recommend
	$(BIN)/groundswell demo

# Hundreds of processes import the same modules: let them find these compiled.
test: export PYTHONDONTWRITEBYTECODE :=
test: install ## all tests but campaigns, browser and other languages, three files at a time (WORKERS=1: one); T=PATH for one file or test
	$(BIN)/pytest $(or $(T),$(ALL_TESTS))

test-languages: install $(VENV)/.languages ## the TypeScript client; LANGUAGES="go java cpp" too, with packages of Debian
	LANGUAGES="$(LANGUAGES)" $(BIN)/pytest tests/languages

# Node comes from PyPI.
$(VENV)/.languages: tests/languages/requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check -r $<
	@touch $@

test-console: install $(VENV)/.console ## the console in a real Chromium, which apt installs (as root); PICTURES=FOLDER keeps pictures
	$(if $(PICTURES),CONSOLE_PICTURES=$(abspath $(PICTURES)) )$(BIN)/pytest tests/console

$(VENV)/.console: tests/console/requirements.txt
	@command -v chromium > /dev/null || { test "$$(id -u)" = 0 && command -v apt-get > /dev/null; } \
	  || { echo "test-console needs chromium: install it, or run this as root on Debian" >&2; exit 1; }
	@command -v chromium > /dev/null || { apt-get -qq update && \
	  apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core > /dev/null; }
	$(BIN)/pip install -q --disable-pip-version-check -r $<
	@touch $@

campaign: install ## the tests that are too long for every run, reported
	$(BIN)/pytest tests/campaign -s

test-extras: install ## install each extra into a clean environment and start its service; print the sizes
	$(BIN)/pytest tests/campaign/test_extras_installed.py -s

lint: install ## format, types, import directions, contracts, links of the pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python clients/python/generate_sync.py --check
	$(BIN)/python clients/python/generate_service_config.py --check
	$(BIN)/python docs/generate_api.py --check
	$(BIN)/python docs/generate_settings.py --check
	$(BIN)/python docs/check_links.py
	$(BIN)/mkdocs build --strict --quiet
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf breaking --against baseline.binpb

docs: install ## write docs/settings.md again, and build the pages as a site in build/site
	$(BIN)/python docs/generate_settings.py
	$(BIN)/mkdocs build --strict

release: install $(VENV)/.release ## build wheel and sdist into dist/, and check them in clean environments; PARTS="client ranker"
	rm -rf dist
	$(BIN)/python -m build --quiet --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/python deploy/check_release.py dist $(PARTS)

$(VENV)/.release: deploy/release-requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check -r $<
	@touch $@

fix: install ## correct what ruff can correct
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

locks: install ## pin what the images install, each file with its hash
	for extra in profile worker session ranker train; do \
	  $(BIN)/uv pip compile -q --upgrade --generate-hashes --no-header --no-emit-index-url \
	    --no-annotate --python-version 3.11 -c constraints.txt --extra $$extra --extra traces pyproject.toml \
	    -o requirements/$$extra.lock || exit 1; \
	done

protos: install ## generate the stubs and docs/api from protos/ again
	rm -rf protos/gen/groundswell
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -Iprotos \
	  --python_out=protos/gen --mypy_out=quiet:protos/gen $(PROTOS)
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -Iprotos \
	  --grpc_python_out=protos/gen --mypy_grpc_out=quiet:protos/gen $(SERVICE_PROTOS)
	$(BIN)/python docs/generate_api.py

client: install ## generate the sync client and service_config.json from the aio client again
	$(BIN)/python clients/python/generate_sync.py
	$(BIN)/python clients/python/generate_service_config.py

protos-baseline: install ## accept today's contracts as what may not be broken
	cd protos && ../$(BIN)/buf build -o baseline.binpb

bench: install $(VENV)/.bench ## measure speed as ratios; ONLY=session for a part
	$(BIN)/python tests/bench/run.py $(if $(ONLY),--only $(ONLY))

$(VENV)/.bench: tests/bench/requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check -r $<
	@touch $@

bench-peers: install $(PEERS)/.installed ## quality and training time beside RecTools; DATA=prepared folder, ARGS=--help
	$(BIN)/python tests/bench/peers/run.py $(if $(DATA),--data $(DATA)) $(ARGS)

# Not into .venv: RecTools needs an older numpy.
$(PEERS)/.installed: tests/bench/peers/requirements.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

up: install ## start all services on loopback over the bundle that the demo trained
	$(BIN)/groundswell up --bundles build/demo/bundles

clean: ## remove what was built, .venv too
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
