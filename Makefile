# Two commands to remember: make run, make test. Both set up everything they need in .venv. make help lists the others.
PYTHON ?= python3

# Where they are not given, the settings of the environment and of .env hold.
TO_STORE := $(if $(STORE),--store '$(STORE)')
ON_PORT := $(if $(PORT),--port '$(PORT)')
OF_SIZE := $(if $(SIZE),--size '$(SIZE)')
OF_LOAD := $(if $(DURATION),--duration '$(DURATION)') $(if $(USERS),--users '$(USERS)')
BIN := .venv/bin
INSTALLED := .venv/installed
DEVELOPED := .venv/installed-dev
MEASURED := .venv-coverage/installed
LOWEST := .venv-lowest/installed
# It is about the lock file, whose packages this environment has not.
NOT_LOWEST := --deselect tests/project/test_project.py::test_the_lock_file_has_every_dependency
# A process has whole files, and tests/conftest.py says which are first.
IN_PARALLEL := --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := run
.PHONY: help run test test-clients test-lowest coverage soak soak-hour check format bench bench-sizes lock audit clean

help:  ## List the targets; make without one is make run
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "make %-12s %s\n", $$1, $$2}' Makefile

run: $(INSTALLED)  ## Serve the sample corpus (or what is seeded already)
	@$(BIN)/mimic seed --sample --if-empty $(TO_STORE)
	@$(BIN)/mimic serve $(TO_STORE) $(ON_PORT)

# What pytest has compiled is kept: to compile all tests anew takes two seconds in each process.
test test-clients test-lowest coverage: export PYTHONDONTWRITEBYTECODE :=

test: $(DEVELOPED)  ## The test suite, real MongoDB included
	$(BIN)/pytest $(IN_PARALLEL) --numprocesses 4 --ignore tests/clients

test-clients: $(DEVELOPED)  ## The tests through clients: OpenAI's SDKs, LangChain, LlamaIndex, Vercel AI SDK and others
	$(BIN)/pytest $(IN_PARALLEL) --numprocesses 2 tests/clients

test-lowest: $(LOWEST)  ## The test suite with the lowest versions that pyproject.toml allows: TESTS=tests
	.venv-lowest/bin/pytest $(IN_PARALLEL) --numprocesses 4 --ignore tests/clients $(NOT_LOWEST) $(TESTS)

coverage: $(MEASURED)  ## Branches that the tests take in all processes; at least 95% of them: TESTS=tests
	@rm -rf .venv-coverage/data && mkdir .venv-coverage/data
	@status=0; .venv-coverage/bin/python -m pytest $(IN_PARALLEL) --numprocesses 4 $(TESTS) || status=$$?; \
	  export COVERAGE_FILE=.venv-coverage/data/coverage; $(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$status

soak: $(DEVELOPED)  ## The tests that take long
	$(BIN)/pytest -m soak

soak-hour: $(DEVELOPED)  ## An hour of load, seeded anew meanwhile: STORE=sqlite MINUTES=60
	@$(BIN)/python -m benchmarks.soak $(TO_STORE) --minutes $(or $(MINUTES),60)

check: $(DEVELOPED)  ## Format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(DEVELOPED)  ## Put the code into form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEVELOPED)  ## Compare v1, v2 and v3 under load: STORE=sqlite SIZE=100MB DURATION=20 USERS=16
	@$(BIN)/python -m benchmarks.run $(TO_STORE) $(OF_SIZE) $(OF_LOAD)

bench-sizes: $(DEVELOPED)  ## The same with 10, 100 and 673 MB: STORE=sqlite DURATION=10 USERS=16
	@$(BIN)/python -m benchmarks.sizes $(TO_STORE) $(OF_LOAD)

lock: $(DEVELOPED)  ## Pin the newest versions that fit, in both files named requirements.lock
	$(BIN)/pip install --quiet 'uv>=0.9'
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --strip-extras --no-annotate \
	  --no-emit-package pip --no-emit-package setuptools --custom-compile-command 'make lock' \
	  --group dev --group clients --group bench --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --strip-extras --no-annotate \
	  --custom-compile-command 'make lock' --output-file tests/clients/older_sdk/requirements.lock \
	  tests/clients/older_sdk/requirements.in

audit: $(DEVELOPED)  ## Look the pinned versions up in the database of known vulnerabilities, which is asked over the net
	$(BIN)/pip install --quiet 'pip-audit>=2.9'
	$(BIN)/pip-audit --requirement requirements.lock --no-deps --disable-pip --strict --progress-spinner off || \
	  { echo 'Not clean, or not known: the lines above name what is vulnerable, or what the database of pypi.org does not tell'; exit 1; }

clean:  ## Remove the environments, caches and dumps that the other targets have made
	rm -rf benchmarks/data .venv .venv-coverage .venv-lowest .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

# Installed once, and again when what is to be installed changes.
$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Mimic needs Python 3.11 or newer; set PYTHON=/path/to/python3'; exit 1; }
	@echo 'Setting up .venv, which takes half a minute ...'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable .
	@touch $@

# What tests, checks and benchmarks need besides: a MongoDB, the clients that Mimic is tried with, locust.
$(DEVELOPED): $(INSTALLED)
	@echo 'Adding what tests and benchmarks need, which takes a minute ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

# An environment that measures every Python process in it. Its packages are those of .venv.
$(MEASURED): tests/support/measured.py $(DEVELOPED)
	@$(BIN)/python tests/support/measured.py .venv-coverage
	@touch $@

# Without other people's clients, which need newer versions of what Mimic needs, too.
$(LOWEST): $(DEVELOPED)
	@echo 'Setting up .venv-lowest, which takes some minutes ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.9'
	@$(BIN)/python -m venv --clear .venv-lowest
	@$(BIN)/uv pip compile --quiet --resolution lowest-direct --python .venv-lowest --strip-extras --no-annotate \
	  --extra otel --group dev --group bench --output-file .venv-lowest/requirements.txt pyproject.toml
	@.venv-lowest/bin/pip install --quiet --disable-pip-version-check --requirement .venv-lowest/requirements.txt
	@.venv-lowest/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
