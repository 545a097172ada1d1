# The entry for people. Every target sets itself up; a second run starts at once.
#   make demo    rehearse a rolling deployment of the shop, with and without the SDK
#   make test    everything that must hold, on fakeredis and on a real engine
#   make check   style, types, floors, public names
# PYTHON picks the interpreter (PYTHON=python3.12), VENV the folder it is installed into, JOBS the test processes.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo shops test check types style floors test-min bench bench-idempotency soak mixed gunicorn restarts adoption docs reference api clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

# pip learned --group (PEP 735) in 25.1; the one that comes with Python 3.11 is older, so it is renewed inside the venv.
$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.group-%: pyproject.toml $(VENV)/.pip
	$(PIP) install --editable . --group $*
	@touch $@

demo: $(VENV)/.group-demo ## rehearse a rolling deployment of the shop, with and without the SDK (3 minutes)
	$(BIN)/python docs/examples/shop/demo.py

shops: $(VENV)/.group-test ## the same with the shops on Django and on Flask as well
	$(BIN)/python docs/examples/shop/demo.py fastapi django flask

test: $(VENV)/.group-test ## run everything that must hold (10 minutes on 2 cores)
	@rm -rf .pytest_cache
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS) || $(BIN)/python -m tests.again

check: style types floors ## style, types, floors, public names
	$(BIN)/python -m pytest -q tests/house/test_public_names.py tests/house/test_documented.py

style: $(VENV)/.group-check ## ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.group-check ## mypy and pyright
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

floors: $(VENV)/.group-check ## import-linter
	$(BIN)/lint-imports

# Warnings of old dependencies about one another are not ours to mend, so they are errors in `make test` only. Two tests
# need newer ones: FastAPI below 0.140 drops a mount of an included router, uvicorn below 0.44 fails at a session's change
# in a socket of `--ws websockets-sansio`.
NEWER := --deselect "tests/integrations/fastapi/test_placement.py::test_our_errors_in_a_mounted_application_are_problems[in an included router]" \
  --deselect "tests/integrations/fastapi/test_websocket.py::test_sessions_codes_and_subprotocols[websockets-sansio]"
test-min: ## the tests on the oldest dependencies that pyproject.toml allows, in .venv-min
	$(MAKE) .venv-min/.lowest VENV=.venv-min
	.venv-min/bin/python -m pytest -n $(JOBS) --dist loadgroup -o filterwarnings=default $(NEWER) $(ARGS)

.venv-min/.lowest: pyproject.toml tests/house/lowest.py $(VENV)/.pip
	$(BIN)/python tests/house/lowest.py > $(VENV)/lowest.txt
	$(PIP) install --editable . --group test --constraint $(VENV)/lowest.txt
	@touch $@

bench: $(VENV)/.group-test ## print the figures of design section 5 (CPU per request, import time)
	$(BIN)/python tests/bench/bench_fastapi.py
	$(BIN)/python tests/bench/bench_flask.py
	$(BIN)/python tests/bench/bench_django.py
	$(BIN)/python -m tests.bench.bench_idempotency_latency
	$(BIN)/python -m pytest -q -s tests/bench tests/house/test_import.py $(ARGS)

bench-peers: $(VENV)/.group-test ## sessions beside Django's, Flask-Session and starsessions: trips, commands, CPU, lost updates
	$(BIN)/python -m tests.bench.bench_peers $(ARGS)

bench-idempotency: $(VENV)/.group-bench ## kill servers under 10,000 requests per effects class on three frameworks, and other libraries (1 hour; see ARGS)
	$(BIN)/python -m tests.bench.bench_idempotency $(ARGS)

soak: $(VENV)/.group-demo ## rehearse the shop ten times per strategy, each with a control that must lose (25 minutes)
	$(BIN)/python tests/bench/soak.py $(ARGS)

mixed: $(VENV)/.group-test ## 1,000 users of two releases at once on three frameworks, with a pause of Redis (3 minutes)
	$(BIN)/python -m tests.bench.mixed $(ARGS)

servers: $(VENV)/.group-test ## the tests of servers with every worker and parser, where `make test` takes a sample (15 minutes)
	ZDD_TEST_ALL_WORKERS=1 $(BIN)/python -m pytest -q tests/servers $(ARGS)

adoption: $(VENV)/.group-test ## take over the sessions of every framework and give them back, 1,000 users (15 minutes; see ARGS)
	$(BIN)/python tests/bench/adoption.py $(ARGS)

restarts: $(VENV)/.group-test ## restart every server 20 times under load in each router, and the stock ones (hours; see ARGS)
	$(BIN)/python tests/bench/restarts.py $(ARGS)

docs: $(VENV)/.group-docs ## build the HTML documentation into build/docs
	$(BIN)/sphinx-build -n -W --keep-going -q -b html docs build/docs

reference: $(VENV)/.group-test ## write docs/settings.md and docs/commands.md anew
	$(BIN)/python -m tests.house.reference

api: $(VENV)/.group-test ## write tests/house/public_names.txt anew, after a change that was meant
	$(BIN)/python -m tests.house.public_names

clean: ## remove what the other targets have made
	rm -rf .venv .venv-min build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
