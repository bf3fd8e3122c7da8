# Two commands to remember: make run, make test. Both set up .venv first. make help lists the other commands.
PYTHON ?= python3

# Variables that are not set leave the settings of the environment and of .env.
TO_STORE := $(if $(STORE),--store '$(STORE)')
ON_PORT := $(if $(PORT),--port '$(PORT)')
OF_SIZE := $(if $(SIZE),--size '$(SIZE)')
OF_LOAD := $(if $(DURATION),--duration '$(DURATION)') $(if $(USERS),--users '$(USERS)')
BIN := .venv/bin
INSTALLED := .venv/installed
DEVELOPED := .venv/installed-dev
MEASURED := .venv-coverage/installed
LOWEST := .venv-lowest/installed
# The test of the lock file, whose packages this environment lacks; and PyMongo before 4.20 leaves a connection to the
# garbage collector if a replica set has another name.
NOT_LOWEST := --deselect tests/project/test_project.py::test_the_lock_file_has_every_dependency
NOT_LOWEST += --deselect tests/stores/test_mongodb_failures.py::test_a_wrong_url_of_a_replica_set
# Each process runs whole files. tests/conftest.py lists the files to run first.
IN_PARALLEL := --dist loadfile --no-loadscope-reorder
# More processes than two cores: much of a test is waiting.
BY_FIVE := $(IN_PARALLEL) --numprocesses 5

.DEFAULT_GOAL := run
.PHONY: help run test test-clients test-lowest coverage soak soak-hour check docs reference changelog format bench \
  bench-sizes lock audit clean

help:  ## List the targets; the default is run
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "make %-12s %s\n", $$1, $$2}' Makefile

run: $(INSTALLED)  ## Serve the sample corpus (or the corpus that is seeded already)
	@$(BIN)/mimic seed --sample --if-empty $(TO_STORE)
	@$(BIN)/mimic serve $(TO_STORE) $(ON_PORT)

# Keep the tests that pytest compiled: to compile all of them takes two seconds in each process.
test test-clients test-lowest coverage: export PYTHONDONTWRITEBYTECODE :=

test: $(DEVELOPED)  ## The test suite, real MongoDB included
	$(BIN)/pytest $(BY_FIVE) --ignore tests/clients

test-clients: $(DEVELOPED)  ## The tests through clients: OpenAI's SDKs, LangChain, LlamaIndex, Vercel AI SDK and others
	$(BIN)/pytest $(IN_PARALLEL) --numprocesses 2 tests/clients

test-lowest: $(LOWEST)  ## The test suite with the lowest versions that pyproject.toml allows: TESTS=tests
	.venv-lowest/bin/pytest $(BY_FIVE) --ignore tests/clients $(NOT_LOWEST) $(TESTS)

coverage: $(MEASURED)  ## Measure the branch coverage in all processes; at least 95%: TESTS=tests
	@rm -rf .venv-coverage/data && mkdir .venv-coverage/data
	@status=0; .venv-coverage/bin/python -m pytest $(BY_FIVE) $(TESTS) || status=$$?; \
	  export COVERAGE_FILE=.venv-coverage/data/coverage; $(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$status

soak: $(DEVELOPED)  ## The slow tests, and more examples of properties
	$(BIN)/pytest -m "soak or hypothesis" --hypothesis-profile soak

soak-hour: $(DEVELOPED)  ## An hour of load, with a seeding meanwhile: STORE=sqlite MINUTES=60
	@$(BIN)/python -m benchmarks.soak $(TO_STORE) --minutes $(or $(MINUTES),60)

check: $(DEVELOPED)  ## Format, lint, types, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory docs

# Without a cache: warnings come only from pages that are read.
docs: $(DEVELOPED)  ## Build the site of the documentation in dist/docs; a warning or a dead link is an error
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going --doctree-dir dist/doctrees docs dist/docs

reference: $(DEVELOPED)  ## Write the generated tables of docs/reference
	$(BIN)/python -m docs.generate

changelog: $(DEVELOPED)  ## Move the fragments of changes/ into CHANGELOG.md, for the version in mimic/__init__.py
	$(BIN)/towncrier build --yes

format: $(DEVELOPED)  ## Format the code, and fix lint errors
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEVELOPED)  ## Compare v1, v2 and v3 under load: STORE=sqlite SIZE=100MB DURATION=20 USERS=16
	@$(BIN)/python -m benchmarks.run $(TO_STORE) $(OF_SIZE) $(OF_LOAD)

bench-sizes: $(DEVELOPED)  ## The same with 10, 100 and 673 MB: STORE=sqlite DURATION=10 USERS=16
	@$(BIN)/python -m benchmarks.sizes $(TO_STORE) $(OF_LOAD)

lock: $(DEVELOPED)  ## Pin the newest versions that fit, in all files named requirements.lock
	$(BIN)/pip install --quiet 'uv>=0.9'
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --strip-extras --no-annotate \
	  --no-emit-package pip --no-emit-package setuptools --custom-compile-command 'make lock' \
	  --group dev --group clients --group bench --group docs --output-file requirements.lock pyproject.toml
	for folder in tests/clients/older_sdk tests/clients/agents_sdk tests/clients/sdk_2023 tests/clients/sdk_2024; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --strip-extras --no-annotate \
	    --custom-compile-command 'make lock' --output-file $$folder/requirements.lock $$folder/requirements.in || exit 1; \
	done

audit: $(DEVELOPED)  ## Look the pinned versions up in the online database of known vulnerabilities
	$(BIN)/pip install --quiet 'pip-audit>=2.9'
	$(BIN)/pip-audit --requirement requirements.lock --no-deps --disable-pip --strict --progress-spinner off || \
	  { echo 'Not clean: the lines above name vulnerable packages, or the reason why pypi.org did not answer'; exit 1; }

clean:  ## Remove the environments, caches and dumps of the other targets
	rm -rf benchmarks/data .venv .venv-coverage .venv-lowest .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

# Install once, and again when the dependencies change.
$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Mimic needs Python 3.11 or newer; set PYTHON=/path/to/python3'; exit 1; }
	@echo 'Setting up .venv, which takes half a minute ...'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable .
	@touch $@

# Packages of tests, checks and benchmarks: a MongoDB, clients, locust.
$(DEVELOPED): $(INSTALLED)
	@echo 'Adding the packages of tests and benchmarks, which takes a minute ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

# An environment that measures the coverage of every Python process. It uses the packages of .venv.
$(MEASURED): tests/support/measured.py $(DEVELOPED)
	@$(BIN)/python tests/support/measured.py .venv-coverage
	@touch $@

# Without clients: they need newer versions of Mimic's own dependencies.
$(LOWEST): $(DEVELOPED)
	@echo 'Setting up .venv-lowest, which takes some minutes ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.9'
	@$(BIN)/python -m venv --clear .venv-lowest
	@$(BIN)/uv pip compile --quiet --resolution lowest-direct --python .venv-lowest --strip-extras --no-annotate \
	  --extra otel --group dev --group bench --output-file .venv-lowest/requirements.txt pyproject.toml
	@.venv-lowest/bin/pip install --quiet --disable-pip-version-check --requirement .venv-lowest/requirements.txt
	@.venv-lowest/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
